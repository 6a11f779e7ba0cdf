"""Cross-entropy of softmax(x) against class indices, both in one step.

Shapes     x [N, K, ...] logits   t [N, ...] class indices   w [K] class weights, 1 without
           L scalar, or [N, ...] for 'none'; trailing axes count as further samples n
Forward    p_nk = e^x_nk / sum_j e^x_nj
           c_nk = w_t (1 - e) [k = t_n] + w_k e / K     e label smoothing; 0 where n is ignored
           l_n  = -sum_k c_nk log p_nk
           L    = l  (none)   sum_n l_n  (sum)   sum_n l_n / A  (mean), A = sum_n w_t
Backward   writing x' for dL/dx, given L'; l' is L', or L' / A for the mean
    x'_nk = (C_n p_nk - c_nk) l'_n   because log p_nk = x_nk - log sum_j e^(x_nj), whose derivative
                                     by x_nj is [j = k] - p_nj, so that
                                     dl_n/dx_nj = -c_nj + p_nj sum_k c_nk, and C_n = sum_k c_nk.
                                     Without weights or smoothing this is the famous p - onehot(t)
Saves      x, and t and w, which the caller holds; not p or log p, which are as large as x (in
           16-bit training twice as large): the backward pass computes p again
Cost       about 4NK flops and NK exponentials each way
Source     derived here; label smoothing: Szegedy et al. 2016, "Rethinking the Inception
           architecture", section 7, with class weights as in torch. The fast form for rows is in
           cross_entropy_of_rows.py, probabilities as targets in cross_entropy_of_probabilities.py
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from bptrain.ops.class_indices import checked_class_weights, checked_classes, index_and_weights
from bptrain.ops.class_probabilities import (
    by_class,
    fused_log_softmax,
    fused_softmax,
    log_softmax,
    softmax,
)
from bptrain.ops.cross_entropy_of_probabilities import cross_entropy_of_probabilities_function
from bptrain.ops.cross_entropy_of_rows import (
    Options,
    are_plain_rows,
    gradient_of_rows,
    loss_of_rows,
)
from bptrain.ops.memory_order import memory_order, set_zero
from bptrain.ops.operation import operation
from bptrain.ops.precision import float32_loss
from bptrain.ops.reduction import (
    Reduction,
    checked_reduction,
    grad_of_elements,
    reduced,
    weighted,
    wide_dtype,
)
from bptrain.ops.second_derivatives import is_transformed


class Saved(NamedTuple):
    """What the backward pass reads."""

    x: Tensor  # [N, K, ...]
    t: Tensor | None
    counts: Tensor | None  # [N, 1, ...] which samples count: in place of indices t, where e = 1
    w: Tensor | None  # [K]
    options: Options


def forward(x: Tensor, t: Tensor, w: Tensor | None, options: Options) -> tuple[Tensor, Saved]:
    """Return L in float32 or wider."""
    return _loss(log_softmax(x), x, t, w, options)


def fused_forward(x: Tensor, t: Tensor, w: Tensor | None, options: Options) -> tuple[Tensor, Saved]:
    """Return L with log p from one kernel, and for rows the loss from another."""
    log_p = fused_log_softmax(x)
    if are_plain_rows(x, w, options):
        return loss_of_rows(log_p, t, w, options), Saved(x, t, None, w, options)
    return _loss(log_p, x, t, w, options)


def _loss(
    log_p: Tensor, x: Tensor, t: Tensor, w: Tensor | None, options: Options
) -> tuple[Tensor, Saved]:
    """Return L = -sum c log p, reduced."""
    ignore_index, reduction, e = options
    index, counts, w_n = index_and_weights(t, w, ignore_index, log_p.dtype)
    # where, not a product with 0: of a sample that does not count log p may be infinite or NaN
    c_true = (1 - e) * w_n
    losses = torch.where(c_true != 0, -c_true * log_p.gather(1, index), 0)
    if e:
        at_each = by_class(log_p, w).sum(1, keepdim=True)
        losses = torch.where(counts, losses - (e / max(x.shape[1], 1)) * at_each, 0)
    loss = reduced(losses.squeeze(1), reduction, w_n)
    # With e = 1 every class is equally true: of t counts who is ignored, and the weights in A.
    needs_t = e < 1 or (w is not None and reduction == "mean")
    return loss, Saved(x, t if needs_t else None, None if needs_t else counts, w, options)


def backward(grad_loss: Tensor, saved: Saved) -> Tensor:
    """Return x' [N, K, ...]."""
    return _gradient(softmax, grad_loss, saved)


