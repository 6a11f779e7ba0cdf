"""Root-mean-square normalization: each sample to a mean square of 1, then scaled; no mean is taken.

Shapes     x, y [N, E]   w [E]   s, r [N]
           N: the leading axes, flattened; E: the axes of normalized_shape, flattened
Forward    s_n  = sum_e x_ne^2 / E         r_n  = (s_n + eps)^(-1/2)
           h_ne = r_n x_ne                 y_ne = w_e h_ne
Backward   writing x' for dL/dx, given y' [N, E]
    w'_e  = sum_n y'_ne h_ne          because dy_ne/dw_e = h_ne; each sample uses the same w
    h'_ne = w_e y'_ne                 because dy_ne/dh_ne = w_e
  The samples are independent: n is left out from here on, and means run over e.
    r'    = sum_e h'_e x_e            because h_e = r x_e
          = sum_e h'_e h_e / r
    s'    = -(1/2) r^2 sum_e h'_e h_e because dr/ds = -(1/2) (s + eps)^(-3/2) = -(1/2) r^3
    x'_e  = r h'_e + s' (2/E) x_e     because dh_e/dx_e = r and ds/dx_e = (2/E) x_e, with
                                      x_e = h_e / r:
    x' = r (h' - h mean(h' h))     because the second term is then -r h_e mean(h' h)
  This is layer normalization's x' for m = 0, but for the term of the mean, -r mean(h'). So
  layer normalization's kernel, told that the mean is 0, computes w' and x' - r mean(h'), and
  that term is added again; mean(h') = y' w / E is one matrix-vector product.
Saves      x, r (for either gradient), w (only if x' is needed); not h or y
Cost       about 5NE flops forward, 16NE backward: three passes over memory each
Source     derived here; Zhang and Sennrich 2019, "Root Mean Square Layer Normalization",
           equation 4; eps under the root as in torch
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from bptrain.ops.channels_last import is_channels_last, laid_out
from bptrain.ops.operation import operation
from bptrain.ops.precision import float32_on
from bptrain.ops.statistics import checked_normalized_shape, wide_dtype


class Needs(NamedTuple):
    """Which gradients are needed."""

    x: bool
    w: bool


class Saved(NamedTuple):
    """What the backward pass reads."""

    x: Tensor  # [..., *shape]
    w: Tensor | None  # [*shape]
    r: Tensor  # [N, 1], in float32 for 16-bit x
    shape: tuple[int, ...]  # of w
    channels_last: bool  # in memory, of x
    eps: float


def forward(
    x: Tensor, shape: tuple[int, ...], w: Tensor | None, eps: float, needs: Needs
) -> tuple[Tensor, Saved]:
    """Return y in the shape, dtype and layout of x."""
    rows, E = _rows(x, shape), torch.Size(shape).numel()
    # the norm instead of the mean of squares: one pass, and no x^2 in memory
    norm = torch.linalg.vector_norm(rows, dim=1, keepdim=True, dtype=wide_dtype(x))
    s = norm.square_().div_(max(E, 1))
    r = s.add_(eps).rsqrt_()
    y = rows * r
    if w is not None:
        y *= w.reshape(E)
    channels_last = is_channels_last(x)
    saved = Saved(x, w if needs.x else None, r, shape, channels_last, eps)
    return laid_out(y.to(x.dtype).view(x.shape), channels_last), saved


def _rows(x: Tensor, shape: tuple[int, ...]) -> Tensor:
    """Return x as [N, E]."""
    if x.dim() == 2 and len(shape) == 1:
        return x
    return x.reshape(x.shape[: x.dim() - len(shape)].numel(), torch.Size(shape).numel())


def reconnect(saved: Saved) -> Saved:
    """Return Saved with r computed from x again."""
    rows = _rows(saved.x, saved.shape).to(saved.r.dtype)
    return saved._replace(r=(rows.square().mean(1, keepdim=True) + saved.eps).rsqrt())


def backward(grad_y: Tensor, saved: Saved, needs: Needs) -> tuple[Tensor | None, Tensor | None]:
    """Return x' in the shape of y' and w' [*shape], each None if it is not needed."""
    x, w, r, shape, channels_last, _ = saved
    rows = _rows(x, shape)
    grad_rows = grad_y.reshape(rows.shape)
    h = r * rows
    grad_x = grad_w = None
    if needs.w:
        grad_w = (grad_rows * h).sum(0).view(shape)
    if needs.x:
        grad_h = grad_rows if w is None else w.flatten() * grad_rows
        grad_x = r * (grad_h - h * (grad_h * h).mean(1, keepdim=True))
        grad_x = laid_out(grad_x.to(x.dtype).view(grad_y.shape), channels_last)
    return grad_x, grad_w


def fused_backward(
    grad_y: Tensor, saved: Saved, needs: Needs
) -> tuple[Tensor | None, Tensor | None]:
    """Return the same from layer normalization's kernel."""
    # in float32 for 16-bit x: what is subtracted and added again must not be rounded in between
    r, wide = saved.r, saved.r.dtype
    x = _rows(saved.x, saved.shape).to(wide)
    grad_rows = grad_y.reshape(x.shape).to(wide)
    w = None if saved.w is None else saved.w.flatten().to(wide)
    E = x.shape[1]

    if not needs.x:
        return None, (grad_rows * x).t().mv(r.squeeze(1)).view(saved.shape)  # sum y' h
    grad_x, grad_w, _ = torch.ops.aten.native_layer_norm_backward(
        grad_rows, x, [E], torch.zeros_like(r), r, w, None, [True, needs.w, False]
    )
    mean_h = grad_rows.mean(1) if w is None else grad_rows.mv(w / max(E, 1))
    grad_x.addcmul_(r, mean_h.unsqueeze(1))  # + r mean(h')
    grad_x = laid_out(grad_x.to(saved.x.dtype).view(grad_y.shape), saved.channels_last)
    return grad_x, None if grad_w is None else grad_w.view(saved.shape)


rms_norm_function = operation(
    forward,
    backward,
    fused_backward=fused_backward,
    precision=float32_on("cuda"),
    reconnect=reconnect,
)


def rms_norm(
    input: Tensor,
    normalized_shape: Sequence[int],
    weight: Tensor | None = None,
    eps: float | None = None,
) -> Tensor:
    """Return `input` divided by its root mean square over its last axes, times `weight`.

    input [..., *normalized_shape], weight [*normalized_shape]; eps None is the distance of 1 to
    the next number in the dtype that the statistics have, float32 for 16-bit input. Raises
    ValueError for other shapes.
    """
    shape = tuple(normalized_shape)
    checked_normalized_shape(input, shape, weight=weight)
    if eps is None:
        eps = torch.finfo(torch.promote_types(input.dtype, torch.float32)).eps
    return rms_norm_function(input, shape, weight, eps)
