"""What every convolution shares: how its kernel walks, and whether the shapes fit together."""

from collections.abc import Sequence
from typing import NamedTuple

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
