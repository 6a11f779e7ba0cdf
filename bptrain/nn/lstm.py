"""torch.nn.LSTM and LSTMCell with the backward pass of `bptrain.ops.lstm`."""

import torch
from torch import Tensor

from bptrain.nn.recurrent import RNNBase, Sequences, State
from bptrain.ops.lstm import lstm, lstm_cell


class LSTM(RNNBase, torch.nn.LSTM):
    """Long short-term memory over time; input and output as torch.nn.LSTM's."""

    gates = 4

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        proj_size: int = 0,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__(
            input_size, hidden_size, num_layers, bias, batch_first, dropout, bidirectional,
            proj_size, device, dtype,
        )  # fmt: skip

    def forward(
        self, input: Sequences, hx: tuple[Tensor, Tensor] | None = None
    ) -> tuple[Sequences, tuple[Tensor, Tensor]]:
        """Return the output of every time step, and the last h and c.

        input [T, N, I], [N, T, I] with batch_first, [T, I] unbatched, or a PackedSequence; hx =
        (h, c), each [num_layers * directions, N, ...], in the order of the sequences.
        """
        output, (h, c) = self._sequences(input, hx)
        return output, (h, c)

    def _operation(
        self, input: Tensor, hx: State | None, batch_sizes: Tensor | None
    ) -> tuple[Tensor, State]:
        start = None if hx is None else (hx[0], hx[1])
        output, *last = lstm(input, start, *self._arguments(batch_sizes))
        return output, tuple(last)


class LSTMCell(torch.nn.LSTMCell):
    """One time step of an LSTM."""

    def forward(
        self, input: Tensor, hx: tuple[Tensor, Tensor] | None = None
    ) -> tuple[Tensor, Tensor]:
        """Return h and c after the step; input [N, I] or [I], hx = (h, c)."""
        return lstm_cell(input, hx, self.weight_ih, self.weight_hh, self.bias_ih, self.bias_hh)
