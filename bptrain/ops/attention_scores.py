"""The scores of attention, and what both of its passes compute with them."""

from math import inf
from typing import Literal, NamedTuple

import torch
from torch import Tensor

Masks = tuple[Tensor | None, Tensor | None]
Weights = Literal["none", "each", "mean"]


class Options(NamedTuple):
    """The constants of one call."""

    c: float
    is_causal: bool
    p: float  # probability that a weight is dropped
    weights: Weights  # whether w is an output: of each head, or the mean over the heads


class Needs(NamedTuple):
    """Which gradients are needed."""

    q: bool
    k: bool
    v: bool
    mask: bool
    padding: bool


def scores(q: Tensor, k: Tensor, masks: Masks, options: Options) -> Tensor:
    """Return Z [..., A, T, J], in float32 for 16-bit q: its exponent would lose all digits."""
    heads, T, J = q.shape[-3], q.shape[-2], k.shape[-2]
    queries = per_key_head(wide(q) * options.c, k.shape[-3])
    Z = (queries @ wide(k).mT).view(*q.shape[:-3], heads, T, J)
    for mask in masks:
        if mask is None:
            continue
        # keys past the end of the mask were appended: every query sees them
        masked = Z[..., : mask.shape[-1]]
        if mask.dtype == torch.bool:
            masked.masked_fill_(~mask, -inf)
        else:
            masked.add_(mask)
    if options.is_causal:
        Z.masked_fill_(torch.ones(T, J, dtype=torch.bool, device=q.device).triu_(1), -inf)
    return Z


def drop_(x: Tensor, hidden: Tensor | None, p: float) -> Tensor:
    """Return M * x, in the memory of x."""
    if hidden is None:
        return x
    return x.masked_fill_(hidden, 0).mul_(1 / (1 - p) if p < 1 else 0)


def per_key_head(x: Tensor, heads: int) -> Tensor:
    """Return x [..., A, T, *] as [..., heads, (A / heads) T, *].

    Query heads that share a head of keys become more rows of that head: neither are keys and
    values copied for them, nor must their gradients be summed afterwards, the product does it.
    """
    *leading, A, T, size = x.shape
    return x.reshape(*leading, heads, A // max(heads, 1) * T, size)


def wide(x: Tensor) -> Tensor:
    """Return x in float32 or wider."""
    return x.to(torch.promote_types(x.dtype, torch.float32))
