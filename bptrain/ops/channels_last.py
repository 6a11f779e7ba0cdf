"""The layout of images and volumes in memory: channels first, or last, as some kernels need them.

It is asked for and made by moving the axis of the channels. torch's memory formats are the same
layouts, but torch.vmap refuses them.
"""

from collections.abc import Sequence

from torch import Tensor


def is_channels_last(x: Tensor) -> bool:
    """Return whether x [N, C, H, W] or [N, C, D, H, W] has its channels last in memory.

    A tensor that lies in both layouts counts as contiguous.
    """
    return x.dim() in (4, 5) and not x.is_contiguous() and x.movedim(1, -1).is_contiguous()


def laid_out(x: Tensor, channels_last: bool) -> Tensor:
    """Return x [N, C, ...] in a layout; a copy unless it has it."""
    return x.movedim(1, -1).contiguous().movedim(-1, 1) if channels_last else x.contiguous()


def laid_out_as(y: Tensor, x: Tensor) -> Tensor:
    """Return y [N, C, ...] in the layout of x; a copy unless it has it."""
    return laid_out(y, is_channels_last(x))


def empty(shape: Sequence[int], like: Tensor, channels_last: bool) -> Tensor:
    """Return uninitialized memory [N, C, ...] in a layout, of the dtype and device of `like`."""
    if channels_last:
        N, C, *positions = shape
        return like.new_empty((N, *positions, C)).movedim(-1, 1)
    return like.new_empty(tuple(shape))
