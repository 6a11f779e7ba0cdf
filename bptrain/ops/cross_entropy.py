"""Cross-entropy of softmax(x) against class indices, both in one step.

Shapes     x [N, K, ...] logits   t [N, ...] class indices   w [K] class weights   L scalar, or
           [N, ...] for 'none'; trailing axes count as further samples n
Forward    p_nk = e^(x_nk - m_n) / s_n      m_n = max_k x_nk      s_n = sum_k e^(x_nk - m_n)
           c_nk = (1 - e) w_t [k = t_n] + (e / K) w_k      e label smoothing; 0 where n is ignored
           l_n  = -sum_k c_nk log p_nk
           L    = l  (none)   sum_n l_n  (sum)   sum_n l_n / A  (mean), A = sum_n w_t
Backward   writing x' for dL/dx, given L'
    x'_nk = (C_n p_nk - c_nk) L'_n   because log p_nk = x_nk - log sum_j e^(x_nj), whose derivative
                                     by x_nj is [j = k] - p_nj, so that
                                     dl_n/dx_nj = -c_nj + p_nj sum_k c_nk, and C_n = sum_k c_nk;
                                     L'_n = L' / A for the mean. Without weights or smoothing this
                                     is the famous p - onehot(t)
Keeps      x, and for each sample m, s, t, w_t; not p or log p, which are as large as x (in 16-bit
           training twice as large): the backward pass computes p again
Cost       about 4NK flops and NK exponentials each way
Source     derived here; label smoothing: Szegedy et al. 2016, "Rethinking the Inception
           architecture", section 7, with class weights as in torch
"""

from typing import Any, NamedTuple

import torch
from torch import Tensor

from bptrain.ops.autocast import first_derivative, in_float32
from bptrain.ops.reduction import Reduction, checked_reduction


class Options(NamedTuple):
    """The constants of one call."""

    ignore_index: int
    reduction: Reduction
    e: float  # label smoothing, 0 <= e <= 1


class Saved(NamedTuple):
    """What the backward pass reads; every other tensor than x and w has shape [N, 1, ...]."""

    x: Tensor  # [N, K, ...]
    w: Tensor | None  # [K]
    m: Tensor
    s: Tensor
    t: Tensor  # 0 in place of an ignored sample's class
    kept: Tensor  # False where the sample is ignored
    w_t: Tensor  # 0 where the sample is ignored


def forward(x: Tensor, t: Tensor, w: Tensor | None, options: Options) -> tuple[Tensor, Saved]:
    """Return L and what the backward pass reads."""
    t = t.unsqueeze(1)
    kept = t != options.ignore_index
    t = t * kept

    # Symptom: an infinite loss at logits above 88. Cause: e^x overflows float32. Remedy: shift by
    # the largest logit. m and log s stay apart: their sum would lose the digits of log s.
    z, m = _shifted(x)
    s = z.exp().sum(1, keepdim=True)
    log_s = s.log()

    if w is not None:
        w = w.to(s.dtype)
    w_t = kept.to(s.dtype) if w is None else w[t] * kept
    loss = (log_s - z.gather(1, t)) * w_t
    if options.e:
        each = (options.e / x.shape[1]) * _by_class(log_s - z, w).sum(1, keepdim=True)
        loss = (1 - options.e) * loss + torch.where(kept, each, 0)

    saved = Saved(x, w, m, s, t, kept, w_t)
    if options.reduction == "none":
        return loss.squeeze(1).to(x.dtype), saved
    total = loss.sum() if options.reduction == "sum" else loss.sum() / w_t.sum()
    return total.to(x.dtype), saved


def backward(grad_loss: Tensor, saved: Saved, options: Options) -> Tensor:
    """Return x' [N, K, ...] in the dtype of x."""
    x, w, m, s, t, kept, w_t = saved
    grad = grad_loss.to(s.dtype)
    if options.reduction == "none":
        grad = grad.unsqueeze(1)
    elif options.reduction == "mean":
        # Symptom: NaN gradients from a batch whose samples are all ignored. Cause: A = 0.
        # Remedy: an ignored sample's gradient is set to 0, not multiplied by 0.
        grad = torch.where(kept, grad / w_t.sum(), 0)

    c_true = (1 - options.e) * w_t * grad  # [N, 1, ...]: L'_n is multiplied in from here on
    C = c_true
    if options.e:
        c_each = (options.e / x.shape[1]) * grad * kept
        C = c_true + c_each * (x.shape[1] if w is None else w.sum())

    z, _ = _shifted(x, m)
    grad_x = z.exp_().mul_(C / s)  # C_n p_nk
    grad_x.scatter_add_(1, t, -c_true)
    if options.e:
        grad_x -= _by_class(c_each, w)
    return grad_x.to(x.dtype)


def _shifted(x: Tensor, m: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Return x - m and m, in float32 for 16-bit x, whose sums over K would lose digits."""
    wide = x.to(torch.promote_types(x.dtype, torch.float32))
    if m is None:
        m = wide.amax(1, keepdim=True)
    return wide - m, m


def _by_class(values: Tensor, w: Tensor | None) -> Tensor:
    """Return w_k times values [N, K or 1, ...]."""
    if w is None:
        return values
    return values * w.view(1, -1, *[1] * (values.dim() - 2))


class CrossEntropyFunction(torch.autograd.Function):
    """Glue between autograd and the two functions above."""

    @staticmethod
    @in_float32("cpu", "cuda")
    def forward(ctx: Any, x: Tensor, t: Tensor, w: Tensor | None, options: Options) -> Tensor:
        """Run the forward pass and keep what the backward reads."""
        loss, saved = forward(x, t, w, options)
        ctx.save_for_backward(*saved)
        ctx.options = options
        return loss

    @staticmethod
    @first_derivative
    def backward(ctx: Any, grad_loss: Tensor) -> tuple[Tensor, None, None, None]:
        """Run the backward pass."""
        return backward(grad_loss, Saved(*ctx.saved_tensors), ctx.options), None, None, None


def cross_entropy(
    input: Tensor,
    target: Tensor,
    weight: Tensor | None = None,
    ignore_index: int = -100,
    reduction: Reduction = "mean",
    label_smoothing: float = 0.0,
) -> Tensor:
    """Return the cross-entropy of logits `input` against class indices `target`.

    input [N, K, ...] or [K], target [N, ...] or a scalar, int64, each 0 <= target < K or
    `ignore_index`; weight [K]. The mean is weighted by the class weights, as in torch. Raises
    ValueError for wrong shapes, options or dtype of target.
    """
    checked_reduction(reduction)
    if not 0.0 <= label_smoothing <= 1.0:
        raise ValueError(f"label_smoothing is {label_smoothing}, expected 0 to 1")
    if target.dtype != torch.int64:
        raise ValueError(f"target has dtype {target.dtype}, expected class indices, torch.int64")
    if input.dim() == 0 or target.shape != input.shape[:1] * (input.dim() > 1) + input.shape[2:]:
        raise ValueError(
            f"input has shape {list(input.shape)} and target {list(target.shape)}: expected "
            "[N, K, ...] and [N, ...], or [K] and a scalar"
        )
    options = Options(ignore_index, reduction, label_smoothing)
    unbatched = input.dim() == 1
    if unbatched:
        input, target = input.unsqueeze(0), target.unsqueeze(0)
    loss: Tensor = CrossEntropyFunction.apply(input, target, weight, options)
    return loss.squeeze(0) if unbatched and reduction == "none" else loss
