"""Padding: a frame around x, filled with a constant or with copies of x's own elements.

Shapes     x [..., H]   y [..., p + H + q]      p elements before, q after; any number of axes
Forward    y_j = x_s(j), where the source s(j) of the element j is j - p in the middle, and
               in front, j < p     behind, j >= p + H
    constant   none: y_j is given  none: y_j is given      p, q < 0 cut elements off
    reflect    p - j               2 (H - 1) - (j - p)     a mirror on the border element
    replicate  0                   H - 1                   the border element again
    circular   j - p + H           j - p - H               the opposite end
           Further axes have sources of their own, so they are padded one after the other.
Backward   writing x' for dL/dx, given y'
    x' = sum of y'_j over the j with s(j) = h, at each h      because dy_j/dx_h = [s(j) = h]:
               the gradient of a copy is added to that of the element that was copied, axis by
               axis again. In slices: the middle of y' is x', and the frame is folded onto it,
               flipped for reflect, summed for replicate, shifted for circular; for constant it
               is dropped
Saves      nothing: where gradients go depends on the sizes alone
Cost       1 copy forward, 1 copy backward and an addition for each element of the frame
Source     derived here. torch's reflect and replicate save x and add with atomics on CUDA, in an
           order that changes from run to run; slices are added in a fixed one
"""

from collections.abc import Iterator, Sequence
from typing import Literal, NamedTuple, get_args

import torch
from torch import Tensor

from bptrain.ops.channels_last import empty, is_channels_last
from bptrain.ops.operation import operation
from bptrain.ops.precision import widened_for_sums

Mode = Literal["constant", "reflect", "replicate", "circular"]


class Saved(NamedTuple):
    """What the backward pass reads."""

    pad: Sequence[int]
    mode: Mode
    channels_last: bool  # in memory, of x


def forward(x: Tensor, pad: Sequence[int], mode: Mode, value: float) -> tuple[Tensor, Saved]:
    """Return y; `pad` has p and q of the last axis, then of the one before it, and so on."""
    saved = Saved(pad, mode, is_channels_last(x))
    if mode == "constant":
        return torch.constant_pad_nd(x, pad, value), saved
    y = x.clone()
    for axis, p, q in _padded_axes(pad):
        y = y.index_select(axis, sources(mode, p, x.shape[axis], q, x.device))
    return y, saved


def backward(grad_y: Tensor, saved: Saved) -> Tensor:
    """Return x': each y'_j added at its source."""
    if saved.mode == "constant":
        return torch.constant_pad_nd(grad_y, [-each for each in saved.pad])
    grad_x, shape = widened_for_sums(grad_y), list(grad_y.shape)
    for axis, p, q in _padded_axes(saved.pad):
        shape[axis] -= p + q
        s = sources(saved.mode, p, shape[axis], q, grad_y.device)
        grad_x = grad_x.new_zeros(shape).index_add(axis, s, grad_x)
    return grad_x.to(grad_y.dtype)


def sources(mode: Mode, p: int, H: int, q: int, device: torch.device) -> Tensor:
    """Return s(j) [p + H + q]."""
    i = torch.arange(-p, H + q, device=device)  # j - p
    if mode == "reflect":
        return (H - 1) - ((H - 1) - i.abs()).abs()
    return i.clamp(0, H - 1) if mode == "replicate" else i % H


def fused_forward(x: Tensor, pad: Sequence[int], mode: Mode, value: float) -> tuple[Tensor, Saved]:
    """Return y from one kernel, or from one copy of x and one of each side of the frame."""
    if mode == "constant":
        return forward(x, pad, mode, value)
    y: Tensor = circular(x, pad) if mode == "circular" else torch.ops.aten.pad(x, pad, mode)
    return y, Saved(pad, mode, is_channels_last(x))


def fused_backward(grad_y: Tensor, saved: Saved) -> Tensor:
    """Return x' in the layout of x, from one copy of y' and one addition for each side."""
    if saved.mode == "constant":
        return backward(grad_y, saved)
    wide = widened_for_sums(grad_y)
    axes = list(_padded_axes(saved.pad))
    return folded(wide, axes, saved.mode, saved.channels_last).to(grad_y.dtype)


def circular(x: Tensor, pad: Sequence[int]) -> Tensor:
    """Return x in a frame of its opposite ends, in x's memory format (torch's op loses it)."""
    shape = list(x.shape)
    for axis, p, q in _padded_axes(pad):
        shape[axis] += p + q
    y = empty(shape, x, is_channels_last(x))
    middle = y
    for axis, p, _ in _padded_axes(pad):
        middle = middle.narrow(axis, p, x.shape[axis])
    middle.copy_(x)
    for axis, p, q in _padded_axes(pad):
        H = x.shape[axis]
        y.narrow(axis, 0, p).copy_(y.narrow(axis, H, p))
        y.narrow(axis, p + H, q).copy_(y.narrow(axis, p, q))
    return y


