"""A tensor's form without its numbers: all that the gradient of a pooling asks of its input."""

from typing import NamedTuple

import torch
from torch import Tensor


class Form(NamedTuple):
    """The shape and layout of a tensor."""

    shape: tuple[int, ...]
    is_channels_last: bool

    def unwritten(self, grad: Tensor) -> Tensor:
        """Return unwritten memory of this form, with the dtype and device of `grad`.

        torch's backward kernels take the input but read its form alone. The memory that the
        gradient is to be written to has that form: handed as both, nothing else is needed.
        """
        layout = torch.channels_last if self.is_channels_last else torch.contiguous_format
        return torch.empty(self.shape, dtype=grad.dtype, device=grad.device, memory_format=layout)

    def stand_in(self, grad: Tensor) -> Tensor:
        """Return a tensor of this form, of one number where strides allow it.

        For kernels that do not take the memory to write to.
        """
        if self.is_channels_last:
            return self.unwritten(grad)
        return grad.new_empty(()).expand(self.shape)


def form_of(x: Tensor) -> Form:
    """Return the form of x; a tensor that lies in both layouts counts as contiguous."""
    is_channels_last = (
        x.dim() == 4
        and not x.is_contiguous()
        and x.is_contiguous(memory_format=torch.channels_last)
    )
    return Form(tuple(x.shape), is_channels_last)
