"""Affine map and cross-entropy in one, in chunks: the logits of all samples are never there.

Shapes     x [N, D]   W [K, D]   b [K]   t [N] class indices   w [K] class weights, 1 without
           z [N, K] the logits   L scalar. N: all leading axes, flattened
Forward    z_nk = sum_d x_nd W_kd + b_k
           l_n  = C_n log sum_j e^(z_nj) - sum_k c_nk z_nk
           L    = sum_n l_n  (sum)   sum_n l_n / A  (mean), A = sum_n w_t
           c_nk, C_n = sum_k c_nk, A as in cross_entropy.py: weights, smoothing e, what is ignored
Backward   writing x' for dL/dx, given L'; l' is L', or L' / A for the mean
    z'_nk = (C_n p_nk - c_nk) l'_n   because dl_n/dz_nk = C_n p_nk - c_nk, p = softmax(z)
    x'_n  = sum_k z'_nk W_k          because dz_nk/dx_nd = W_kd
    W'_k  = sum_n z'_nk x_n          because dz_nk/dW_kd = x_nd
    b'_k  = sum_n z'_nk              because dz_nk/db_k = 1
Saves      the formula: x, W, b, t, w, from which it computes z again. In chunks: x', W' and b' for
           L' = 1, which are computed beside the loss, in the memory of a chunk of z. Neither saves
           z, the largest tensor of a network with many classes
Cost       6NDK flops, as linear.py, and about 5NK more; in chunks all of it in the forward pass
Source     derived here, from linear.py and cross_entropy.py
"""

from dataclasses import replace
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from bptrain.ops.class_indices import checked_classes, index_and_weights
from bptrain.ops.class_probabilities import by_class
from bptrain.ops.cross_entropy import Saved as OfLoss
from bptrain.ops.cross_entropy import backward as loss_backward
from bptrain.ops.cross_entropy import forward as loss_forward
from bptrain.ops.cross_entropy_of_rows import Options
from bptrain.ops.operation import operation
from bptrain.ops.peeking import may_peek
from bptrain.ops.precision import MATMUL
from bptrain.ops.reduction import wide_dtype
from bptrain.ops.rows import rows_of

HEAD = replace(MATMUL, is_loss=True, loss_devices=("cpu", "cuda"))  # products, and then a loss
CHUNK = 2**24  # logits at once: 64 MB. Smaller ones read and write W' more often


class Saved(NamedTuple):
    """What the backward pass reads: of the chunks the last three, of the formula all others."""

    x: Tensor | None  # [..., D]
    W: Tensor | None  # [K, D]
    b: Tensor | None  # [K]
    t: Tensor | None  # [N]
    w: Tensor | None  # [K]
    options: Options
    unit_x: Tensor | None  # x', W' and b' for L' = 1. Of them there is no second derivative
    unit_W: Tensor | None
    unit_b: Tensor | None


class Needs(NamedTuple):
    """Which gradients are needed."""

    x: bool
    W: bool
    b: bool


Gradients = tuple[Tensor | None, Tensor | None, Tensor | None]


def forward(
    x: Tensor,
    W: Tensor,
    b: Tensor | None,
    t: Tensor,
    w: Tensor | None,
    options: Options,
    needs: Needs,
) -> tuple[Tensor, Saved]:
    """Return L in float32 or wider."""
    L, _ = loss_forward(_logits(rows_of(x), W, b), t, w, options)
    return L, Saved(x, W, b, t, w, options, None, None, None)


def backward(grad_L: Tensor, saved: Saved, needs: Needs) -> Gradients:
    """Return x' [..., D], W' [K, D], b' [K], each None if it is not needed."""
    x, W, b, t, w, options, *_ = saved
    assert x is not None, "the formula saves x, W and t"
    assert W is not None
    assert t is not None
    rows = rows_of(x)
    z = _logits(rows, W, b)
    grad_z = loss_backward(grad_L, OfLoss(z, t, None, w, options)).to(x.dtype)
    grad_x = grad_z.mm(W).view(x.shape) if needs.x else None
    grad_W = grad_z.t().mm(rows) if needs.W else None
    return grad_x, grad_W, grad_z.sum(0) if needs.b else None


def _logits(rows: Tensor, W: Tensor, b: Tensor | None) -> Tensor:
    return rows.mm(W.t()) if b is None else torch.addmm(b, rows, W.t())