def fused_backward(grad_loss: Tensor, saved: Saved) -> Tensor:
    """Return x' with p from one kernel, and for rows all of it from few."""
    x, t, _, w, options = saved
    if t is not None and are_plain_rows(x, w, options):
        return gradient_of_rows(grad_loss, x, t, w, options)
    return _gradient(fused_softmax, grad_loss, saved)


def _gradient(softmax: Callable[[Tensor], Tensor], grad_loss: Tensor, saved: Saved) -> Tensor:
    """Return x' = (C p - c) l'."""
    x, t, counts, w, (ignore_index, reduction, e) = saved
    K = max(x.shape[1], 1)  # 0 only in a batch of no samples
    if t is None:
        assert counts is not None
        index, w_n = None, counts.to(wide_dtype(x))
    else:
        index, counts, w_n = index_and_weights(t, w, ignore_index, wide_dtype(x))
    grad_losses = grad_of_elements(grad_loss, reduction, w_n)
    if reduction == "none":
        grad_losses = grad_losses.unsqueeze(1)

    # c l' has two parts, at the true class and at each. Symptom: NaN gradients from a batch whose
    # samples are all ignored. Cause: A = 0. Remedy: the part of a sample that does not count
    # is set to 0, not multiplied by 0.
    c_true = torch.where(w_n != 0, (1 - e) * w_n * grad_losses, 0)  # [N, 1, ...]
    c_each = torch.where(counts, (e / K) * grad_losses, 0)
    C = c_true + c_each * (K if w is None else w.sum()) if e else c_true

    # likewise p, which is NaN where a logit is infinite or NaN
    p = softmax(x)
    grad_x = weighted(p, C) if is_transformed() else set_zero(p.mul_(C), C == 0)
    if index is not None:
        order = memory_order(grad_x)
        index, c_true = index.permute(order), c_true.permute(order)
        grad_x.permute(order).scatter_add_(order.index(1), index, -c_true)
    if e:
        grad_x -= by_class(c_each, w)
    return grad_x


cross_entropy_function = operation(
    forward,
    backward,
    fused_forward=fused_forward,
    fused_backward=fused_backward,
    precision=float32_loss("cpu", "cuda"),
)


def cross_entropy(
    input: Tensor,
    target: Tensor,
    weight: Tensor | None = None,
    ignore_index: int = -100,
    reduction: Reduction = "mean",
    label_smoothing: float = 0.0,
) -> Tensor:
    """Return the cross-entropy of logits `input` against class indices or probabilities `target`.

    input [N, K, ...] or [K]; target class indices [N, ...] or a scalar, int64, each
    0 <= target < K or `ignore_index`; or class probabilities in the shape of input; weight [K].
    The mean over class indices is weighted by the class weights, as in torch. Raises ValueError
    for wrong shapes, options or dtype of target.
    """
    checked_reduction(reduction)
    if not 0.0 <= label_smoothing <= 1.0:
        raise ValueError(f"label_smoothing is {label_smoothing}, expected 0 to 1")
    has_probabilities = target.is_floating_point() and target.shape == input.shape
    if has_probabilities and input.dim() > 0:
        checked_class_weights(input, weight)
        if ignore_index >= 0:
            raise ValueError(
                f"ignore_index is {ignore_index}: class probabilities have no index to ignore"
            )
    else:
        checked_classes(input, target, weight)
    unbatched = input.dim() == 1
    if unbatched:
        input, target = input.unsqueeze(0), target.unsqueeze(0)
    if has_probabilities:
        loss = cross_entropy_of_probabilities_function(
            input, target, weight, reduction, label_smoothing
        )
    else:
        options = Options(ignore_index, reduction, label_smoothing)
        loss = cross_entropy_function(input, target, weight, options)
    return loss.squeeze(0) if unbatched and reduction == "none" else loss
