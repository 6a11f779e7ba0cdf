"""Negative log-likelihood: the log-probability of the true class, negated.

Shapes     x [N, K, ...] log-probabilities   t [N, ...] class indices   w [K] class weights
           L scalar, or [N, ...] for 'none'; trailing axes count as further samples n
Forward    w_n = w_t at t = t_n                0 where the sample is ignored; 1 without w
           l_n = -w_n x_nt
           L   = l  (none)   sum_n l_n  (sum)   sum_n l_n / A  (mean), A = sum_n w_n
Backward   writing x' for dL/dx, given L'; l' is L', or L' / A for the mean
    x'_nk = -w_n l'_n [k = t_n]   because l_n reads x at the true class alone
Saves      t and w, which the caller holds anyway; of x, as large as K tensors like t, its shape
Cost       2N flops each way, and the zeros of x'
Source     derived here
"""

from typing import NamedTuple

import torch
from torch import Tensor

from bptrain.ops.class_indices import checked_classes, index_and_weights
from bptrain.ops.operation import operation
from bptrain.ops.precision import float32_loss
from bptrain.ops.reduction import (
    Reduction,
    checked_reduction,
    grad_of_elements,
    reduced,
    wide_dtype,
)


class Saved(NamedTuple):
    """What the backward pass reads."""

    t: Tensor  # [N, ...]
    w: Tensor | None  # [K]
    ignore_index: int
    reduction: Reduction
    shape: torch.Size  # of x
    dtype: torch.dtype  # of x


def forward(
    x: Tensor, t: Tensor, w: Tensor | None, ignore_index: int, reduction: Reduction
) -> tuple[Tensor, Saved]:
    """Return L in float32 or wider."""
    index, _, w_n = index_and_weights(t, w, ignore_index, wide_dtype(x))
    # where, not a product with 0: a sample that does not count may hold infinities
    losses = torch.where(w_n != 0, -w_n * x.gather(1, index), 0).squeeze(1)
    loss = reduced(losses, reduction, w_n)
    return loss, Saved(t, w, ignore_index, reduction, x.shape, x.dtype)


def backward(grad_loss: Tensor, saved: Saved) -> Tensor:
    """Return x' in the shape [N, K, ...] and dtype of x."""
    t, w, ignore_index, reduction, shape, dtype = saved
    index, _, w_n = index_and_weights(t, w, ignore_index, wide_dtype(grad_loss))
    grad_losses = grad_of_elements(grad_loss, reduction, w_n)
    if reduction == "none":
        grad_losses = grad_losses.unsqueeze(1)
    # where, not a product with 0: where none counts, l' = L' / 0 is infinite
    grad_at_class = torch.where(w_n != 0, -w_n * grad_losses, 0)
    grad_x = grad_at_class.new_zeros(shape, dtype=dtype)
    return grad_x.scatter_(1, index, grad_at_class.to(dtype))


nll_loss_function = operation(forward, backward, precision=float32_loss("cpu", "cuda"))


def nll_loss(
    input: Tensor,
    target: Tensor,
    weight: Tensor | None = None,
    ignore_index: int = -100,
    reduction: Reduction = "mean",
) -> Tensor:
    """Return the negative log-likelihood of class indices `target` under log-probabilities `input`.

    input [N, K, ...] or [K], target [N, ...] or a scalar, int64, each 0 <= target < K or
    `ignore_index`; weight [K]. The mean is weighted by the class weights, as in torch. Raises
    ValueError for wrong shapes, options or dtype of target.
    """
    checked_reduction(reduction)
    checked_classes(input, target, weight)
    unbatched = input.dim() == 1
    if unbatched:
        input, target = input.unsqueeze(0), target.unsqueeze(0)
    loss = nll_loss_function(input, target, weight, ignore_index, reduction)
    return loss.squeeze(0) if unbatched and reduction == "none" else loss
