"""Cases of multi-head attention; `input` is the query, and in self-attention key and value too."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from bptrain.verify.named_tensors import Tensors
from cases.attention import Draw, by_torchs_names, numbers
from cases.case import Call, Inputs, ModuleCase

E = 4


def _sequence(*shape: int) -> Draw:
    return lambda draw: {"input": draw.normal(*shape, E)}


def _to_itself(**options: Any) -> Call:
    """Return a call of self-attention: one tensor is query, key and value."""

    def call(function: Callable[..., Any], tensors: Tensors) -> Any:
        others = {name: each for name, each in tensors.items() if name != "input"}
        x = tensors["input"]
        return function(x, x, x, **others, **options)

    return call


def _to_another(**options: Any) -> Call:
    """Return a call of attention to another sequence: query, key and value are given."""

    def call(function: Callable[..., Any], tensors: Tensors) -> Any:
        return by_torchs_names(lambda *x, **masks: function(*x, **masks, **options), tensors)

    return call


def _to_memory(function: Callable[..., Any], tensors: Tensors) -> Any:
    return function(tensors["input"], tensors["memory"], tensors["memory"])


def _cross(T: int = 3, J: int = 2, N: int = 2, kdim: int = E, vdim: int = E) -> Draw:
    return lambda draw: {
        "input": draw.normal(T, N, E),
        "key": draw.normal(J, N, kdim),
        "value": draw.normal(J, N, vdim),
    }


def _padded(draw: Inputs) -> Tensor:
    return torch.tensor([[False, False, True], [False, False, False]], device=draw.device)


def _after(draw: Inputs) -> Tensor:
    return torch.ones(3, 3, dtype=torch.bool, device=draw.device).triu(1)


def _also(inputs: Draw, **masks: Callable[[Inputs], Tensor]) -> Draw:
    return lambda draw: inputs(draw) | {name: mask(draw) for name, mask in masks.items()}


def _module(
    why: str,
    inputs: Draw,
    call: Call | None = None,
    training: bool = True,
    constants: tuple[str, ...] = (),
    at_once: bool = False,
    **options: Any,
) -> ModuleCase:
    return ModuleCase(
        "MultiheadAttention",
        why,
        {"embed_dim": E, "num_heads": 2} | options,
        inputs,
        training=training,
        constants=constants,
        call=call or _to_itself(),
        random=training and "dropout" in options,
        at_once=at_once,
    )


_fast: dict[str, Any] = {"need_weights": False}
_masks = {"key_padding_mask": _padded, "attn_mask": _after}
_one_column = ("self.bias_v",)  # it reads one column of P, which no mask reaches
_added = {"key_padding_mask": numbers(2, 3), "attn_mask": numbers(3, 3)}
MODULES = [
    _module("defaults", _sequence(3, 2)),
    _module("no weights asked for", _sequence(3, 2), _to_itself(**_fast)),
    _module("weights of each head", _sequence(3, 2), _to_itself(average_attn_weights=False)),
    _module("batch first", _sequence(2, 3), batch_first=True),
    _module("batch first, no weights", _sequence(2, 3), _to_itself(**_fast), batch_first=True),
    _module("no bias", _sequence(3, 2), _to_itself(**_fast), bias=False),
    _module("one head", _sequence(3, 2), num_heads=1),
    _module("unbatched", _sequence(3)),
    _module(
        "unbatched, batch_first is ignored", _sequence(3), _to_itself(**_fast), batch_first=True
    ),
    _module(
        "unbatched, masked, a mask for each head",
        _also(_sequence(3), key_padding_mask=numbers(3), attn_mask=numbers(2, 3, 3)),
    ),
    _module("cross-attention", _cross(), _to_another()),
    _module("cross-attention, no weights", _cross(), _to_another(**_fast), at_once=True),
    _module(
        "key is value",
        lambda draw: {"input": draw.normal(3, 2, E), "memory": draw.normal(2, 2, E)},
        _to_memory,
    ),
    _module("other sizes of key and value", _cross(kdim=3, vdim=5), _to_another(), kdim=3, vdim=5),
    _module(
        "other size of value alone, no bias",
        _cross(vdim=3),
        _to_another(**_fast),
        vdim=3,
        bias=False,
        at_once=True,
    ),
    _module("bool masks", _also(_sequence(3, 2), **_masks)),
    _module("bool masks, no weights", _also(_sequence(3, 2), **_masks), _to_itself(**_fast)),
    _module("learned masks", _also(_sequence(3, 2), **_added)),
    _module("learned masks, no weights", _also(_sequence(3, 2), **_added), _to_itself(**_fast)),
    _module(
        "constant masks, no weights",
        _also(_sequence(3, 2), **_added),
        _to_itself(**_fast),
        constants=tuple(_added),
    ),
    _module("padding alone", _also(_sequence(3, 2), key_padding_mask=_padded), _to_itself(**_fast)),
    _module("a mask for each sample and head", _also(_sequence(3, 2), attn_mask=numbers(4, 3, 3))),
    _module(
        "causal promised",
        _also(_sequence(3, 2), attn_mask=_after),
        _to_itself(is_causal=True, **_fast),
    ),
    _module(
        "causal promised, weights",
        _also(_sequence(3, 2), attn_mask=_after),
        _to_itself(is_causal=True),
    ),
    _module(
        "causal promised, padded",
        _also(_sequence(3, 2), **_masks),
        _to_itself(is_causal=True, **_fast),
    ),
    _module("appended bias", _sequence(3, 2), add_bias_kv=True),
    _module("appended zeros", _sequence(3, 2), _to_itself(**_fast), add_zero_attn=True),
    _module(
        "appended both, bool masks",
        _also(_sequence(3, 2), **_masks),
        _to_itself(**_fast),
        constants=_one_column,
        at_once=True,
        add_bias_kv=True,
        add_zero_attn=True,
    ),
    _module(
        "appended both, learned masks, batch first",
        _also(_sequence(2, 3), **_added),
        constants=_one_column,
        add_bias_kv=True,
        add_zero_attn=True,
        batch_first=True,
    ),
    _module("dropout", _sequence(3, 2), dropout=0.4),
    _module("dropout, no weights", _sequence(3, 2), _to_itself(**_fast), dropout=0.4),
    _module("dropout, eval", _sequence(3, 2), dropout=0.4, training=False),
    _module(
        "eval, batch first", _sequence(2, 3), _to_itself(**_fast), batch_first=True, training=False
    ),
    _module("empty batch", _sequence(3, 0)),
]