def fused_forward(
    x: Tensor,
    W: Tensor,
    b: Tensor | None,
    t: Tensor,
    w: Tensor | None,
    options: Options,
    needs: Needs,
) -> tuple[Tensor, Saved]:
    """Return L; compute x', W' and b' for L' = 1 on the way, in chunks of samples."""
    rows, size = rows_of(x), max(1, CHUNK // max(W.shape[0], 1))
    wide = wide_dtype(x)
    scale = _scale(t, w, options, wide)
    grad_x = torch.empty_like(rows) if needs.x else None
    grad_W = torch.zeros_like(W, dtype=wide) if needs.W else None
    grad_b = torch.zeros_like(W[:, 0], dtype=wide) if needs.b else None
    L = rows.new_zeros((), dtype=wide)
    for first in range(0, len(rows), size):
        part = slice(first, first + size)
        read = rows[part]
        z = _logits(read, W, b).to(wide)
        losses, grad_z = _chunk(z, t[part], w, options, scale, any(needs))
        L += losses
        if grad_z is None:
            continue
        narrow = grad_z.to(x.dtype)
        if grad_x is not None:
            torch.mm(narrow, W, out=grad_x[part])
        if grad_W is not None and narrow is grad_z:
            grad_W.addmm_(narrow.t(), read)
        elif grad_W is not None:
            grad_W += narrow.t().mm(read)
        if grad_b is not None:
            grad_b += grad_z.sum(0)
    unit_x = None if grad_x is None else grad_x.view(x.shape)
    units = (None if each is None else each.to(x.dtype) for each in (unit_x, grad_W, grad_b))
    return L, Saved(None, None, None, None, None, options, *units)


def _scale(t: Tensor, w: Tensor | None, options: Options, dtype: torch.dtype) -> Tensor:
    """Return l' for L' = 1: 1, or 1 / A."""
    _, _, w_n = index_and_weights(t, w, options.ignore_index, dtype)
    return 1 / w_n.sum() if options.reduction == "mean" else w_n.new_ones(())


def _chunk(
    z: Tensor, t: Tensor, w: Tensor | None, options: Options, scale: Tensor, has_gradient: bool
) -> tuple[Tensor, Tensor | None]:
    """Return the sum of l_n times `scale`, and z' [n, K] times it, in the memory of z [n, K]."""
    ignore_index, _, e = options
    K = z.shape[1]
    index, counts, w_n = index_and_weights(t, w, ignore_index, z.dtype)  # [n, 1] each
    c_true, c_each = (1 - e) * w_n, counts.to(z.dtype) * (e / K)
    C = c_true + c_each * (K if w is None else w.sum())
    own = c_true * z.gather(1, index)
    if e:
        own = own + c_each * by_class(z, w).sum(1, keepdim=True)
    largest, winner = z.max(1, keepdim=True)
    p = torch.softmax(z, 1, out=z)
    of_all = largest - p.gather(1, winner).log()  # log sum_j e^z_j: the winner's p is 1 / K or more
    # where, not a product with 0: of a sample that does not count z may be infinite or NaN
    losses = torch.where(C != 0, C * of_all - own, 0) * scale
    if not has_gradient:
        return losses.sum(), None
    factor = torch.where(C != 0, C * scale, 0)
    grad_z = p.mul_(factor)
    if not may_peek(z) or not bool((C != 0).all()):
        grad_z.masked_fill_(C == 0, 0)
    grad_z.scatter_add_(1, index, torch.where(c_true != 0, -c_true * scale, 0))
    if e:
        grad_z -= by_class(torch.where(counts, c_each * scale, 0), w)
    return losses.sum(), grad_z


def fused_backward(grad_L: Tensor, saved: Saved, needs: Needs) -> Gradients:
    """Return x' [..., D], W' [K, D], b' [K]: those for L' = 1, times L'."""
    is_one = may_peek(grad_L) and float(grad_L) == 1
    grad_x, grad_W, grad_b = (
        each if each is None or is_one else (each * grad_L).to(each.dtype)
        for each in (saved.unit_x, saved.unit_W, saved.unit_b)
    )
    return grad_x, grad_W, grad_b


linear_cross_entropy_function = operation(
    forward,
    backward,
    fused_forward=fused_forward,
    fused_backward=fused_backward,
    precision=HEAD,
)


def linear_cross_entropy(
    input: Tensor,
    linear_weight: Tensor,
    target: Tensor,
    *,
    linear_bias: Tensor | None = None,
    weight: Tensor | None = None,
    reduction: Literal["mean", "sum"] = "mean",
    ignore_index: int = -100,
    label_smoothing: float = 0.0,
) -> Tensor:
    """Return `cross_entropy(linear(input, linear_weight), target)`, never all logits in memory.

    input [..., D], linear_weight [K, D], target [...] class indices, int64, or `ignore_index`;
    linear_bias and the classes' weight [K]; returns a scalar in float32 or wider. The other options
    are cross_entropy's. Raises ValueError for shapes, options or a dtype that do not fit.
    """
    if reduction not in ("mean", "sum"):
        raise ValueError(f"reduction is {reduction!r}, expected 'mean' or 'sum'")
    if not 0.0 <= label_smoothing <= 1.0:
        raise ValueError(f"label_smoothing is {label_smoothing}, expected 0 to 1")
    W, samples = linear_weight, target.flatten()
    if input.dim() < 2 or W.dim() != 2 or input.shape[-1] != W.shape[1]:
        raise ValueError(
            f"input has shape {list(input.shape)} and linear_weight {list(W.shape)}: expected "
            "[..., D] and [K, D]"
        )
    if target.shape != input.shape[:-1]:
        raise ValueError(
            f"target has shape {list(target.shape)}, expected {list(input.shape[:-1])}"
        )
    checked_classes(input.new_empty(1, 1).expand(len(samples), len(W)), samples, weight)
    options = Options(ignore_index, reduction, label_smoothing)
    return linear_cross_entropy_function(input, W, linear_bias, samples, weight, options)
