"""Recurrent layers for torch.export and ONNX, whose graphs take any number of steps.

There torch.nn.LSTM becomes one copy of its cell for each step of the example: a graph for sequences
of that length alone. `scan` keeps the loop. The reverse direction reads each sequence from its own
last step; padding comes after the steps that count, in both directions.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch._higher_order_ops.scan import scan

from bptrain.models import plain

WEIGHTS = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
Step = Callable[[list[Tensor], Tensor], tuple[list[Tensor], Tensor]]


class Scanned(plain.RecurrentNetwork):
    """Runs the recurrent layers step by step."""

    def run_layers(self, embedded: Tensor, lengths: Tensor | None) -> Tensor:
        """Return the recurrent layers' output [B, T, D]."""
        layers, x = getattr(self, self.cell), embedded
        for number in range(layers.num_layers):
            directions = [_direction(layers, self.cell, number, "", x)]
            if layers.bidirectional:
                reverse = _direction(layers, self.cell, number, "_reverse", reversed_(x, lengths))
                directions.append(reversed_(reverse, lengths))
            x = torch.cat(directions, 2)
        return x


class ScannedOnce(Scanned, plain.OutputOnce):
    """One output for a whole sequence."""


class ScannedEachStep(Scanned, plain.OutputEachStep):
    """An output at every step."""


class ScannedLanguageModel(Scanned, plain.LanguageModel):
    """Logits of the next token at every step."""


SCANNED: dict[type[nn.Module], type[nn.Module]] = {
    plain.OutputOnce: ScannedOnce,
    plain.OutputEachStep: ScannedEachStep,
    plain.LanguageModel: ScannedLanguageModel,
}


def scanned(model: nn.Module) -> nn.Module:
    """Let a plain model, if it is recurrent, run its layers step by step; return it."""
    if type(model) in SCANNED:
        model.__class__ = SCANNED[type(model)]
    return model


def reversed_(x: Tensor, lengths: Tensor | None) -> Tensor:
    """Return [B, T, I] with the first `lengths` steps of each sequence in reverse order."""
    if lengths is None:
        return x.flip(1)
    steps = torch.arange(x.shape[1], device=x.device)
    ends = lengths.to(x.device)[:, None]
    order = torch.where(steps < ends, ends - 1 - steps, steps)
    return x.gather(1, order[:, :, None].expand(-1, -1, x.shape[2]))


def _direction(layers: nn.Module, cell: str, number: int, suffix: str, x: Tensor) -> Tensor:
    """Return the output [B, T, H] of one direction of one layer."""
    w_ih, w_hh, b_ih, b_hh = (getattr(layers, f"{name}_l{number}{suffix}") for name in WEIGHTS)
    gates = (x @ w_ih.T + b_ih).transpose(0, 1)
    h = x.new_zeros(x.shape[0], w_hh.shape[1])
    states = [h, h.clone()] if cell == "lstm" else [h]
    _, output = scan(STEPS[cell](w_hh, b_hh), states, gates)
    return output.transpose(0, 1)  # type: ignore[no-any-return]


def _rnn(w_hh: Tensor, b_hh: Tensor) -> Step:
    def step(state: list[Tensor], gates: Tensor) -> tuple[list[Tensor], Tensor]:
        h = torch.tanh(gates + state[0] @ w_hh.T + b_hh)
        return [h], h.clone()  # scan takes no tensor twice

    return step


def _lstm(w_hh: Tensor, b_hh: Tensor) -> Step:
    def step(state: list[Tensor], gates: Tensor) -> tuple[list[Tensor], Tensor]:
        i, f, g, o = (gates + state[0] @ w_hh.T + b_hh).chunk(4, 1)
        c = f.sigmoid() * state[1] + i.sigmoid() * g.tanh()
        h = o.sigmoid() * c.tanh()
        return [h, c], h.clone()

    return step


def _gru(w_hh: Tensor, b_hh: Tensor) -> Step:
    def step(state: list[Tensor], gates: Tensor) -> tuple[list[Tensor], Tensor]:
        r_x, z_x, n_x = gates.chunk(3, 1)
        r_h, z_h, n_h = (state[0] @ w_hh.T + b_hh).chunk(3, 1)
        z = (z_x + z_h).sigmoid()
        n = (n_x + (r_x + r_h).sigmoid() * n_h).tanh()
        h = (1 - z) * n + z * state[0]
        return [h], h.clone()

    return step


STEPS: dict[str, Callable[[Tensor, Tensor], Step]] = {"rnn": _rnn, "lstm": _lstm, "gru": _gru}
