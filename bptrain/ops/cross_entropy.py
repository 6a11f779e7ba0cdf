"""Cross-entropy of softmax(x) against class indices or probabilities, both in one step.

Shapes     x [N, K, ...] logits   w [K] class weights   L scalar, or [N, ...] for 'none'
           t [N, ...] class indices, or [N, K, ...] class probabilities; trailing axes count as
           further samples n
Forward    p_nk = e^x_nk / sum_j e^x_nj
           c_nk = w_t (1 - e) [k = t_n] + w_k e / K     e label smoothing; 0 where n is ignored
           c_nk = w_k ((1 - e) t_nk + e / K)            for probabilities
           l_n  = -sum_k c_nk log p_nk
           L    = l  (none)   sum_n l_n  (sum)   sum_n l_n / A  (mean), A = sum_n w_t, or N for
                  probabilities
Backward   writing x' for dL/dx, given L'; l' is L', or L' / A for the mean
    x'_nk = (C_n p_nk - c_nk) l'_n   because log p_nk = x_nk - log sum_j e^(x_nj), whose derivative
                                     by x_nj is [j = k] - p_nj, so that
                                     dl_n/dx_nj = -c_nj + p_nj sum_k c_nk, and C_n = sum_k c_nk.
                                     Without weights or smoothing this is the famous p - onehot(t)
    t'_nk = -(1 - e) w_k log p_nk l'_n                     because dc_nk/dt_nk = (1 - e) w_k
    w'_k  = -sum_n ((1 - e) t_nk + e / K) log p_nk l'_n    because dc_nk/dw_k is c_nk / w_k; for
                                                           probabilities alone, as in torch
Keeps      x, and t and w, which the caller holds; not p or log p, which are as large as x (in
           16-bit training twice as large): the backward pass computes p again
Cost       about 4NK flops and NK exponentials each way
Source     derived here; label smoothing: Szegedy et al. 2016, "Rethinking the Inception
           architecture", section 7, with class weights as in torch
"""

from typing import Any, NamedTuple

import torch
from torch import Tensor

from bptrain.ops.autocast import first_derivative, loss_in_float32
from bptrain.ops.class_indices import checked_class_weights, checked_classes, weights_of
from bptrain.ops.reduction import Reduction, checked_reduction, reduced, spread, wide_dtype


class Options(NamedTuple):
    """The constants of one call."""

    ignore_index: int
    reduction: Reduction
    e: float  # label smoothing, 0 <= e <= 1


class Needs(NamedTuple):
    """Which gradients are wanted, where the target is probabilities."""

    x: bool
    t: bool
    w: bool


class Saved(NamedTuple):
    """What the backward pass reads."""

    x: Tensor  # [N, K, ...]
    t: Tensor | None
    kept: Tensor | None  # [N, 1, ...] which samples count: in place of indices t, where e = 1
    w: Tensor | None  # [K]


def forward(x: Tensor, t: Tensor, w: Tensor | None, options: Options) -> tuple[Tensor, Saved]:
    """Return L for class indices t, in float32 or wider, and what the backward pass reads."""
    index, kept, w_n = weights_of(t, w, options.ignore_index, wide_dtype(x))
    log_p = _log_softmax(x)
    losses = -w_n * log_p.gather(1, index)
    if options.e:
        each = _by_class(log_p, w).sum(1, keepdim=True)
        losses = (1 - options.e) * losses - (options.e / x.shape[1]) * each
    losses = torch.where(kept, losses, 0).squeeze(1)
    loss = reduced(losses, options.reduction, w_n)
    # With e = 1 every class is equally true: of t counts who is ignored, and the weights in A.
    needs_t = options.e < 1 or (w is not None and options.reduction == "mean")
    return loss, Saved(x, t if needs_t else None, None if needs_t else kept, w)


def backward(grad_loss: Tensor, saved: Saved, options: Options) -> Tensor:
    """Return x' [N, K, ...] for class indices."""
    x, t, counted, w = saved
    e, K = options.e, x.shape[1]
    if t is None:
        assert counted is not None
        index, w_n = None, counted.to(wide_dtype(x))
    else:
        index, counted, w_n = weights_of(t, w, options.ignore_index, wide_dtype(x))
    grad_losses = spread(grad_loss, options.reduction, w_n)
    if options.reduction == "none":
        grad_losses = grad_losses.unsqueeze(1)

    # c l' has two parts, at the true class and at each. Symptom: NaN gradients from a batch whose
    # samples are all ignored. Cause: A = 0. Remedy: an ignored sample's part is set to 0, not
    # multiplied by 0.
    c_true = torch.where(counted, (1 - e) * w_n * grad_losses, 0)  # [N, 1, ...]
    c_each = torch.where(counted, (e / K) * grad_losses, 0)
    C = c_true + c_each * (K if w is None else w.sum()) if e else c_true

    grad_x = _softmax(x).mul_(C)
    if index is not None:
        grad_x.scatter_add_(1, index, -c_true)
    if e:
        grad_x -= _by_class(c_each, w)
    return grad_x


