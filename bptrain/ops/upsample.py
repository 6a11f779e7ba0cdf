"""Resizing: each output is a weighted mean of the inputs around its place; blame takes the weights.

Shapes     x [N, C, W]   y [N, C, W']   or two axes H, W, or three D, H, W, each resized by itself:
           the weight of a place is the product of its weights along the axes
Forward    y_k = sum_h w_kh x_h        k, h count outputs and inputs along one axis
           where output k lies among the inputs: at u = (k + 1/2) / s - 1/2, s the scale; with
           align_corners at u = k (W - 1) / (W' - 1)
           nearest         w_kh = [h = floor(k / s)]
           nearest-exact   w_kh = [h = floor((k + 1/2) / s)]
           (bi, tri)linear w_kh = max(0, 1 - |u - h|)        u < 0 counts as 0
           bicubic         w_kh = K(|u - h|), Keys' cubic with a = -3/4
           a place beyond the rim counts as the rim; antialias: |u - h| s in place of |u - h|
           where s < 1, and the weights divided by their sum
Backward   writing x' for dL/dx, given y'
    x'_h = sum_k w_kh y'_k   because dy_k/dx_h = w_kh: the transposed matrix, along each axis
Keeps      nothing: the weights depend on the sizes alone
Cost       1 (nearest), 2, 4 or 8 (linear), 16 (bicubic) products an output each way
Source     Keys 1981, "Cubic convolution interpolation for digital image processing", equation 4;
           places and rims as in torch; the derivation here
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from bptrain.ops.autocast import first_derivative, in_given_dtype

KERNELS = {  # by mode and number of axes; torch's names
    ("nearest", 1): "upsample_nearest1d",
    ("nearest", 2): "upsample_nearest2d",
    ("nearest", 3): "upsample_nearest3d",
    ("nearest-exact", 1): "_upsample_nearest_exact1d",
    ("nearest-exact", 2): "_upsample_nearest_exact2d",
    ("nearest-exact", 3): "_upsample_nearest_exact3d",
    ("linear", 1): "upsample_linear1d",
    ("bilinear", 2): "upsample_bilinear2d",
    ("trilinear", 3): "upsample_trilinear3d",
    ("bicubic", 2): "upsample_bicubic2d",
}
ANTIALIASED = {"bilinear": "_upsample_bilinear2d_aa", "bicubic": "_upsample_bicubic2d_aa"}
MODES = sorted({mode for mode, _ in KERNELS})


class Resizing(NamedTuple):
    """The constants of one call: which weights, and as many outputs as where."""

    kernel: str
    size: tuple[int, ...]
    corners: tuple[bool, ...]  # (align_corners,), or () where the kernel knows no such option
    scales: tuple[float | None, ...]  # None: the quotient of the sizes


def forward(x: Tensor, resizing: Resizing) -> Tensor:
    """Return y [N, C, *size]."""
    kernel, size, corners, scales = resizing
    y: Tensor = getattr(torch.ops.aten, kernel)(x, size, *corners, *scales)
    return y


def backward(grad_y: Tensor, resizing: Resizing, shape: tuple[int, ...]) -> Tensor:
    """Return x' [*shape]: the kernel adds w_kh y'_k up, without ever building the matrix."""
    kernel, size, corners, scales = resizing
    transposed = getattr(torch.ops.aten, f"{kernel}_backward")
    grad_x: Tensor = transposed(grad_y, size, shape, *corners, *scales)
    return grad_x


class UpsampleFunction(torch.autograd.Function):
    """Glue between autograd and the two functions above."""

    @staticmethod
    @in_given_dtype
    def forward(ctx: Any, x: Tensor, resizing: Resizing) -> Tensor:
        """Run the forward pass; no tensor is kept."""
        ctx.resizing, ctx.shape = resizing, tuple(x.shape)
        return forward(x, resizing)

    @staticmethod
    @first_derivative
    def backward(ctx: Any, grad_y: Tensor) -> tuple[Tensor, None]:
        """Run the backward pass."""
        return backward(grad_y, ctx.resizing, ctx.shape), None


def interpolate(
    input: Tensor,
    size: int | Sequence[int] | None = None,
    scale_factor: float | Sequence[float] | None = None,
    mode: str = "nearest",
    align_corners: bool | None = None,
    recompute_scale_factor: bool | None = None,
    antialias: bool = False,
) -> Tensor:
    """Return input [N, C, W], [N, C, H, W] or [N, C, D, H, W] resized along its last axes.

    Either `size` or `scale_factor` is given, one number or one for each axis. A size made from a
    scale factor is rounded down; the places of the outputs then follow the given factor, or with
    recompute_scale_factor the quotient of the sizes. Raises ValueError for options that do not
    fit each other or the input, NotImplementedError for torch's modes 'area' and 'lanczos'.
    """
    kernel = checked_kernel(input, mode, antialias)
    corners = checked_corners(mode, align_corners)
    lengths = input.shape[2:]
    size, scales = sizes_and_scales(lengths, size, scale_factor, bool(recompute_scale_factor))
    if min(size) < 1 or 0 in input.shape[1:]:
        raise ValueError(
            f"input of shape {list(input.shape)} resized to {list(size)}, expected at least 1 "
            "along each axis but N"
        )
    y: Tensor = UpsampleFunction.apply(input, Resizing(kernel, size, corners, scales))
    return y


def checked_mode(mode: str) -> None:
    """Raise NotImplementedError for a mode that is not offered."""
    if mode not in MODES:
        raise NotImplementedError(
            f"mode {mode!r} is not offered, expected one of {MODES}; 'area' is adaptive_avg_pool"
        )


def checked_kernel(input: Tensor, mode: str, antialias: bool) -> str:
    """Return the name of torch's kernel of this mode for the input's axes."""
    checked_mode(mode)
    axes = input.dim() - 2
    if (mode, axes) not in KERNELS:
        raise ValueError(
            f"input has shape {list(input.shape)}, which mode {mode!r} cannot resize: expected N, "
            f"C and as many further axes as in {[key for key in KERNELS if key[0] == mode]}"
        )
    if antialias and mode not in ANTIALIASED:
        raise ValueError(f"antialias with mode {mode!r}, expected one of {list(ANTIALIASED)}")
    return ANTIALIASED[mode] if antialias else KERNELS[mode, axes]


def checked_corners(mode: str, align_corners: bool | None) -> tuple[bool, ...]:
    """Return what the kernel of this mode takes for align_corners."""
    if mode not in ("nearest", "nearest-exact"):
        return (bool(align_corners),)
    if align_corners is not None:
        raise ValueError(f"align_corners is {align_corners} with mode {mode!r}, expected None")
    return ()


def sizes_and_scales(
    lengths: Sequence[int],
    size: int | Sequence[int] | None,
    scale_factor: float | Sequence[float] | None,
    recompute: bool,
) -> tuple[tuple[int, ...], tuple[float | None, ...]]:
    """Return the outputs along each axis, and the scales that their places follow."""
    if (size is None) == (scale_factor is None):
        raise ValueError(f"size is {size} and scale_factor {scale_factor}, expected one of them")
    given: Any = scale_factor if size is None else size
    full = tuple(given) if isinstance(given, Sequence) else (given,) * len(lengths)
    if len(full) != len(lengths):
        name = "scale_factor" if size is None else "size"
        raise ValueError(f"{name} is {list(full)}, expected one number or {len(lengths)}")
    no_scales = (None,) * len(lengths)
    if size is not None:
        if recompute:
            raise ValueError("recompute_scale_factor with a size, expected a scale_factor")
        return full, no_scales
    outputs = tuple(int(length * scale) for length, scale in zip(lengths, full, strict=True))
    return outputs, no_scales if recompute else full
