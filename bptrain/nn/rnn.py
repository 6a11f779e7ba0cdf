"""torch.nn.RNN and RNNCell with the backward pass of `bptrain.ops.rnn`."""

import torch
from torch import Tensor

from bptrain.nn.recurrent import RNNBase, Sequences, State
from bptrain.ops.rnn import rnn_relu, rnn_relu_cell, rnn_tanh, rnn_tanh_cell


def _checked(nonlinearity: str) -> str:
    if nonlinearity not in ("tanh", "relu"):
        raise ValueError(f"nonlinearity is {nonlinearity!r}, expected 'tanh' or 'relu'")
    return nonlinearity


class RNN(RNNBase, torch.nn.RNN):
    """Elman's network over time; input and output as torch.nn.RNN's."""

    gates = 1

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        nonlinearity: str = "tanh",
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__(
            input_size, hidden_size, num_layers, _checked(nonlinearity), bias, batch_first,
            dropout, bidirectional, device=device, dtype=dtype,
        )  # fmt: skip

    def forward(self, input: Sequences, hx: Tensor | None = None) -> tuple[Sequences, Tensor]:
        """Return the output of every time step, and the last h.

        input [T, N, I], [N, T, I] with batch_first, [T, I] unbatched, or a PackedSequence; hx
        [num_layers * directions, N, H], in the order of the sequences.
        """
        output, (h,) = self._sequences(input, None if hx is None else (hx,))
        return output, h

    def _operation(
        self, input: Tensor, hx: State | None, batch_sizes: Tensor | None
    ) -> tuple[Tensor, State]:
        start = None if hx is None else hx[0]
        operation = rnn_tanh if self.nonlinearity == "tanh" else rnn_relu
        output, h = operation(input, start, *self._arguments(batch_sizes))
        return output, (h,)


class RNNCell(torch.nn.RNNCell):
    """One time step of an RNN."""

    def forward(self, input: Tensor, hx: Tensor | None = None) -> Tensor:
        """Return h after the step; input [N, I] or [I], hx [N, H] or [H]."""
        operation = rnn_tanh_cell if _checked(self.nonlinearity) == "tanh" else rnn_relu_cell
        return operation(input, hx, self.weight_ih, self.weight_hh, self.bias_ih, self.bias_hh)