def forward_of_probabilities(
    x: Tensor, t: Tensor, w: Tensor | None, options: Options, needs: Needs
) -> tuple[Tensor, Saved]:
    """Return L for class probabilities t, in float32 or wider, and what the backward reads."""
    log_p = _log_softmax(x)
    c = _by_class(_smoothed(t, options.e), w)
    losses = log_p.mul_(c).sum(1).neg_()
    loss = reduced(losses, options.reduction, losses.numel())
    return loss, Saved(
        x, t if needs.x or needs.w else None, None, w if needs.x or needs.t else None
    )


def backward_of_probabilities(
    grad_loss: Tensor, saved: Saved, options: Options, needs: Needs
) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
    """Return x', t' and w' for class probabilities, each None if it is not wanted."""
    x, t, w = saved.x, saved.t, saved.w
    grad_losses = spread(grad_loss, options.reduction, x.numel() // x.shape[1])
    if options.reduction == "none":
        grad_losses = grad_losses.unsqueeze(1)
    grad_x = grad_t = grad_w = None
    if needs.x and t is not None:
        c = _by_class(_smoothed(t, options.e), w)
        C = c.sum(1, keepdim=True)
        grad_x = _softmax(x).mul_(C).sub_(c).mul_(grad_losses)
    if needs.t or needs.w:
        pull = -_log_softmax(x).mul_(grad_losses)
        if needs.t:
            grad_t = _by_class((1 - options.e) * pull, w)
        if needs.w and t is not None:
            over_samples = [axis for axis in range(x.dim()) if axis != 1]
            grad_w = (_smoothed(t, options.e) * pull).sum(over_samples)
    return grad_x, grad_t, grad_w


def _log_softmax(x: Tensor) -> Tensor:
    """Return log p, in float32 for 16-bit x, whose sums over K would lose digits.

    The kernel subtracts the largest logit m first, or e^x would overflow float32 at logits above
    88, and then log sum_k e^(x_nk - m_n); m + log sum together would lose the digits of the log.
    """
    return torch.log_softmax(x, 1, dtype=wide_dtype(x))


def _softmax(x: Tensor) -> Tensor:
    """Return p, likewise."""
    return torch.softmax(x, 1, dtype=wide_dtype(x))


def _smoothed(t: Tensor, e: float) -> Tensor:
    """Return (1 - e) t + e / K."""
    t = t.to(wide_dtype(t))
    return (1 - e) * t + e / t.shape[1] if e else t


def _by_class(values: Tensor, w: Tensor | None) -> Tensor:
    """Return w_k times values [N, K or 1, ...]."""
    if w is None:
        return values
    return values * w.view(1, -1, *[1] * (values.dim() - 2))


class CrossEntropyFunction(torch.autograd.Function):
    """Glue between autograd and the two functions of class indices."""

    @staticmethod
    @loss_in_float32("cpu", "cuda")
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


class ProbabilitiesFunction(torch.autograd.Function):
    """Glue between autograd and the two functions of class probabilities."""

    @staticmethod
    @loss_in_float32("cpu", "cuda")
    def forward(ctx: Any, x: Tensor, t: Tensor, w: Tensor | None, options: Options) -> Tensor:
        """Run the forward pass and keep what the backward reads."""
        ctx.needs, ctx.options = Needs(*ctx.needs_input_grad[:3]), options
        loss, saved = forward_of_probabilities(x, t, w, options, ctx.needs)
        ctx.save_for_backward(*saved)
        return loss

    @staticmethod
    @first_derivative
    def backward(
        ctx: Any, grad_loss: Tensor
    ) -> tuple[Tensor | None, Tensor | None, Tensor | None, None]:
        """Run the backward pass."""
        saved = Saved(*ctx.saved_tensors)
        return *backward_of_probabilities(grad_loss, saved, ctx.options, ctx.needs), None


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
    options = Options(ignore_index, reduction, label_smoothing)
    unbatched = input.dim() == 1
    if unbatched:
        input, target = input.unsqueeze(0), target.unsqueeze(0)
    function = ProbabilitiesFunction if has_probabilities else CrossEntropyFunction
    loss: Tensor = function.apply(input, target, weight, options)
    return loss.squeeze(0) if unbatched and reduction == "none" else loss
