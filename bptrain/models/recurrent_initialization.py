"""Initial weights of recurrent networks, which keep the norm of the state over time."""

from typing import Literal

import torch
from torch import nn

from bptrain.nn.recurrent import RNNBase

RecurrentInitialization = Literal["default", "orthogonal"]

FORGET_BIAS = 1.0  # where none is given: a step retains sigma(1) = 0.73 of the cell state


@torch.no_grad()
def initialize_recurrent(
    model: nn.Module, scheme: RecurrentInitialization, forget_bias: float | None
) -> None:
    """Draw the weights of the recurrent and linear layers again; 'default' leaves torch.nn's.

    orthogonal  W_hh of each gate orthogonal, which preserves the norm of h over time: Saxe et al.
                2014; W_ih of each gate, and linear layers, xavier_uniform; biases 0 except
    forget_bias the bias of an LSTM's forget gate, b_ih + b_hh: Gers et al. 2000, Jozefowicz et al.
                2015. None is 1 with 'orthogonal', and torch's with 'default'
    """
    for layer in model.modules():
        if isinstance(layer, RNNBase):
            if scheme == "orthogonal":
                _draw(layer)
            if layer.mode == "LSTM" and (scheme == "orthogonal" or forget_bias is not None):
                _set_forget_bias(layer, FORGET_BIAS if forget_bias is None else forget_bias)
        elif isinstance(layer, nn.Linear) and scheme == "orthogonal":
            nn.init.xavier_uniform_(layer.weight)
            nn.init.zeros_(layer.bias)


def _draw(layer: RNNBase) -> None:
    for name, parameter in layer.named_parameters():
        if parameter.is_meta:  # only its shape is read
            continue
        if name.startswith("bias"):
            nn.init.zeros_(parameter)
            continue
        draw = nn.init.orthogonal_ if name.startswith("weight_hh") else nn.init.xavier_uniform_
        for gate in parameter.chunk(layer.gates):
            draw(gate)


def _set_forget_bias(layer: RNNBase, value: float) -> None:
    for name, parameter in layer.named_parameters():
        if name.startswith("bias"):  # the gates are i, f, g, o; of two biases one is enough
            parameter.chunk(layer.gates)[1].fill_(value if name.startswith("bias_ih") else 0.0)