def folded(
    grad_y: Tensor, axes: list[tuple[int, int, int]], mode: Mode, channels_last: bool
) -> Tensor:
    """Return the middle of y' with its frame added to it, folded along one axis after the other.

    Frames are folded along the other axes first, so that the middle, which is large, is copied
    once: a copy for each axis took twice as long.
    """
    if not axes:
        grad_x = empty(grad_y.shape, grad_y, channels_last)
        return grad_x.copy_(grad_y)  # y' itself is not ours to add to
    (axis, p, q), rest = axes[0], axes[1:]
    H = grad_y.shape[axis] - p - q
    front = folded(grad_y.narrow(axis, 0, p), rest, mode, channels_last)
    grad_x = folded(grad_y.narrow(axis, p, H), rest, mode, channels_last)
    behind = folded(grad_y.narrow(axis, p + H, q), rest, mode, channels_last)
    if mode == "reflect":
        grad_x.narrow(axis, 1, p).add_(front.flip(axis))
        grad_x.narrow(axis, -1 - q, q).add_(behind.flip(axis))
    elif mode == "replicate":
        grad_x.narrow(axis, 0, 1).add_(front.sum(axis, keepdim=True))
        grad_x.narrow(axis, -1, 1).add_(behind.sum(axis, keepdim=True))
    else:
        grad_x.narrow(axis, -p, p).add_(front)
        grad_x.narrow(axis, 0, q).add_(behind)
    return grad_x


def _padded_axes(pad: Sequence[int]) -> Iterator[tuple[int, int, int]]:
    """Yield axis, p and q of each axis that has a frame, the last axis first."""
    for number, (p, q) in enumerate(zip(pad[::2], pad[1::2], strict=True)):
        if p or q:
            yield -1 - number, p, q


pad_function = operation(
    forward, backward, fused_forward=fused_forward, fused_backward=fused_backward
)


def pad(
    input: Tensor, pad: Sequence[int], mode: Mode = "constant", value: float | None = None
) -> Tensor:
    """Return `input` with a frame of `pad` elements around it.

    pad    in front and behind for the last axis, then for the one before it, and so on; a negative
           number cuts off: from what is returned, but for 'circular' from what is copied
    mode   'constant' pads any axes; the others the last 1, 2 or 3, after one or two that stay
    value  what 'constant' fills with, 0 by default

    Raises ValueError for a mode, value or frame that does not fit.
    """
    frame = tuple(pad)
    _check(input, frame, mode, value)
    cut = tuple(min(each, 0) for each in frame)
    copies = tuple(max(each, 0) for each in frame)
    if mode == "constant" or not any(cut):
        y: Tensor = pad_function(input, frame, mode, value or 0.0)
    elif mode == "circular":
        rest = pad_function(input, cut, "constant", 0.0)
        y = pad_function(rest, copies, mode, 0.0)
    else:
        whole = pad_function(input, copies, mode, 0.0)
        y = pad_function(whole, cut, "constant", 0.0)
    return y


def _check(input: Tensor, pad: tuple[int, ...], mode: str, value: float | None) -> None:
    axes = len(pad) // 2
    if mode not in get_args(Mode):
        raise ValueError(f"mode is {mode!r}, expected one of {', '.join(get_args(Mode))}")
    if len(pad) % 2 or axes > input.dim():
        raise ValueError(
            f"pad has {len(pad)} numbers, expected two for each of at most {input.dim()} axes"
        )
    if mode != "constant" and value:
        raise ValueError(f"value is {value}, expected none: mode {mode!r} copies what is there")
    if mode != "constant" and (axes not in (1, 2, 3) or input.dim() - axes not in (1, 2)):
        raise ValueError(
            f"input has {input.dim()} axes and pad {len(pad)} numbers: mode {mode!r} pads the last "
            "1, 2 or 3 axes, after a channel axis and perhaps a batch axis"
        )
    for axis, p, q in _padded_axes(pad):
        H = input.shape[axis]
        if H + p + q < 0 or (mode != "constant" and max(p, q) > _largest_frame(mode, H, p, q)):
            raise ValueError(
                f"pad is {list(pad)}: too much for axis {axis} of size {H} in {mode!r}"
            )


def _largest_frame(mode: str, H: int, p: int, q: int) -> int:
    """Return how many elements a side can have, so that each has a source in x."""
    if mode == "reflect":
        return H - 1
    if mode == "circular":
        return H + min(p, 0) + min(q, 0)
    return max(p, q) if H else 0
