"""Cases of scaled dot-product attention; `input` is the query."""

from collections.abc import Callable
from math import inf, nan
from typing import Any

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from bptrain.nn.counterparts import TorchDotProductAttention
from bptrain.verify.named_tensors import Tensors
from cases.case import Inputs, ModuleCase, OpCase

Draw = Callable[[Inputs], Tensors]


def by_torchs_names(function: Callable[..., Any], tensors: Tensors) -> Any:
    """Call with query, key and value by position and every mask by keyword."""
    masks = {name: tensor for name, tensor in tensors.items() if name.endswith("mask")}
    return function(*(tensors[name] for name in tensors if name not in masks), **masks)


def _in_plain_steps(*arguments: Any, **options: Any) -> Tensor:
    with sdpa_kernel(SDPBackend.MATH):
        return torch.nn.functional.scaled_dot_product_attention(*arguments, **options)


def _qkv(*heads: int, T: int = 3, J: int = 4, E: int = 2, F: int = 2, scale: float = 1.0) -> Draw:
    return lambda draw: {
        "input": draw.normal(*heads, T, E, scale=scale),
        "key": draw.normal(*heads, J, E, scale=scale),
        "value": draw.normal(*heads, J, F),
    }


def _shared(query_heads: int, key_heads: int, *leading: int, F: int = 2) -> Draw:
    return lambda draw: {
        "input": draw.normal(*leading, query_heads, 3, 2),
        "key": draw.normal(*leading, key_heads, 4, 2),
        "value": draw.normal(*leading, key_heads, 4, F),
    }


def _with_mask(mask: Callable[[Inputs], Tensor], inputs: Draw | None = None) -> Draw:
    return lambda draw: (inputs or _qkv(2, 2))(draw) | {"attn_mask": mask(draw)}


def _hidden(*shape: int, row: int | None = None) -> Callable[[Inputs], Tensor]:
    """Return a bool mask that allows three keys in four, and in `row` none."""

    def mask(draw: Inputs) -> Tensor:
        seen = draw.classes(*shape, classes=4) > 0
        if row is not None:
            seen[..., row, :] = False
        return seen

    return mask


def numbers(*shape: int) -> Callable[[Inputs], Tensor]:
    """Return a mask of numbers that are added to the scores."""
    return lambda draw: draw.normal(*shape)


def _partly_minus_infinity(draw: Inputs) -> Tensor:
    mask = draw.normal(3, 4)
    mask[1] = -inf
    mask[2, 1:] = -inf
    return mask


def _broadcasting(draw: Inputs) -> Tensors:
    return {
        "input": draw.normal(2, 2, 3, 2),
        "key": draw.normal(1, 2, 4, 2),
        "value": draw.normal(2, 1, 4, 2),
    }


def _across_strides(draw: Inputs) -> Tensors:
    """Return heads that are adjacent in a token's memory, as a projection returns them."""
    packed = draw.normal(2, 3, 3, 2, 2)  # [N, T, q k v, A, E]
    q, k, v = packed.unbind(2)
    return {"input": q.transpose(1, 2), "key": k.transpose(1, 2), "value": v.transpose(1, 2)}


def _not_finite(draw: Inputs) -> Tensors:
    tensors = _qkv(1, 2)(draw)
    tensors["input"][0, 0, 0, 0] = nan
    tensors["key"][0, 1, 0, 0] = nan
    return tensors


def _attention(name: str, why: str, arguments: Draw, **fields: Any) -> OpCase:
    fields = {"call": by_torchs_names} | fields
    return OpCase("scaled_dot_product_attention", name, why, arguments, **fields)


def _fused(name: str, why: str, arguments: Draw, **fields: Any) -> OpCase:
    """Return a case that a kernel computes on the CPU."""
    return _attention(name, why, arguments, at_once=True, **fields)


def _by_query(draw: Inputs) -> Tensor:
    return torch.tensor([[True], [False], [True]], device=draw.device)


def _by_key(draw: Inputs) -> Tensor:
    return torch.tensor([[True, False, True, True]], device=draw.device)


_causal: dict[str, Any] = {"is_causal": True}
_dropout: dict[str, Any] = {"dropout_p": 0.4}
_share: dict[str, Any] = {"enable_gqa": True}
_constant = ("attn_mask",)


