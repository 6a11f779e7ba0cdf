"""Kernels that carry out `attention`'s equations without writing a T x J matrix to memory.

They walk over blocks of keys, correcting m, s and y of a row as larger scores turn up, and keep
log s_i + m_i, from which a block of P is e^(Z - log s - m). What they compute is what `attention`
derives; a test holds the two against each other. Their backward pass is written out at its place.

CPU        aten's flash attention: any mask that wants no gradient, shared heads, no dropout
CUDA       aten's memory-efficient attention: no mask, dropout by a seed kept instead of a mask
"""

from math import inf
from typing import NamedTuple

import torch
from torch import Tensor

from bptrain.ops.fused import carried_out_by

aten = torch.ops.aten
RELEASE = tuple(int(part) for part in torch.__version__.split(".")[:2])
CPU_SHARES_HEADS = RELEASE >= (2, 14)  # the first in which its kernel was seen to, forward and back
ALIGNMENT = 8  # elements of 16 bits in the 16 bytes that a tensor core reads at once


class FusedSaved(NamedTuple):
    """What the kernels' backward pass reads."""

    q: Tensor  # [N, A, T, E]
    k: Tensor  # [N, A, J, E]
    v: Tensor  # [N, A, J, E]
    y: Tensor  # [N, A, T, E]
    log_s: Tensor  # [N, A, T], with m added
    bias: Tensor | None  # all masks in one
    seed: Tensor | None  # of the dropout
    offset: Tensor | None


def fits(q: Tensor, k: Tensor, v: Tensor, masks: tuple[Tensor | None, ...], p: float) -> bool:
    """Tell whether a kernel computes this: decided by what is known without reading a number."""
    given = [mask for mask in masks if mask is not None]
    if any(mask.requires_grad for mask in given):
        return False  # the kernels have no B'
    if v.requires_grad and not (q.requires_grad or k.requires_grad):
        return False  # they compute q', k' and v' at once, though v' alone reads neither v nor y
    if any(x.dim() != 4 or x.numel() == 0 or x.stride(-1) != 1 for x in (q, k, v)):
        return False
    if q.shape[-1] != v.shape[-1]:
        return False
    shares_heads = q.shape[1] != k.shape[1]
    if q.device.type == "cpu":
        return p == 0 and (CPU_SHARES_HEADS or not shares_heads)
    if q.device.type != "cuda" or given or shares_heads:
        return False
    return q.dtype != torch.float64 and q.shape[-1] % ALIGNMENT == 0


def fused_forward(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    masks: tuple[Tensor | None, ...],
    c: float,
    is_causal: bool,
    p: float,
) -> tuple[Tensor, FusedSaved]:
    """Return y [N, A, T, E], a token's heads side by side in memory, and what is kept."""
    if q.device.type == "cuda":
        y, log_s, seed, offset = aten._scaled_dot_product_efficient_attention(
            q, k, v, None, True, p, is_causal, scale=c
        )
        return y, FusedSaved(q, k, v, y, log_s, None, seed, offset)
    bias = merged(masks, q, k)
    y, log_s = aten._scaled_dot_product_flash_attention_for_cpu(
        q, k, v, 0.0, is_causal, attn_mask=bias, scale=c
    )
    # Symptom: zeros for a query of NaNs, and a NaN that never reaches the monitor. Cause: no score
    # of its row is larger than -inf, which the kernel takes for a row that is wholly masked.
    # One sum a row finds them: it is finite only where all are.
    y.masked_fill_(~q.sum(-1, keepdim=True, dtype=log_s.dtype).isfinite(), torch.nan)
    return y, FusedSaved(q, k, v, y, log_s, bias, None, None)


def fused_backward_in_one_pass(
    grad_y: Tensor, saved: FusedSaved, c: float, is_causal: bool, p: float
) -> tuple[Tensor, Tensor, Tensor]:
    """Return q', k' and v' from one kernel."""
    q, k, v, y, log_s, bias, seed, offset = saved
    if q.device.type == "cuda":
        grads = aten._scaled_dot_product_efficient_attention_backward(
            grad_y, q, k, v, None, y, log_s, seed, offset, p, [True, True, True, False],
            is_causal, scale=c,
        )  # fmt: skip
        return grads[0], grads[1], grads[2]
    grad_q, grad_k, grad_v = aten._scaled_dot_product_flash_attention_for_cpu_backward(
        grad_y, q, k, v, y, log_s, 0.0, is_causal, attn_mask=bias, scale=c
    )
    return grad_q, grad_k, grad_v


@carried_out_by(fused_backward_in_one_pass)
def fused_backward(
    grad_y: Tensor, saved: FusedSaved, c: float, is_causal: bool, p: float
) -> tuple[Tensor, Tensor, Tensor]:
    """Return q', k' and v' without dropout: which weights a seed hides, its kernel alone knows."""
    assert p == 0, "attention.backward is written out for dropout too"
    shared = saved.q.shape[1] // saved.k.shape[1]  # heads of q that read one head of k and v
    k, v = (x.repeat_interleave(shared, 1) for x in (saved.k, saved.v))
    Z = c * (saved.q @ k.mT)
    if saved.bias is not None:
        Z = Z + saved.bias
    if is_causal:
        Z = Z.masked_fill(Z.new_ones(Z.shape[2:], dtype=torch.bool).triu(1), -inf)
    P = torch.exp(Z - saved.log_s.unsqueeze(-1))
    P = P.masked_fill(Z.isneginf(), 0)  # also where a row has no key to look at
    D = (grad_y * saved.y).sum(-1, keepdim=True)
    grad_Z = P * (grad_y @ v.mT - D)
    grad_q = c * (grad_Z @ k)
    grad_k = c * (grad_Z.mT @ saved.q)
    grad_v = P.mT @ grad_y
    grad_k, grad_v = (x.unflatten(1, (-1, shared)).sum(2) for x in (grad_k, grad_v))
    return grad_q, grad_k, grad_v


def merged(masks: tuple[Tensor | None, ...], q: Tensor, k: Tensor) -> Tensor | None:
    """Return the masks as one bias [N or 1, A or 1, T or 1, J], or None without one."""
    bias = None
    for mask in masks:
        if mask is None:
            continue
        added = mask
        if mask.dtype == torch.bool:
            added = torch.zeros_like(mask, dtype=q.dtype).masked_fill_(~mask, -inf)
        appended = k.shape[-2] - mask.shape[-1]  # keys that every query may look at
        if appended:
            added = torch.constant_pad_nd(added, (0, appended))
        bias = added if bias is None else bias + added
    if bias is None:
        return None
    bias = bias.to(q.dtype)
    return bias.view(*[1] * (4 - bias.dim()), *bias.shape)
