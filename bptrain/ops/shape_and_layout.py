"""A tensor's shape and memory layout: all that the gradient of a pooling needs of its input."""

from typing import NamedTuple

from torch import Tensor

from bptrain.ops.channels_last import empty, is_channels_last, laid_out


class ShapeAndLayout(NamedTuple):
    """The shape of a tensor, and whether it lies in memory with its channels last."""

    shape: tuple[int, ...]
    channels_last: bool

    def empty(self, grad: Tensor) -> Tensor:
        """Return uninitialized memory of this shape, with the dtype and device of `grad`.

        torch's backward kernels take the input but read only its shape and layout. The memory that
        the gradient is written to has both: passed as input and output, nothing else is needed.
        """
        return empty(self.shape, grad, self.channels_last)

    def zeros(self, grad: Tensor) -> Tensor:
        """Return zeros of this shape, of the batch of `grad` where torch.func adds one."""
        return laid_out(grad.new_zeros(self.shape), self.channels_last)

    def placeholder(self, grad: Tensor) -> Tensor:
        """Return a tensor of this shape, of one number where strides allow it.

        For kernels that do not take the memory to write to.
        """
        if self.channels_last:
            return self.empty(grad)
        return grad.new_empty(()).expand(self.shape)


def shape_and_layout(x: Tensor) -> ShapeAndLayout:
    """Return those of x; a tensor that lies in both layouts counts as contiguous."""
    return ShapeAndLayout(tuple(x.shape), is_channels_last(x))
