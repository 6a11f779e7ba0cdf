"""Dead and saturated units: where an activation passes no gradient, or next to none.

dead       A unit of ReLU that is 0 for every sample of a batch: its gradient is 0, so that its
           weights do not change
saturated  An output in the flat ends of sigmoid, tanh and their like, where the slope is less than
           a twentieth of the largest one
"""

import torch
from torch import Tensor, nn

from bptrain.ops.gru import GRU
from bptrain.ops.lstm import LSTM
from bptrain.ops.rnn import RELU, TANH
from bptrain.ops.scan import Saved

FLAT = 0.05  # slope, as a fraction of the largest one
RECTIFIERS = (nn.ReLU, nn.ReLU6)
CHANNELS_SECOND = (  # layers whose outputs are [N, C, ...]
    nn.modules.conv._ConvNd,
    nn.modules.batchnorm._NormBase,
    nn.GroupNorm,
)


def units_axis(module: nn.Module, before: int) -> int:
    """Return the axis of the units in a layer's output; of one without weights, as `before`."""
    if isinstance(module, CHANNELS_SECOND):
        return 1
    has_weights = next(module.parameters(recurse=False), None) is not None
    return -1 if has_weights else before


def alive_units(module: nn.Module, output: Tensor, axis: int) -> Tensor | None:
    """Return which units of a rectifier are not 0 for some sample [units], None for other layers.

    A NaN counts as alive. Images [N, C, H, W] have C units whatever the axis.
    """
    if not isinstance(module, RECTIFIERS) or output.dim() < 2 or not output.numel():
        return None
    units = 1 if output.dim() > 3 else axis % output.dim()
    others = [each for each in range(output.dim()) if each != units]
    return (output != 0).any(others)


def flat_ends(module: nn.Module, output: Tensor) -> Tensor | None:
    """Return which outputs of a saturating activation lie in its flat ends; None for others."""
    if isinstance(module, nn.Sigmoid):
        return flat_of_sigmoid(output)
    if isinstance(module, nn.Tanh):
        return flat_of_tanh(output)
    if isinstance(module, nn.Softsign):
        return (1 - output.abs()).square() < FLAT
    if isinstance(module, nn.Hardsigmoid):
        return (output <= 0) | (output >= 1)
    if isinstance(module, nn.Hardtanh) and not isinstance(module, RECTIFIERS):
        return (output <= module.min_val) | (output >= module.max_val)
    return None


def flat_gates(saved: Saved) -> Tensor | None:
    """Return which gates of an LSTM or a GRU, or which states of a tanh RNN, are saturated."""
    cell, gates = saved.scan.cell, saved.gates
    if cell is LSTM and gates is not None:
        i, f, g, o = gates.chunk(4, 1)
        return torch.cat([flat_of_sigmoid(torch.cat([i, f, o], 1)), flat_of_tanh(g)], 1)
    if cell is GRU and gates is not None:
        n, r, z, _ = gates.chunk(4, 1)
        return torch.cat([flat_of_tanh(n), flat_of_sigmoid(torch.cat([r, z], 1))], 1)
    return flat_of_tanh(saved.scan.steps.after(saved.s)) if cell is TANH else None


def alive_states(saved: Saved) -> Tensor | None:
    """Return which units of an RNN with ReLU are not 0 in some state [H], None for other cells."""
    if saved.scan.cell is not RELU:
        return None
    return (saved.scan.steps.after(saved.s) != 0).any(0)


def flat_of_sigmoid(y: Tensor) -> Tensor:
    """Return where s = sigma(a) is flat: its slope is s (1 - s), at most 1/4."""
    return 4 * y * (1 - y) < FLAT


def flat_of_tanh(y: Tensor) -> Tensor:
    """Return where y = tanh(a) is flat: its slope is 1 - y^2, at most 1."""
    return 1 - y.square() < FLAT
