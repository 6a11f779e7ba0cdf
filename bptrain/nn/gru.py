"""torch.nn.GRU and GRUCell with the backward pass of `bptrain.ops.gru`."""

import torch
from torch import Tensor

from bptrain.nn.recurrent import RNNBase, Sequences, State
from bptrain.ops.gru import gru, gru_cell


class GRU(RNNBase, torch.nn.GRU):
    """Gated recurrent units over time; input and output as torch.nn.GRU's."""

    gates = 3

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__(
            input_size, hidden_size, num_layers, bias, batch_first, dropout, bidirectional,
            device=device, dtype=dtype,
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
        output, h = gru(input, start, *self._arguments(batch_sizes))
        return output, (h,)


class GRUCell(torch.nn.GRUCell):
    """One time step of a GRU."""

    def forward(self, input: Tensor, hx: Tensor | None = None) -> Tensor:
        """Return h after the step; input [N, I] or [I], hx [N, H] or [H]."""
        return gru_cell(input, hx, self.weight_ih, self.weight_hh, self.bias_ih, self.bias_hh)
