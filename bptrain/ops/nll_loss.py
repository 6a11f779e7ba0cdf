"""Negative log-likelihood: the log-probability of the true class, negated.

Shapes     x [N, K, ...] log-probabilities   t [N, ...] class indices   w [K] class weights
           L scalar, or [N, ...] for 'none'; trailing axes count as further samples n
Forward    w_n = w_t at t = t_n                0 where the sample is ignored; 1 without weights
           l_n = -w_n x_nt
           L   = l  (none)   sum_n l_n  (sum)   sum_n l_n / A  (mean), A = sum_n w_n
Backward   writing x' for dL/dx, given L'; l' is L', or L' / A for the mean
    x'_nk = -w_n l'_n [k = t_n]   because l_n reads x at the true class alone
Keeps      t and w, which the caller holds anyway; of x, as large as K tensors like t, its shape
Cost       2N flops each way, and the zeros of x'
Source     derived here
"""

from typing import Any, NamedTuple

import torch
from torch import Tensor

from bptrain.ops.autocast import first_derivative, loss_in_float32
from bptrain.ops.class_indices import checked_classes, weights_of
from bptrain.ops.reduction import Reduction, checked_reduction, reduced, spread, wide_dtype


class Options(NamedTuple):
    """The constants of one call."""

    ignore_index: int
    reduction: Reduction


class Saved(NamedTuple):
    """What the backward pass reads."""

    t: Tensor  # [N, ...]
    w: Tensor | None  # [K]


def forward(x: Tensor, t: Tensor, w: Tensor | None, options: Options) -> Tensor:
    """Return L in float32 or wider."""
    index, kept, w_n = weights_of(t, w, options.ignore_index, wide_dtype(x))
    # where, not a product with 0: an ignored sample may hold infinities
    losses = torch.where(kept, -w_n * x.gather(1, index), 0).squeeze(1)
    return reduced(losses, options.reduction, w_n)


def backward(
    grad_loss: Tensor, saved: Saved, options: Options, shape: torch.Size, dtype: torch.dtype
) -> Tensor:
    """Return x' in the shape [N, K, ...] and dtype of x."""
    index, kept, w_n = weights_of(saved.t, saved.w, options.ignore_index, wide_dtype(grad_loss))
    grad_losses = spread(grad_loss, options.reduction, w_n)
    if options.reduction == "none":
        grad_losses = grad_losses.unsqueeze(1)
    # where, not a product with 0: where all are ignored, l' = L' / 0 is infinite
    pull = torch.where(kept, -w_n * grad_losses, 0)
    grad_x = pull.new_zeros(shape, dtype=dtype)
    return grad_x.scatter_(1, index, pull.to(dtype))


class NLLLossFunction(torch.autograd.Function):
    """Glue between autograd and the two functions above."""

    @staticmethod
    @loss_in_float32("cpu", "cuda")
    def forward(ctx: Any, x: Tensor, t: Tensor, w: Tensor | None, options: Options) -> Tensor:
        """Run the forward pass and keep the classes."""
        ctx.options, ctx.shape, ctx.dtype = options, x.shape, x.dtype
        ctx.save_for_backward(*Saved(t, w))
        return forward(x, t, w, options)

    @staticmethod
    @first_derivative
    def backward(ctx: Any, grad_loss: Tensor) -> tuple[Tensor, None, None, None]:
        """Run the backward pass."""
        saved = Saved(*ctx.saved_tensors)
        grad_x = backward(grad_loss, saved, ctx.options, ctx.shape, ctx.dtype)
        return grad_x, None, None, None


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
    options = Options(ignore_index, reduction)
    unbatched = input.dim() == 1
    if unbatched:
        input, target = input.unsqueeze(0), target.unsqueeze(0)
    loss: Tensor = NLLLossFunction.apply(input, target, weight, options)
    return loss.squeeze(0) if unbatched and reduction == "none" else loss
