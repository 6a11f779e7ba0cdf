"""Layer normalisation: each sample to mean 0 and deviation 1 over its own elements, then scaled.

Shapes     x, y [N, E]   w, b [E]   m, v, r [N]
           N: the leading axes, flattened; E: the axes of normalized_shape, flattened
Forward    m_n  = sum_e x_ne / E           v_n  = sum_e (x_ne - m_n)^2 / E
           r_n  = (v_n + eps)^(-1/2)       h_ne = r_n (x_ne - m_n)
           y_ne = w_e h_ne + b_e
Backward   writing x' for dL/dx, given y' [N, E]
    b'_e  = sum_n y'_ne               because dy_ne/db_e = 1; each sample uses the same b
    w'_e  = sum_n y'_ne h_ne          because dy_ne/dw_e = h_ne
    h'_ne = w_e y'_ne                 because dy_ne/dh_ne = w_e
  The samples are strangers: n is left out from here on, and means run over e.
    r'    = sum_e h'_e (x_e - m)      because h_e = r (x_e - m)
          = sum_e h'_e h_e / r
    v'    = -(1/2) r^2 sum_e h'_e h_e because dr/dv = -(1/2) r^3
    m'    = -r sum_e h'_e             because dh_e/dm = -r, and dv/dm = -(2/E) sum_e (x_e - m) = 0
    x'_e  = r h'_e + m' / E + v' (2/E) (x_e - m)
                                      because dh_e/dx_e = r, dm/dx_e = 1/E and
                                      dv/dx_e = (2/E) (x_e - m), with x_e - m = h_e / r:
    x' = r (h' - mean(h') - h mean(h' h))
                                      because the second term is then -r mean(h') and the third
                                      -r h mean(h' h)
  Unlike in batch normalisation w stands under the means: the sum runs over the axis of w.
Keeps      x, m, r (only if x' or w' is wanted), w (only if x' is wanted); not h or y
Cost       about 8NE flops forward, 14NE backward: two passes over memory each
Source     derived here; Ba, Kiros and Hinton 2016, "Layer Normalization", equation 3
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from bptrain.ops.autocast import first_derivative, in_float32
from bptrain.ops.fused import carried_out_by
from bptrain.ops.statistics import as_parameters, checked_normalized_shape, stand_in

aten = torch.ops.aten
Gradients = tuple[Tensor | None, Tensor | None, Tensor | None]


class Saved(NamedTuple):
    """What the backward pass reads."""

    x: Tensor | None  # [..., *normalized_shape]
    w: Tensor | None  # [*normalized_shape]
    m: Tensor | None  # [..., 1, ...], as r in float32 for 16-bit x
    r: Tensor | None


class Needs(NamedTuple):
    """Which gradients are wanted."""

    x: bool
    w: bool
    b: bool


def forward(
    x: Tensor, shape: tuple[int, ...], w: Tensor | None, b: Tensor | None, eps: float
) -> tuple[Tensor, Saved]:
    """Return y in the shape of x and all that a backward pass may read."""
    w, b = as_parameters(x, w, b, shape)
    y, m, r = aten.native_layer_norm(x, shape, w, b, eps)
    return y, Saved(x, w, m, r)


def backward_in_one_pass(
    grad_y: Tensor, saved: Saved, shape: tuple[int, ...], needs: Needs
) -> Gradients:
    """Return the same from the kernel, which passes twice over memory."""
    x, w, m, r = saved
    if x is None or m is None or r is None:
        return None, None, grad_y.sum_to_size(shape) if needs.b else None
    # The kernel gives w' and b' the form of the w and b that it is handed.
    like = stand_in(x, shape) if needs.w or needs.b else None
    grads: Gradients = aten.native_layer_norm_backward(
        grad_y, x, shape, m, r, w if needs.x else like, like if needs.b else None, list(needs)
    )
    return grads


@carried_out_by(backward_in_one_pass)
def backward(grad_y: Tensor, saved: Saved, shape: tuple[int, ...], needs: Needs) -> Gradients:
    """Return x' in the shape of y', w' and b' [*shape], each None if it is not wanted."""
    x, w, m, r = saved
    grad_x = grad_w = None
    grad_b = grad_y.sum_to_size(shape) if needs.b else None
    if x is not None and m is not None and r is not None:
        h = r * (x - m)
        grad_w = (grad_y * h).sum_to_size(shape) if needs.w else None
        if needs.x:
            own = tuple(range(-len(shape), 0))  # the axes of a sample
            grad_h = grad_y if w is None else w * grad_y
            mean_h, mean_hh = (each.mean(own, keepdim=True) for each in (grad_h, grad_h * h))
            grad_x = r * (grad_h - mean_h - h * mean_hh)
    return grad_x, grad_w, grad_b


class LayerNormFunction(torch.autograd.Function):
    """Glue between autograd and the two functions above."""

    @staticmethod
    @in_float32("cuda")
    def forward(
        ctx: Any,
        x: Tensor,
        shape: tuple[int, ...],
        w: Tensor | None,
        b: Tensor | None,
        eps: float,
    ) -> Tensor:
        """Run the forward pass and keep what the wanted gradients read."""
        y, saved = forward(x, shape, w, b, eps)
        needs_x, _, needs_w, needs_b, _ = ctx.needs_input_grad
        if not needs_x:
            saved = saved._replace(w=None)
        is_read = needs_x or needs_w
        ctx.save_for_backward(*(saved if is_read else Saved(None, None, None, None)))
        ctx.shape, ctx.needs = shape, Needs(needs_x, needs_w, needs_b)
        return y

    @staticmethod
    @first_derivative
    def backward(
        ctx: Any, grad_y: Tensor
    ) -> tuple[Tensor | None, None, Tensor | None, Tensor | None, None]:
        """Run the backward pass."""
        saved = Saved(*ctx.saved_tensors)
        grad_x, grad_w, grad_b = backward(grad_y, saved, ctx.shape, ctx.needs)
        return grad_x, None, grad_w, grad_b, None


def layer_norm(
    input: Tensor,
    normalized_shape: Sequence[int],
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    eps: float = 1e-5,
) -> Tensor:
    """Return `input` normalised over its last axes, times `weight` plus `bias`.

    input [..., *normalized_shape], weight and bias [*normalized_shape]. Raises ValueError for
    other shapes.
    """
    shape = tuple(normalized_shape)
    checked_normalized_shape(input, shape, weight=weight, bias=bias)
    y: Tensor = LayerNormFunction.apply(input, shape, weight, bias, eps)
    return y
