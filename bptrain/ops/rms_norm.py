"""Root-mean-square normalisation: each sample to a mean square of 1, then scaled; no mean is taken.

Shapes     x, y [N, E]   w [E]   s, r [N]
           N: the leading axes, flattened; E: the axes of normalized_shape, flattened
Forward    s_n  = sum_e x_ne^2 / E         r_n  = (s_n + eps)^(-1/2)
           h_ne = r_n x_ne                 y_ne = w_e h_ne
Backward   writing x' for dL/dx, given y' [N, E]
    w'_e  = sum_n y'_ne h_ne          because dy_ne/dw_e = h_ne; each sample uses the same w
    h'_ne = w_e y'_ne                 because dy_ne/dh_ne = w_e
  The samples are strangers: n is left out from here on, and means run over e.
    r'    = sum_e h'_e x_e            because h_e = r x_e
          = sum_e h'_e h_e / r
    s'    = -(1/2) r^2 sum_e h'_e h_e because dr/ds = -(1/2) (s + eps)^(-3/2) = -(1/2) r^3
    x'_e  = r h'_e + s' (2/E) x_e     because dh_e/dx_e = r and ds/dx_e = (2/E) x_e, with
                                      x_e = h_e / r:
    x' = r (h' - h mean(h' h))     because the second term is then -r h_e mean(h' h)
  This is layer normalisation's x' for m = 0, but for its way through the mean, -r mean(h'). So
  layer normalisation's kernel, told that the mean is 0, computes w' and x' - r mean(h'), and
  what it took too much is given back; mean(h') = y' w / E is one matrix-vector product.
Keeps      x, r (whatever is wanted), w (only if x' is wanted); not h or y
Cost       about 5NE flops forward, 16NE backward: three passes over memory each
Source     derived here; Zhang and Sennrich 2019, "Root Mean Square Layer Normalization",
           equation 4; eps under the root as in torch
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from bptrain.ops.autocast import first_derivative, in_float32
from bptrain.ops.fused import carried_out_by
from bptrain.ops.statistics import checked_normalized_shape, layout_of

aten = torch.ops.aten


class Saved(NamedTuple):
    """What the backward pass reads."""

    x: Tensor  # [N, E]
    w: Tensor | None  # [E]
    r: Tensor  # [N, 1], in float32 for 16-bit x


class Needs(NamedTuple):
    """Which gradients are wanted."""

    x: bool
    w: bool


def forward(x: Tensor, w: Tensor | None, eps: float) -> tuple[Tensor, Saved]:
    """Return y [N, E] in the dtype of x and all that a backward pass may read."""
    wide = torch.promote_types(x.dtype, torch.float32)
    # the norm in place of the mean of squares: one pass, and no x^2 in memory
    norm = torch.linalg.vector_norm(x, dim=1, keepdim=True, dtype=wide)
    s = norm.square_().div_(max(x.shape[1], 1))
    r = s.add_(eps).rsqrt_()
    y = x * r
    if w is not None:
        y *= w
    return y.to(x.dtype), Saved(x, w, r)


def backward_in_one_pass(
    grad_y: Tensor, saved: Saved, needs: Needs
) -> tuple[Tensor | None, Tensor | None]:
    """Return the same from layer normalisation's kernel."""
    # in float32 for 16-bit x: what is taken too much and given back must not be rounded between
    r, wide = saved.r, saved.r.dtype
    x, grad_y = saved.x.to(wide), grad_y.to(wide)
    w = None if saved.w is None else saved.w.to(wide)
    E = x.shape[1]

    if not needs.x:
        return None, (grad_y * x).t().mv(r.squeeze(1))  # sum y' h
    grad_x, grad_w, _ = aten.native_layer_norm_backward(
        grad_y, x, [E], torch.zeros_like(r), r, w, None, [True, needs.w, False]
    )
    mean_h = grad_y.mean(1) if w is None else grad_y.mv(w / max(E, 1))
    grad_x.addcmul_(r, mean_h.unsqueeze(1))  # + r mean(h')
    return grad_x, grad_w


@carried_out_by(backward_in_one_pass)
def backward(grad_y: Tensor, saved: Saved, needs: Needs) -> tuple[Tensor | None, Tensor | None]:
    """Return x' and w' in the dtype of r, each None if it is not wanted."""
    x, w, r = saved
    h = r * x
    grad_x = grad_w = None
    if needs.w:
        grad_w = (grad_y * h).sum(0)
    if needs.x:
        grad_h = grad_y if w is None else w * grad_y
        grad_x = r * (grad_h - h * (grad_h * h).mean(1, keepdim=True))
    return grad_x, grad_w


class RMSNormFunction(torch.autograd.Function):
    """Glue between autograd and the two functions above."""

    @staticmethod
    @in_float32("cuda")
    def forward(
        ctx: Any, x: Tensor, shape: tuple[int, ...], w: Tensor | None, eps: float
    ) -> Tensor:
        """Run the forward pass and keep what the wanted gradients read."""
        size = torch.Size(shape).numel()
        rows = x.reshape(x.shape[: x.dim() - len(shape)].numel(), size)
        y, saved = forward(rows, None if w is None else w.reshape(size), eps)
        needs_x, _, needs_w, _ = ctx.needs_input_grad
        ctx.save_for_backward(*(saved if needs_x else saved._replace(w=None)))
        ctx.needs, ctx.shape = Needs(needs_x, needs_w), shape
        ctx.layout = layout_of(x)
        return y.view(x.shape).contiguous(memory_format=ctx.layout)

    @staticmethod
    @first_derivative
    def backward(ctx: Any, grad_y: Tensor) -> tuple[Tensor | None, None, Tensor | None, None]:
        """Run the backward pass."""
        saved = Saved(*ctx.saved_tensors)
        grad_x, grad_w = backward(grad_y.reshape(saved.x.shape), saved, ctx.needs)
        if grad_x is not None:
            grad_x = grad_x.to(saved.x.dtype).view(grad_y.shape)
            grad_x = grad_x.contiguous(memory_format=ctx.layout)
        return grad_x, None, None if grad_w is None else grad_w.view(ctx.shape), None


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
    y: Tensor = RMSNormFunction.apply(input, shape, weight, eps)
    return y
