"""Layer normalization: each sample to mean 0, standard deviation 1, then scaled.

Shapes     x, y [N, E]   w, b [E]   m, v, r [N]
           N: the leading axes, flattened; E: the axes of normalized_shape, flattened
Forward    m_n  = sum_e x_ne / E           v_n  = sum_e (x_ne - m_n)^2 / E
           r_n  = (v_n + eps)^(-1/2)       h_ne = r_n (x_ne - m_n)
           y_ne = w_e h_ne + b_e
Backward   writing x' for dL/dx, given y' [N, E]
    b'_e  = sum_n y'_ne               because dy_ne/db_e = 1; each sample uses the same b
    w'_e  = sum_n y'_ne h_ne          because dy_ne/dw_e = h_ne
    h'_ne = w_e y'_ne                 because dy_ne/dh_ne = w_e
  The samples are independent: n is left out from here on, and means run over e.
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
  Unlike in batch normalization w stands under the means: the sum runs over the axis of w.
Saves      x, m, r (only if x' or w' is needed), w (only if x' is needed); not h or y
Cost       about 8NE flops forward, 14NE backward: two passes over memory each
Source     derived here; Ba, Kiros and Hinton 2016, "Layer Normalization", equation 3
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from bptrain.ops.operation import operation
from bptrain.ops.precision import float32_on, widened_for_sums
from bptrain.ops.statistics import (
    Gradients,
    Needs,
    as_parameters,
    checked_normalized_shape,
    placeholder,
    wide_dtype,
)

aten = torch.ops.aten


Statistics = tuple[Tensor, Tensor]  # m and r
Constants = tuple[tuple[int, ...], float]  # the normalized shape and eps


class Saved(NamedTuple):
    """What the backward pass reads."""

    x: Tensor | None  # [..., *shape]
    w: Tensor | None  # [*shape]
    m: Tensor | None  # [..., 1, ...], as r in float32 for 16-bit x
    r: Tensor | None
    shape: tuple[int, ...]
    eps: float

    @classmethod
    def of(
        cls, x: Tensor, w: Tensor | None, statistics: Statistics, constants: Constants, needs: Needs
    ) -> "Saved":
        """Return what the needed gradients read."""
        if not (needs.x or needs.w):
            return cls(None, None, None, None, *constants)
        return cls(x, w if needs.x else None, *statistics, *constants)


def forward(
    x: Tensor,
    shape: tuple[int, ...],
    w: Tensor | None,
    b: Tensor | None,
    eps: float,
    needs: Needs,
) -> tuple[Tensor, Saved]:
    """Return y in the shape of x."""
    wide = x.to(wide_dtype(x))
    m, r = _statistics(wide, shape, eps)
    h = r * (wide - m)
    y = h if w is None else w * h
    y = y if b is None else y + b
    w = as_parameters(x, w, b, shape)[0]
    return y.to(x.dtype), Saved.of(x, w, (m, r), (shape, eps), needs)


def _statistics(x: Tensor, shape: tuple[int, ...], eps: float) -> Statistics:
    """Return m and r [..., 1, ...]."""
    own = tuple(range(-len(shape), 0))  # the axes of a sample
    m = x.mean(own, keepdim=True)
    v = (x - m).square().mean(own, keepdim=True)
    return m, (v + eps).rsqrt()


def reconnect(saved: Saved) -> Saved:
    """Return Saved with m and r computed from x again."""
    if saved.x is None:
        return saved
    m, r = _statistics(saved.x.to(wide_dtype(saved.x)), saved.shape, saved.eps)
    return saved._replace(m=m, r=r)


def backward(grad_y: Tensor, saved: Saved, needs: Needs) -> Gradients:
    """Return x' in the shape of y', w' and b' [*shape], each None if it is not needed."""
    x, w, m, r, shape, _ = saved
    grad_x = grad_w = None
    grad_b = grad_y.sum_to_size(shape) if needs.b else None
    if x is not None and m is not None and r is not None:
        h = r * (x - m)
        grad_w = (grad_y * h).sum_to_size(shape) if needs.w else None
        if needs.x:
            own = tuple(range(-len(shape), 0))  # the axes of a sample
            grad_h = grad_y if w is None else w * grad_y
            mean_h, mean_hh = (each.mean(own, keepdim=True) for each in (grad_h, grad_h * h))
            grad_x = (r * (grad_h - mean_h - h * mean_hh)).to(x.dtype)
    return grad_x, grad_w, grad_b


def fused_forward(
    x: Tensor,
    shape: tuple[int, ...],
    w: Tensor | None,
    b: Tensor | None,
    eps: float,
    needs: Needs,
) -> tuple[Tensor, Saved]:
    """Return y from one kernel."""
    w, b = as_parameters(x, w, b, shape)
    y, m, r = aten.native_layer_norm(x, shape, w, b, eps)
    return y, Saved.of(x, w, (m, r), (shape, eps), needs)


def fused_backward(grad_y: Tensor, saved: Saved, needs: Needs) -> Gradients:
    """Return the gradients from one kernel, which passes twice over memory."""
    x, w, m, r, shape, _ = saved
    if x is None or m is None or r is None:
        return None, None, grad_y.sum_to_size(shape) if needs.b else None
    # The kernel gives w' and b' the shape and dtype of the w and b that it is given.
    like = placeholder(x, shape) if needs.w or needs.b else None
    wide_x, wide_y = x, grad_y
    if x.device.type == "cpu" and like is not None:  # there it sums w' and b' in the dtype of x
        wide_x, wide_y = widened_for_sums(x), widened_for_sums(grad_y)
    grad_x, grad_w, grad_b = aten.native_layer_norm_backward(
        wide_y, wide_x, shape, m, r, w if needs.x else like, like if needs.b else None, list(needs)
    )
    return None if grad_x is None else grad_x.to(x.dtype), grad_w, grad_b


layer_norm_function = operation(
    forward,
    backward,
    fused_forward=fused_forward,
    fused_backward=fused_backward,
    reconnect=reconnect,
    precision=float32_on("cuda"),
)


def layer_norm(
    input: Tensor,
    normalized_shape: Sequence[int],
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    eps: float = 1e-5,
) -> Tensor:
    """Return `input` normalized over its last axes, times `weight` plus `bias`.

    input [..., *normalized_shape], weight and bias [*normalized_shape]. Raises ValueError for
    other shapes.
    """
    shape = tuple(normalized_shape)
    checked_normalized_shape(input, shape, weight=weight, bias=bias)
    return layer_norm_function(input, shape, weight, bias, eps)