OPS = [
    _fused("self", "the usual shape", _qkv(2, 2, J=3)),
    _fused("cross", "another number of keys than of queries", _qkv(2, 2)),
    _attention("wide values", "values of another size than keys", _qkv(2, 2, F=3)),
    _fused("causal", "no query sees what comes after it", _qkv(2, 2, J=3), options=_causal),
    _fused(
        "causal, fewer keys", "late queries see them all", _qkv(2, 1, T=4, J=2), options=_causal
    ),
    _fused(
        "causal, more keys", "the last keys are seen by none", _qkv(2, 1, T=2, J=4), options=_causal
    ),
    _attention(
        "causal, wide values", "the causal mask written out", _qkv(2, 2, J=3, F=3), options=_causal
    ),
    _fused("scale", "c is given", _qkv(2, 2), options={"scale": 1.3}),
    _attention(
        "scale, wide values", "c in q' and k' alike", _qkv(2, 2, F=3), options={"scale": 1.3}
    ),
    _fused("bool mask", "a key not seen has weight 0", _with_mask(_hidden(3, 4))),
    _fused(
        "bool mask, all hidden",
        "a query that sees nothing: 0, not NaN",
        _with_mask(_hidden(2, 1, 3, 4, row=1)),
    ),
    _attention(
        "bool mask, all hidden, wide values",
        "0, not NaN, written out",
        _with_mask(_hidden(3, 4, row=1), _qkv(2, 2, F=3)),
    ),
    _fused("bool mask by head", "an axis that broadcasts", _with_mask(_hidden(2, 3, 4))),
    _fused("bool mask by sample", "padding alone", _with_mask(_hidden(2, 1, 1, 4))),
    _fused("bool mask by query", "the last axis broadcasts", _with_mask(_by_query)),
    _fused("bool mask by key", "a mask of one axis", _with_mask(_by_key)),
    _fused(
        "numbers, constant",
        "a bias whose gradient is not needed",
        _with_mask(numbers(2, 3, 4)),
        constants=_constant,
    ),
    _fused(
        "numbers, some -inf",
        "hides as a bool mask does",
        _with_mask(_partly_minus_infinity),
        constants=_constant,
    ),
    _attention("numbers, learned", "B' summed over the samples", _with_mask(numbers(2, 3, 4))),
    _attention(
        "numbers, learned, by key", "B' summed over the queries", _with_mask(numbers(2, 1, 1, 4))
    ),
    _fused("shared heads", "two query heads for one of keys", _shared(4, 2, 1), options=_share),
    _attention(
        "shared heads, wide values", "k' and v' sum both", _shared(4, 2, 1, F=3), options=_share
    ),
    _attention(
        "shared heads, learned",
        "heads of B are the queries'",
        _with_mask(numbers(4, 3, 4), _shared(4, 2, 1)),
        options=_share,
    ),
    _fused("shared heads, three axes", "no samples' axis", _shared(3, 1), options=_share),
    _fused("no head axis", "three axes", _qkv(3)),
    _attention("one sequence", "two axes", _qkv()),
    _attention("five axes", "more leading axes than the kernels take", _qkv(2, 1, 2)),
    _fused("leading axes broadcast", "k' and v' summed over them", _broadcasting),
    _fused("strided heads", "the layout that a projection leaves", _across_strides),
    _fused("one key", "P = 1: no gradient by q or k", _qkv(2, 2, J=1), smooth=False),
    _fused("one of each", "axes of size 1", _qkv(1, 1, T=1, J=1, E=1, F=1), smooth=False),
    _fused("large scores", "e^Z alone would overflow", _qkv(2, 2, scale=40.0), smooth=False),
    _attention(
        "large scores, wide values",
        "the same, written out",
        _qkv(2, 2, F=3, scale=40.0),
        smooth=False,
    ),
    _attention("dropout", "M in both directions", _qkv(2, 2), options=_dropout, random=True),
    _attention(
        "dropout of all", "0, not 0 / 0", _qkv(2, 2), options={"dropout_p": 1.0}, random=True
    ),
    _attention(
        "dropout, masked",
        "D after M",
        _with_mask(_hidden(3, 4, row=1)),
        options=_dropout,
        random=True,
    ),
    _attention(
        "dropout, causal, shared",
        "all at once",
        _shared(4, 2, 1),
        options=_dropout | _causal | _share,
        random=True,
    ),
    _fused(
        "not finite",
        "NaN must reach the monitor: torch's CPU kernel makes it 0",
        _not_finite,
        smooth=False,
        reference=_in_plain_steps,
    ),
    _attention("empty batch", "no sample", _qkv(0, 2)),
    _attention("no query", "nothing is asked", _qkv(1, 2, T=0)),
    _attention("no key", "y = 0, as in a row that is wholly masked", _qkv(1, 2, J=0)),
]


class DotProductAttention(TorchDotProductAttention):
    """The reference by torch's own function; torch.nn has none."""

    def extra_repr(self) -> str:
        """Return the constructor's arguments as text."""
        return f"is_causal={self.is_causal}"


def _module(why: str, arguments: Draw, **options: Any) -> ModuleCase:
    return ModuleCase(
        "DotProductAttention",
        why,
        options,
        arguments,
        reference=DotProductAttention,
        at_once=True,
    )


MODULES = [
    _module("every key is seen", _qkv(2, 2)),
    _module("causal", _qkv(2, 2, J=3), is_causal=True),
    _module("masked", _with_mask(_hidden(2, 1, 1, 4))),
    _module("the mask stands for the causal one", _with_mask(_hidden(3, 4)), is_causal=True),
]
