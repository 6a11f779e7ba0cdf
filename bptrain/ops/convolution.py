"""What every convolution shares: its geometry, whether the shapes fit together, and W'."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from bptrain.ops.precision import widened_for_sums

Numbers = int | Sequence[int]


Gradients = tuple[Tensor | None, Tensor | None, Tensor | None]


class Geometry(NamedTuple):
    """How the kernel moves over its image, a number for each spatial axis, and the groups."""

    stride: tuple[int, ...]
    padding: tuple[int, ...]
    dilation: tuple[int, ...]
    output_padding: tuple[int, ...]  # zeros unless transposed
    groups: int


class Sizes(NamedTuple):
    """The shapes of the tensors that have a gradient, whether they were saved or not."""

    x: tuple[int, ...]
    W: tuple[int, ...]


class Needs(NamedTuple):
    """Which gradients are needed."""

    x: bool
    W: bool
    b: bool


class Saved(NamedTuple):
    """What the backward pass reads."""

    x: Tensor | None  # only if W' is needed
    W: Tensor | None  # only if x' is needed
    geometry: Geometry
    sizes: Sizes

    @classmethod
    def of(cls, x: Tensor, W: Tensor, geometry: Geometry, needs: Needs) -> "Saved":
        """Return what the needed gradients read."""
        sizes = Sizes(x.shape, W.shape)
        return cls(x if needs.W else None, W if needs.x else None, geometry, sizes)


def _without_kernel() -> set[torch.dtype]:
    """Return the dtypes of 16 bits in which oneDNN has no convolutions for this CPU."""
    asked = {
        torch.bfloat16: "_is_mkldnn_bf16_supported",
        torch.float16: "_is_mkldnn_fp16_supported",
    }
    if not torch.backends.mkldnn.is_available():
        return set(asked)
    return {dtype for dtype, name in asked.items() if not getattr(torch.ops.mkldnn, name)()}


WITHOUT_KERNEL = _without_kernel()


def widened_without_kernel(x: Tensor) -> Tensor:
    """Return x in float32 where torch's own code would hold the sum of W' in 16 bits.

    It does on CPUs for which oneDNN has no kernel: see `widened_for_sums`.
    """
    is_held_so = x.device.type == "cpu" and x.dtype in WITHOUT_KERNEL
    return widened_for_sums(x) if is_held_so else x


def in_dtype_of(grad_y: Tensor, gradient: Tensor | None) -> Tensor | None:
    """Return a gradient rounded to the dtype of y'; None if it is not needed."""
    return None if gradient is None else gradient.to(grad_y.dtype)


def with_channels_first(images: Tensor) -> Tensor:
    """Return the images with their channels first; a copy if they come last.

    One channel has the strides of either layout, so that `contiguous` would keep them.
    """
    come_last = images.stride(1) == 1
    return images.clone(memory_format=torch.contiguous_format) if come_last else images


def bias_gradient(grad_y: Tensor) -> Tensor:
    """Return sum_{n,j} y'_noj [O]."""
    return grad_y.sum((0, *range(2, grad_y.dim())))


def weight_gradient(read: Tensor, written: Tensor, geometry: Geometry, sizes: Sizes) -> Tensor:
    """Return sum_{n,j} read_nch written_noj at h = v r - p + u j, with the shape of W.

    This sum over positions j is a convolution itself, of `read` with `written` for its kernel: r,
    which moves by v, is now the position, and j, which moves by u, the offset. It sums
    over samples where the forward pass sums over channels, so that these are swapped too. Where
    the stride left a remainder of `read`, further r would fit in: they are cut off.

    read      what the kernel moved over: x, or y' where the convolution is transposed
    written   what has one number for each of its positions: y', or x
    """
    if read.shape[0] == 0:  # torch.convolution returns no output channels where none comes in
        return read.new_zeros(sizes.W)
    # Symptom: W' of 8 planes of 8 x 8 in bfloat16 is off by its own size on some CPUs. Cause:
    # oneDNN's convolution of 8 channels with a kernel of 8 columns. Remedy: this sum in float32.
    dtype, read, written = read.dtype, widened_for_sums(read), widened_for_sums(written)
    by_group = zip(read.chunk(geometry.groups, 1), written.chunk(geometry.groups, 1), strict=True)
    grads = [
        torch.convolution(
            each_read.transpose(0, 1),  # [C/G, N, H]
            each_written.transpose(0, 1),  # [O/G, N, P]
            None, geometry.dilation, geometry.padding, geometry.stride, False, (0,), 1,
        )
        for each_read, each_written in by_group
    ]  # fmt: skip
    grad_W = torch.cat(grads, 1).transpose(0, 1)  # [C/G, O, R and more] to [O, C/G, R and more]
    return cut_off(grad_W, sizes.W).to(dtype)


def cut_off(y: Tensor, size: tuple[int, ...]) -> Tensor:
    """Return the first positions of y along its spatial axes, as many as in `size`."""
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
    if 0 in weight.shape:  # torch's result then has no channels, whatever weight asks for
        raise ValueError(f"weight has shape {list(weight.shape)}, expected none of them 0")
    given = input.shape[1 - weight.dim()]
    if given != inputs:
        raise ValueError(
            f"input has {given} channels, weight {list(weight.shape)} with groups {groups} "
            f"expects {inputs}"
        )
    if bias is not None and bias.shape != (outputs,):
        raise ValueError(f"bias has shape {list(bias.shape)}, expected [{outputs}]")
