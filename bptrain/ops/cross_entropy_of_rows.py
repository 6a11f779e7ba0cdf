"""Cross-entropy of rows of logits [N, K] by few kernels: the fast form of cross_entropy.py.

Shapes     x [N, K]   t [N]   w [K] class weights, of which none is 0; L is one number, and e < 1
Forward    L = (1 - e) L_true + e L_each
           L_true = -sum_n w_t log p_nt       L_each = -sum_nk w_k log p_nk / K
           for the mean both over A = sum_n w_t; a sample that is ignored counts in no sum
Backward   writing x' for dL/dx, given L'; l' is L', or L' / A for the mean
    x'_nk = C_n p_nk l' - c_nk l'    because dL/dlog p_nk = -c_nk, as in cross_entropy.py. c l' is
                                     (1 - e) w_t l' at the true class, and e / K w_k l' at each;
                                     C_n is the sum of the two
Few logits, without smoothing or weights, take the fewest calls: the kernels of the derivatives of
L by log p and of log p by x. With many, passes over memory cost the most: p becomes x' in place.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from bptrain.ops.class_probabilities import fused_log_softmax, fused_softmax
from bptrain.ops.peeking import may_peek
from bptrain.ops.reduction import Reduction, grad_of_elements, wide_dtype

LARGE = 2**14  # logits; by the kernels [128, 100] takes 0.7 of the time, [512, 100] 1.8


class Options(NamedTuple):
    """The constants of one call."""

    ignore_index: int
    reduction: Reduction
    e: float  # label smoothing, 0 <= e <= 1


def are_plain_rows(x: Tensor, w: Tensor | None, options: Options) -> bool:
    """Tell whether no term of L needs care: rows of one loss, no class that its weight rules out.

    Of such a class log p may be infinite, and 0 times that is NaN.
    """
    is_one_loss = x.dim() == 2 and options.reduction != "none" and options.e < 1
    return is_one_loss and (w is None or (may_peek(x) and bool((w != 0).all())))


def loss_of_rows(log_p: Tensor, t: Tensor, w: Tensor | None, options: Options) -> Tensor:
    """Return L."""
    e = options.e
    L_true, A = _true_classes(log_p, t, w, options)
    if e == 0:
        return L_true
    at_each = log_p.sum(1) if w is None else log_p.mv(w.to(log_p.dtype))
    total = at_each.masked_fill_(t == options.ignore_index, 0).sum()
    L_each = total / -max(log_p.shape[1], 1)
    return (1 - e) * L_true + e * (L_each / A if options.reduction == "mean" else L_each)


def _true_classes(
    log_p: Tensor, t: Tensor, w: Tensor | None, options: Options
) -> tuple[Tensor, Tensor]:
    """Return L_true and A, from one kernel."""
    w = None if w is None else w.to(log_p.dtype)
    mean_or_sum = 1 if options.reduction == "mean" else 2
    found: tuple[Tensor, Tensor] = torch.ops.aten.nll_loss_forward.default(
        log_p, t, w, mean_or_sum, options.ignore_index
    )
    return found


def gradient_of_rows(
    grad_loss: Tensor, x: Tensor, t: Tensor, w: Tensor | None, options: Options
) -> Tensor:
    """Return x' [N, K]."""
    wide = grad_loss.to(wide_dtype(x))
    if w is None and options.e == 0 and x.numel() < LARGE:
        grad_x, ignored = _by_kernels(wide, x, t, options)
    else:
        grad_x, ignored = _in_place_of_p(wide, x, t, w, options)
    # of what is ignored the gradient is 0, and NaN in grad_x where a logit is infinite or NaN
    return grad_x if ignored is None else grad_x.masked_fill_(ignored, 0)


def _by_kernels(
    grad_loss: Tensor, x: Tensor, t: Tensor, options: Options
) -> tuple[Tensor, Tensor | None]:
    """Return x' by the kernels of the two derivatives, and which samples are ignored, if any."""
    aten, log_p = torch.ops.aten, fused_log_softmax(x)
    _, A = _true_classes(log_p, t, None, options)
    mean_or_sum = 1 if options.reduction == "mean" else 2
    grad_log_p = aten.nll_loss_backward.default(
        grad_loss, log_p, t, None, mean_or_sum, options.ignore_index, A
    )
    grad_x = aten._log_softmax_backward_data.default(grad_log_p, log_p, 1, log_p.dtype)
    all_count = may_peek(x) and float(A) == len(t)  # one call instead of three
    return grad_x, None if all_count else _ignored(x, t, options.ignore_index)


def _in_place_of_p(
    grad_loss: Tensor, x: Tensor, t: Tensor, w: Tensor | None, options: Options
) -> tuple[Tensor, Tensor | None]:
    """Return x' in the memory of p, and which samples are ignored, if any."""
    ignore_index, reduction, e = options
    ignored = _ignored(x, t, ignore_index)
    index = t.unsqueeze(1) if ignored is None else t.unsqueeze(1).masked_fill(ignored, 0)
    each = e / max(x.shape[1], 1)
    if w is None:
        A = len(t) if ignored is None else ignored.logical_not().sum()
        C = grad_losses = grad_of_elements(grad_loss, reduction, A)
        c_true, c_each = (1 - e) * grad_losses, each * grad_losses
    else:
        w = w.to(grad_loss.dtype)
        w_n = w[index] if ignored is None else w[index].masked_fill_(ignored, 0)  # [N, 1]
        grad_losses = grad_of_elements(grad_loss, reduction, w_n)
        c_true, c_each = (1 - e) * grad_losses * w_n, each * grad_losses * w
        C = c_true + c_each.sum()
    p = fused_softmax(x)
    grad_x = p.mul_(C).scatter_add_(1, index, (-c_true).expand_as(index))
    if e:
        grad_x -= c_each
    return grad_x, ignored


def _ignored(x: Tensor, t: Tensor, ignore_index: int) -> Tensor | None:
    """Return which samples are ignored [N, 1], None where it is known that none is."""
    ignored = (t == ignore_index).unsqueeze(1)
    return ignored if not may_peek(x) or bool(ignored.any()) else None
