"""Resizing: each output is a weighted mean of the inputs around it.

Shapes     x [N, C, W]   y [N, C, W']   or two axes H, W, or three D, H, W, each resized by itself:
           the weight of a position is the product of its weights along the axes
Forward    y_k = sum_h w_kh x_h        k, h count outputs and inputs along one axis
           where output k lies among the inputs: at u = (k + 1/2) / s - 1/2, s the scale; with
           align_corners at u = k (W - 1) / (W' - 1)
           nearest         w_kh = [h = floor(k / s)]
           nearest-exact   w_kh = [h = floor((k + 1/2) / s)]
           (bi, tri)linear w_kh = K(u - h) = max(0, 1 - |u - h|)
           bicubic         w_kh = K(u - h), Keys' cubic with a = -3/4
           a position h beyond the border counts as the border. With antialias K((u - h) s) for
           K(u - h) where s < 1, a = -1/2, nothing beyond the border, but weights divided by their
           sum;
           u = (k + 1/2) / s - 1/2 for align_corners too, its 1 / s being (W - 1) / (W' - 1).
           An axis whose length stays is copied whatever the scale, but for nearest-exact and for a
           bicubic whose other axis changes; torch copies it for some modes, devices and layouts
Backward   writing x' for dL/dx, given y'
    x'_h = sum_k w_kh y'_k   because dy_k/dx_h = w_kh: the transposed matrix, along each axis
Saves      nothing: the weights depend on the sizes alone
Cost       1 (nearest), 2, 4 or 8 (linear), 16 (bicubic) products an output each way
Source     Keys 1981, "Cubic convolution interpolation for digital image processing", equation 4;
           positions and borders as in torch; the derivation here
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from bptrain.ops.operation import operation
from bptrain.ops.precision import widened_for_sums

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
REACH = 2  # positions on either side that the widest kernel, the cubic, sees
MODES = sorted({mode for mode, _ in KERNELS})


class Resizing(NamedTuple):
    """The constants of one call: which weights, and as many outputs as where."""

    kernel: str
    size: tuple[int, ...]
    corners: tuple[bool, ...]  # (align_corners,), or () where the kernel knows no such option
    scales: tuple[float | None, ...]  # None: the quotient of the sizes


class Saved(NamedTuple):
    """What the backward pass reads."""

    resizing: Resizing
    shape: tuple[int, ...]  # of x


def forward(x: Tensor, resizing: Resizing) -> tuple[Tensor, Saved]:
    """Return y [N, C, *size]: sum_h w_kh x_h, along one axis after the other."""
    y = x
    for axis, H in enumerate(x.shape[2:]):
        w = weights(resizing, axis, H).to(x)
        at_end = y.movedim(axis + 2, -1) @ w.t()
        y = at_end.movedim(-1, axis + 2)
    return y, Saved(resizing, tuple(x.shape))


def backward(grad_y: Tensor, saved: Saved) -> Tensor:
    """Return x' [*shape]: sum_k w_kh y'_k, along one axis after the other."""
    grad_x = grad_y
    for axis, H in enumerate(saved.shape[2:]):
        w = weights(saved.resizing, axis, H).to(grad_y)
        at_end = grad_x.movedim(axis + 2, -1) @ w
        grad_x = at_end.movedim(-1, axis + 2)
    return grad_x


def fused_forward(x: Tensor, resizing: Resizing) -> tuple[Tensor, Saved]:
    """Return y from one kernel, which never builds the matrix."""
    kernel, size, corners, scales = resizing
    y: Tensor = getattr(torch.ops.aten, kernel)(x, size, *corners, *scales)
    return y, Saved(resizing, tuple(x.shape))


def fused_backward(grad_y: Tensor, saved: Saved) -> Tensor:
    """Return x' from one kernel, likewise."""
    (kernel, size, corners, scales), shape = saved
    transposed = getattr(torch.ops.aten, f"{kernel}_backward")
    # on CUDA all but the nearest ones add with atomic operations in the dtype of y'
    wide = grad_y if "nearest" in kernel else widened_for_sums(grad_y)
    grad_x: Tensor = transposed(wide, size, shape, *corners, *scales)
    return grad_x.to(grad_y.dtype)


def weights(resizing: Resizing, axis: int, H: int) -> Tensor:
    """Return w [K, H] along an axis of H inputs and K outputs, in float64."""
    kernel, K, s = resizing.kernel, resizing.size[axis], resizing.scales[axis]
    is_aligned, is_antialiased = resizing.corners == (True,), kernel.endswith("_aa")
    k = torch.arange(K, dtype=torch.float64)
    step = 1 / s if s else H / K
    if is_aligned:
        step = (H - 1) / (K - 1) if K > 1 else 0.0
    if "nearest" in kernel:
        return nearest(k + 1 / 2 if "exact" in kernel else k, step, H)
    u = k * step if is_aligned and not is_antialiased else (k + 1 / 2) * step - 1 / 2
    weight = cubic if "cubic" in kernel else hat
    if is_antialiased:
        w = weight((u[:, None] - torch.arange(H)) / max(step, 1.0), -1 / 2)
        return w / w.sum(1, keepdim=True)
    h = torch.arange(-REACH, H + REACH)
    return k.new_zeros(K, H).index_add(1, h.clamp(0, H - 1), weight(u[:, None] - h, -3 / 4))


def nearest(k: Tensor, step: float, H: int) -> Tensor:
    """Return the weights [K, H], 1 for the one input that an output copies."""
    # In float32, as torch's kernels do for every dtype: where k / s is a whole number, rounding
    # decides what it is rounded down to.
    h = (k.float() * step).floor().clamp(max=H - 1)
    return (h[:, None] == torch.arange(H)).double()


def hat(d: Tensor, a: float) -> Tensor:
    """Return the linear weight at a distance d, which knows no a."""
    return (1 - d.abs()).clamp(min=0)


def cubic(d: Tensor, a: float) -> Tensor:
    """Return Keys' weight at a distance d."""
    d = d.abs()
    near = (a + 2) * d**3 - (a + 3) * d**2 + 1
    far = a * (d**3 - 5 * d**2 + 8 * d - 4)
    return torch.where(d <= 1, near, torch.where(d < REACH, far, 0))


upsample_function = operation(
    forward, backward, fused_forward=fused_forward, fused_backward=fused_backward
)


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
    scale factor is rounded down; the positions of the outputs then follow the given factor, or with
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
    scales = scales_of_changes(kernel, lengths, size, scales)
    return upsample_function(input, Resizing(kernel, size, corners, scales))


def scales_of_changes(
    kernel: str, lengths: Sequence[int], size: Sequence[int], scales: tuple[float | None, ...]
) -> tuple[float | None, ...]:
    """Return the scales, None for an axis whose length stays and which is copied."""
    # Symptom: 4 positions at scale 1.24, again 4, had the gradient of another function:
    # <J v, y'> != <v, J^T y'>. Cause: for such an axis some of torch's kernels follow the scale and
    # others copy, of one mode forward (nearest, bicubic) or backward (antialias) and by the
    # layout. Remedy: without the scale all of them copy. These two follow it both ways:
    if "exact" in kernel or (kernel == KERNELS["bicubic", 2] and tuple(lengths) != tuple(size)):
        return scales
    is_same = [length == outputs for length, outputs in zip(lengths, size, strict=True)]
    return tuple(None if same else s for same, s in zip(is_same, scales, strict=True))


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
    """Return the outputs along each axis, and the scales that their positions follow."""
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
