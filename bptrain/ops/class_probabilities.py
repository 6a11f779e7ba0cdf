"""Probabilities of classes and their logarithms, from logits: shared by the two cross-entropies.

Shapes     x [N, K, ...] logits   p, log p the same
Forward    p_nk     = e^(x_nk - m_n) / sum_j e^(x_nj - m_n)      m_n = max_j x_nj, which cancels
           log p_nk = (x_nk - m_n) - log sum_j e^(x_nj - m_n)

Without m, e^x overflows float32 at logits above 88; and log p as x - (m + log sum) would lose the
digits of the log where m is large. 16-bit logits are computed in float32, as their sums over K
would lose digits.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from bptrain.ops.reduction import weighted, wide_dtype

FEWEST_CLASSES, VECTOR, FEWEST_ROWS = 3, 16, 64  # where a transposed copy pays


def softmax(x: Tensor) -> Tensor:
    """Return p."""
    exponentials = _below_largest(x).exp()
    return exponentials / exponentials.sum(1, keepdim=True)


def log_softmax(x: Tensor) -> Tensor:
    """Return log p."""
    below = _below_largest(x)
    return below - below.exp().sum(1, keepdim=True).log()


def _below_largest(x: Tensor) -> Tensor:
    """Return x_nk - m_n."""
    x = x.to(wide_dtype(x))
    return x - x.amax(1, keepdim=True) if x.numel() else x


def fused_softmax(x: Tensor) -> Tensor:
    """Return p from one kernel."""
    return _by_kernel(torch.softmax, x)


def fused_log_softmax(x: Tensor) -> Tensor:
    """Return log p from one kernel."""
    return _by_kernel(torch.log_softmax, x)


def _by_kernel(kernel: Callable[..., Tensor], x: Tensor) -> Tensor:
    """Return what a kernel of torch's computes over the classes."""
    # Along a last axis that is shorter than a vector register, torch's kernel takes one number at
    # a time: 23 us for [128, 10] and 730 for [4096, 10], 10 and 140 along the first axis of a copy
    # (torch 2.14.1, one thread, AVX-512, where 16 classes take no longer than 10 this way).
    is_narrow = x.dim() == 2 and FEWEST_CLASSES <= x.shape[1] < VECTOR and len(x) >= FEWEST_ROWS
    if is_narrow and x.device.type == "cpu":
        return kernel(x.t().contiguous(), 0, dtype=wide_dtype(x)).t().contiguous()
    return kernel(x, 1, dtype=wide_dtype(x))


def by_class(values: Tensor, w: Tensor | None) -> Tensor:
    """Return w_k times values [N, K or 1, ...], or the values where there are no class weights.

    0 where w_k is 0: the logarithm of a class that is ruled out is -infinity.
    """
    return weighted(values, None if w is None else w.view(1, -1, *[1] * (values.dim() - 2)))
