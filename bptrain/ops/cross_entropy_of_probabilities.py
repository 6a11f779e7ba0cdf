"""Cross-entropy of softmax(x) against class probabilities, both in one step.

Shapes     x [N, K, ...] logits   t [N, K, ...] class probabilities   w [K] class weights, 1 without
           L scalar, or [N, ...] for 'none'; trailing axes count as further samples n
Forward    p_nk = e^x_nk / sum_j e^x_nj
           c_nk = w_k ((1 - e) t_nk + e / K)            e label smoothing
           l_n  = -sum_k c_nk log p_nk
           L    = l  (none)   sum_n l_n  (sum)   sum_n l_n / N  (mean), whatever the weights are
Backward   writing x' for dL/dx, given L'; l' is L', or L' / N for the mean
    x'_nk = (C_n p_nk - c_nk) l'_n    because dl_n/dx_nj = -c_nj + p_nj sum_k c_nk, as derived in
                                      ops/cross_entropy.py, and C_n = sum_k c_nk
    t'_nk = -(1 - e) w_k log p_nk l'_n                     because dc_nk/dt_nk = (1 - e) w_k
    w'_k  = -sum_n ((1 - e) t_nk + e / K) log p_nk l'_n    because dc_nk/dw_k is c_nk / w_k
Saves      x; t (if x' or w' is needed) and w (if x' or t' is needed), which the caller holds; not
           p or log p, which are as large as x: the backward pass computes them again
Cost       about 5NK flops and NK exponentials each way
Source     derived here; label smoothing: Szegedy et al. 2016, "Rethinking the Inception
           architecture", section 7. The public function is in ops/cross_entropy.py
"""

from collections.abc import Callable
from typing import NamedTuple

from torch import Tensor

from bptrain.ops.class_probabilities import (
    by_class,
    fused_log_softmax,
    fused_softmax,
    log_softmax,
    softmax,
)
from bptrain.ops.operation import operation
from bptrain.ops.precision import float32_loss
from bptrain.ops.reduction import Reduction, grad_of_elements, reduced, weighted, wide_dtype
from bptrain.ops.second_derivatives import own_product

Gradients = tuple[Tensor | None, Tensor | None, Tensor | None]


class Needs(NamedTuple):
    """Which gradients are needed."""

    x: bool
    t: bool
    w: bool


class Saved(NamedTuple):
    """What the backward pass reads."""

    x: Tensor  # [N, K, ...]
    t: Tensor | None  # if x' or w' is needed
    w: Tensor | None  # if x' or t' is needed
    reduction: Reduction
    e: float  # label smoothing, 0 <= e <= 1


def forward(
    x: Tensor, t: Tensor, w: Tensor | None, reduction: Reduction, e: float, needs: Needs
) -> tuple[Tensor, Saved]:
    """Return L in float32 or wider."""
    loss = _loss(log_softmax(x), t, w, reduction, e)
    return loss, _saved(x, t, w, reduction, e, needs)


def fused_forward(
    x: Tensor, t: Tensor, w: Tensor | None, reduction: Reduction, e: float, needs: Needs
) -> tuple[Tensor, Saved]:
    """Return L with log p from one kernel."""
    loss = _loss(fused_log_softmax(x), t, w, reduction, e)
    return loss, _saved(x, t, w, reduction, e, needs)


def _loss(log_p: Tensor, t: Tensor, w: Tensor | None, reduction: Reduction, e: float) -> Tensor:
    """Return L = -sum c log p, reduced."""
    c = by_class(_smoothed(t, e), w)
    losses = weighted(log_p, c).sum(1).neg_()
    return reduced(losses, reduction, losses.numel())


def _saved(
    x: Tensor, t: Tensor, w: Tensor | None, reduction: Reduction, e: float, needs: Needs
) -> Saved:
    saved_t = t if needs.x or needs.w else None
    saved_w = w if needs.x or needs.t else None
    return Saved(x, saved_t, saved_w, reduction, e)


def backward(grad_loss: Tensor, saved: Saved, needs: Needs) -> Gradients:
    """Return x', t' and w', each None if it is not needed."""
    return _gradients(softmax, log_softmax, grad_loss, saved, needs)


def fused_backward(grad_loss: Tensor, saved: Saved, needs: Needs) -> Gradients:
    """Return x', t' and w' with p and log p from one kernel each."""
    return _gradients(fused_softmax, fused_log_softmax, grad_loss, saved, needs)


def _gradients(
    softmax: Callable[[Tensor], Tensor],
    log_softmax: Callable[[Tensor], Tensor],
    grad_loss: Tensor,
    saved: Saved,
    needs: Needs,
) -> Gradients:
    """Return the three gradients of the docstring."""
    x, t, w, reduction, e = saved
    grad_losses = grad_of_elements(grad_loss, reduction, x[:, :1].numel() if x.shape[1] else 1)
    if reduction == "none":
        grad_losses = grad_losses.unsqueeze(1)
    grad_x = grad_t = grad_w = None
    if needs.x and t is not None:
        c = by_class(_smoothed(t, e), w)
        C = c.sum(1, keepdim=True)
        grad_x = own_product(weighted(softmax(x), C).sub_(c), grad_losses)
    if needs.t or needs.w:
        grad_c = -own_product(log_softmax(x), grad_losses)
        if needs.t:
            grad_t = by_class((1 - e) * grad_c, w)
        if needs.w and t is not None:
            over_samples = [axis for axis in range(x.dim()) if axis != 1]
            grad_w = weighted(grad_c, _smoothed(t, e)).sum(over_samples)
    return grad_x, grad_t, grad_w


def _smoothed(t: Tensor, e: float) -> Tensor:
    """Return (1 - e) t + e / K."""
    t = t.to(wide_dtype(t))
    return (1 - e) * t + e / max(t.shape[1], 1) if e else t


cross_entropy_of_probabilities_function = operation(
    forward,
    backward,
    fused_forward=fused_forward,
    fused_backward=fused_backward,
    precision=float32_loss("cpu", "cuda"),
)
