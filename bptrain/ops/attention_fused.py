"""Kernels that compute `attention` without writing a T x J matrix to memory.

They take blocks of keys one after the other, correcting m, s and y of a row as larger scores turn
up, and save log s_i + m_i, from which a block of P is e^(Z - log s - m), and y, because

    D_i = sum_j P_ij P'_ij = sum_j w_ij w'_ij = sum_j sum_f w_ij y'_if v_jf = sum_f y'_if y_if

(P_ij P'_ij = P_ij M_ij w'_ij = w_ij w'_ij). What they save is not what attention.py saves, as both
passes are theirs.

CPU        aten's flash attention: any mask whose gradient is not needed, shared heads, no dropout
CUDA       aten's memory-efficient attention: no mask, dropout by a seed saved instead of a mask
"""

from math import inf
from typing import NamedTuple

import torch
from torch import Tensor

from bptrain.ops.attention_scores import Masks, Needs, Options
from bptrain.ops.memory_order import memory_order
from bptrain.ops.precision import widened_for_sums

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
    options: Options


def fits(q: Tensor, k: Tensor, v: Tensor, masks: Masks, p: float) -> bool:
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
    mask: Tensor | None,
    padding: Tensor | None,
    options: Options,
    needs: Needs,
) -> tuple[tuple[Tensor, None], FusedSaved]:
    """Return y [N, A, T, E], a token's heads side by side in memory, and no weights."""
    c, is_causal, p, _ = options
    if q.device.type == "cuda":
        y, log_s, seed, offset = aten._scaled_dot_product_efficient_attention(
            q, k, v, None, True, p, is_causal, scale=c
        )
        return (y, None), FusedSaved(q, k, v, y, log_s, None, seed, offset, options)
    bias = merged((mask, padding), q, k)
    y, log_s = aten._scaled_dot_product_flash_attention_for_cpu(
        q, k, v, 0.0, is_causal, attn_mask=bias, scale=c
    )
    # Symptom: zeros for a query of NaNs, and a NaN that never reaches the monitor. Cause: no score
    # of its row is larger than -inf, which the kernel takes for a row that is wholly masked.
    # One sum a row finds them: it is finite only where all are.
    is_lost = ~q.sum(-1, keepdim=True, dtype=log_s.dtype).isfinite()
    order = memory_order(y)
    y.permute(order).masked_fill_(is_lost.permute(order), torch.nan)
    return (y, None), FusedSaved(q, k, v, y, log_s, bias, None, None, options)


def fused_backward(
    grad_y: Tensor, grad_u: None, saved: FusedSaved, needs: Needs
) -> tuple[Tensor | None, ...]:
    """Return q', k', v', each None if it is not needed, and None for both masks."""
    q, k, v, y, log_s, _, seed, offset, (c, is_causal, p, _) = saved
    if q.device.type == "cuda":
        *grads, _ = aten._scaled_dot_product_efficient_attention_backward(
            grad_y, q, k, v, None, y, log_s, seed, offset, p, [True, True, True, False],
            is_causal, scale=c,
        )  # fmt: skip
    else:
        grads = _cpu_backward(grad_y, saved)
    is_needed = (needs.q, needs.k, needs.v)
    return (
        *(grad if need else None for grad, need in zip(grads, is_needed, strict=True)),
        None,
        None,
    )


def _cpu_backward(grad_y: Tensor, saved: FusedSaved) -> list[Tensor]:
    """Return q', k' and v'.

    Symptom: in 16 bits v' half of what is right for 200,000 queries, q' 20 % off. Cause: the kernel
    adds over blocks of queries in the dtype of v, and has D from a y that was rounded. Remedy: both
    passes in float32; the forward pass a second time, for y.
    """
    q, k, v, y, log_s, bias, *_, (c, is_causal, p, _) = saved
    dtype = q.dtype
    if widened_for_sums(q) is not q:
        grad_y, q, k, v = map(widened_for_sums, (grad_y, q, k, v))
        bias = None if bias is None else widened_for_sums(bias)
        y, log_s = aten._scaled_dot_product_flash_attention_for_cpu(
            q, k, v, p, is_causal, attn_mask=bias, scale=c
        )
    grads = aten._scaled_dot_product_flash_attention_for_cpu_backward(
        grad_y, q, k, v, y, log_s, p, is_causal, attn_mask=bias, scale=c
    )
    return [grad.to(dtype) for grad in grads]


def merged(masks: Masks, q: Tensor, k: Tensor) -> Tensor | None:
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
