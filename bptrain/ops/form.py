"""A tensor's form without its numbers: all that the gradient of a pooling asks of its input."""

from typing import NamedTuple

import torch
from torch import Tensor


class Form(NamedTuple):
    """The shape and layout of a tensor."""

    shape: tuple[int, ...]
    is_channels_last: bool

    def beside(self, grad: Tensor) -> Tensor:
        """Return unwritten memory of this form, with the dtype and device of `grad`.

        torch's backward kernels read nothing but the form of their input: handed this, the input
        itself need not be kept. Memory that nobody touches is not even mapped on a CPU.
        """
        layout = torch.channels_last if self.is_channels_last else torch.contiguous_format
        return torch.empty(self.shape, dtype=grad.dtype, device=grad.device, memory_format=layout)


def form_of(x: Tensor) -> Form:
    """Return the form of x; a tensor that lies in both layouts counts as contiguous."""
    is_channels_last = (
        x.dim() == 4
        and not x.is_contiguous()
        and x.is_contiguous(memory_format=torch.channels_last)
    )
    return Form(tuple(x.shape), is_channels_last)
