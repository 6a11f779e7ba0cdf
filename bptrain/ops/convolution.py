"""What every convolution shares: how its kernel walks, whether the shapes fit together, and W'."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

Numbers = int | Sequence[int]


class Walk(NamedTuple):
    """How the kernel walks over its image, a number for each spatial axis, and the groups."""

    stride: tuple[int, ...]
    padding: tuple[int, ...]
    dilation: tuple[int, ...]
    output_padding: tuple[int, ...]  # zeros unless transposed
    groups: int


class Sizes(NamedTuple):
    """The shapes of the tensors that a gradient is wanted of, whether they were kept or not."""

    x: tuple[int, ...]
    W: tuple[int, ...]


class Saved(NamedTuple):
    """What the backward pass reads."""

    x: Tensor | None  # kept only if W' is wanted
    W: Tensor | None  # kept only if x' is wanted


class Needs(NamedTuple):
    """Which gradients are wanted."""

    x: bool
    W: bool
    b: bool


def weight_gradient(read: Tensor, written: Tensor, walk: Walk, sizes: Sizes) -> Tensor:
    """Return sum_{n,j} read_nch written_noj at h = v r - p + u j, with the shape of W.

    This sum over places j is a convolution itself, of `read` with `written` for its kernel: r,
    which walks v at a time, is now the place, and j, which walks u at a time, the offset. It sums
    over samples where the forward pass sums over channels, so that these trade places too. Where
    the stride left a remainder of `read`, further r would fit in: they are cut off.

    read      what the kernel walked over: x, or y' where the convolution is transposed
    written   what has one number for each of its places: y', or x
    """
    if read.shape[0] == 0:  # torch.convolution returns no output channels where none comes in
        return read.new_zeros(sizes.W)
    by_group = zip(read.chunk(walk.groups, 1), written.chunk(walk.groups, 1), strict=True)
    grads = [
        torch.convolution(
            each_read.transpose(0, 1),  # [C/G, N, H]
            each_written.transpose(0, 1),  # [O/G, N, P]
            None, walk.dilation, walk.padding, walk.stride, False, (0,), 1,
        )
        for each_read, each_written in by_group
    ]  # fmt: skip
    grad_W = torch.cat(grads, 1).transpose(0, 1)  # [C/G, O, R and more] to [O, C/G, R and more]
    return cut_off(grad_W, sizes.W)


def cut_off(y: Tensor, size: tuple[int, ...]) -> Tensor:
    """Return the first places of y along its spatial axes, as many as in `size`."""
    for axis in range(2, y.dim()):
        y = y.narrow(axis, 0, size[axis])
    return y


def per_axis(name: str, numbers: Numbers, axes: int, least: int) -> tuple[int, ...]:
    """Return one number for each spatial axis; raise ValueError if one is below `least`."""
    each = (numbers,) if isinstance(numbers, int) else tuple(numbers)
    if len(each) == 1:
        each *= axes
    if len(each) != axes or min(each) < least:
        raise ValueError(f"{name} is {numbers}, expected {axes} numbers, each at least {least}")
    return each


def check_axes(input: Tensor, weight: Tensor, axes: int) -> None:
    """Raise ValueError unless both have the spatial axes; input's batch axis may be missing."""
    if input.dim() - axes not in (1, 2) or weight.dim() - axes != 2:
        raise ValueError(
            f"input has {input.dim()} axes and weight {weight.dim()}, expected {axes + 2} each, "
            f"or {axes + 1} for input without a batch axis"
        )


def check_channels(
    input: Tensor, weight: Tensor, bias: Tensor | None, groups: int, inputs: int, outputs: int
) -> None:
    """Raise ValueError unless weight splits into groups and takes these inputs to these outputs."""
    if groups < 1 or weight.shape[0] % groups:
        raise ValueError(f"groups is {groups}, expected a divisor of {weight.shape[0]} channels")
    given = input.shape[1 - weight.dim()]
    if given != inputs:
        raise ValueError(
            f"input has {given} channels, weight {list(weight.shape)} with groups {groups} "
            f"expects {inputs}"
        )
    if bias is not None and bias.shape != (outputs,):
        raise ValueError(f"bias has shape {list(bias.shape)}, expected [{outputs}]")
