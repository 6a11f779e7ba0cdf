"""The order of a tensor's axes in memory, in which numbers are written into it in place.

Symptom: a compiled step is refused, or draws its random numbers for other units. Cause: the
compiler has no writing in place. It makes a new contiguous tensor of what is written, whatever the
strides of the old one were: views of it are then of another memory, and random numbers, which are
drawn in the order of memory, are those of other places. Remedy: write into a view whose axes are
in the order of memory; a new tensor in its place is laid out alike.
"""

from torch import Tensor


def memory_order(x: Tensor) -> list[int]:
    """Return the axes of a dense tensor, the one of the longest stride first."""
    return sorted(range(x.dim()), key=x.stride, reverse=True)


def set_zero(x: Tensor, mask: Tensor) -> Tensor:
    """Write 0 into x where `mask`, of x's shape or broadcast to it, is true; return x."""
    order = memory_order(x)
    x.permute(order).masked_fill_(mask.expand(x.shape).permute(order), 0)
    return x
