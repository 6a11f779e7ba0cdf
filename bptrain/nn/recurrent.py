"""What RNN, LSTM and GRU share beyond torch's classes: the scan's arguments, packed input.

Parameters, options and their checks are torch's own, of which these classes are subclasses. To
torch.compile they are torch's, too: it traces them once torch._dynamo.config.allow_rnn is True.
"""

from typing import TypeVar

import torch
from torch import Tensor
from torch.nn.utils.rnn import PackedSequence

from bptrain.ops.reorder import reorder

Sequences = TypeVar("Sequences", Tensor, PackedSequence)
State = tuple[Tensor, ...]
Arguments = tuple[list[Tensor], bool, int, float, bool, bool, bool, Tensor | None]


class RNNBase(torch.nn.RNNBase):
    """Layers of a recurrent network, in one direction or two."""

    gates: int  # number of gates in W_ih

    def flatten_parameters(self) -> None:
        """Do nothing: torch's cuDNN needs contiguous parameters, the scan does not."""

    def _operation(
        self, input: Tensor, hx: State | None, batch_sizes: Tensor | None
    ) -> tuple[Tensor, State]:
        """Return the output and the last states; each module calls its own operation."""
        raise NotImplementedError

    def _arguments(self, batch_sizes: Tensor | None) -> Arguments:
        """Return what the operations take after the input and the states."""
        return (
            [parameter for group in self.all_weights for parameter in group],
            self.bias,
            self.num_layers,
            self.dropout,
            self.training,
            self.bidirectional,
            self.batch_first and batch_sizes is None,
            batch_sizes,
        )

    def _sequences(self, input: Sequences, hx: State | None) -> tuple[Sequences, State]:
        """Return the output, of the type of the input, and the last states."""
        if isinstance(input, PackedSequence):
            data, batch_sizes, order, inverse = input
            if hx is not None:
                hx = tuple(reorder(each, order, inverse) for each in hx)
            output, last = self._operation(data, hx, batch_sizes)
            last = tuple(reorder(each, inverse, order) for each in last)
            return PackedSequence(output, batch_sizes, order, inverse), last
        if input.dim() not in (2, 3):
            raise ValueError(f"input has {input.dim()} axes, expected 3, or 2 if it is unbatched")
        if hx is not None and any(each.dim() != input.dim() for each in hx):
            raise ValueError(
                f"hx has {[each.dim() for each in hx]} axes, expected {input.dim()}, as the input"
            )
        if input.dim() == 3:
            return self._operation(input, hx, None)
        batch_axis = 0 if self.batch_first else 1
        if hx is not None:
            hx = tuple(each.unsqueeze(1) for each in hx)
        output, last = self._operation(input.unsqueeze(batch_axis), hx, None)
        return output.squeeze(batch_axis), tuple(each.squeeze(1) for each in last)
