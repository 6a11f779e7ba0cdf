"""Cases of the recurrent modules."""

from collections.abc import Callable
from typing import Any

import torch
from torch.nn.utils.rnn import PackedSequence

from bptrain.verify.named_tensors import Tensors
from cases.case import Call, Inputs, ModuleCase

SIZES = {"input_size": 3, "hidden_size": 2}
RAGGED = (3, 2, 1)  # sequences of 3, 2 and 1 steps
ORDER = (1, 2, 0)  # the longest is the second, the next longest the third


def _inputs(*shape: int, states: tuple[tuple[int, ...], ...] = ()) -> Callable[[Inputs], Tensors]:
    def arguments(draw: Inputs) -> Tensors:
        tensors = {"input": draw.normal(*shape)}
        names = ("h_0", "c_0")[: len(states)]
        return tensors | {
            name: draw.normal(*each) for name, each in zip(names, states, strict=True)
        }

    return arguments


def _states_of(tensors: Tensors) -> Any:
    if "c_0" in tensors:
        return tensors["h_0"], tensors["c_0"]
    return tensors.get("h_0")


def _plain(function: Callable[..., Any], tensors: Tensors) -> Any:
    return function(tensors["input"], _states_of(tensors))


def _packed(is_sorted: bool) -> Call:
    """Return the call with packed input; not sorted, the states are to be reordered."""

    def call(function: Callable[..., Any], tensors: Tensors) -> Any:
        order = None if is_sorted else torch.tensor(ORDER)
        inverse = None if order is None else order.argsort()
        packed = PackedSequence(tensors["input"], torch.tensor(RAGGED), order, inverse)
        return function(packed, _states_of(tensors))

    return call


def _over_time(module: str) -> list[ModuleCase]:
    states = 2 if module == "LSTM" else 1

    def case(why: str, *shape: int, h: tuple[int, ...] = (), **options: Any) -> ModuleCase:
        arguments = _inputs(*shape, states=(h,) * states if h else ())
        random = 0 < options.get("dropout", 0) < 1
        return ModuleCase(module, why, SIZES | options, arguments, call=_plain, random=random)

    def packed(why: str, is_sorted: bool, h: tuple[int, ...] = (), **options: Any) -> ModuleCase:
        return ModuleCase(
            module, why, SIZES | options, _inputs(6, 3, states=(h,) * states if h else ()),
            call=_packed(is_sorted), is_packed=True,
        )  # fmt: skip

    deep = {"num_layers": 2, "bidirectional": True}
    return [
        case("defaults", 3, 2, 3),
        case("states given", 3, 2, 3, h=(1, 2, 2)),
        case("no bias", 3, 2, 3, bias=False),
        case("batch_first", 2, 4, 3, batch_first=True, h=(1, 2, 2)),
        case("unbatched", 3, 3, h=(1, 2)),
        case("unbatched, batch_first", 3, 3, batch_first=True),
        case("unbatched, every option", 2, 3, bias=False, batch_first=True, h=(4, 2), **deep),
        case("two layers, both directions", 2, 2, 3, h=(4, 2, 2), **deep),
        case("dropout between layers", 3, 2, 3, num_layers=3, dropout=0.5),
        ModuleCase(
            module,
            "dropout in eval mode",
            SIZES | deep | {"dropout": 0.5},
            _inputs(2, 2, 3),
            training=False,
        ),
        packed("packed", True),
        packed("packed, not sorted", False, h=(1, 3, 2)),
        packed("packed, not sorted, every option", False, h=(4, 3, 2), batch_first=True, **deep),
    ]


def _cell(module: str, **options: Any) -> list[ModuleCase]:
    def case(why: str, *leading: int, states: bool, bias: bool = True) -> ModuleCase:
        count = (2 if module == "LSTMCell" else 1) * states
        return ModuleCase(
            module, why, SIZES | options | ({} if bias else {"bias": False}),
            _inputs(*leading, 3, states=((*leading, 2),) * count), call=_plain,
        )  # fmt: skip

    name = ", ".join(options.values())
    suffix = f" ({name})" if name else ""
    return [
        case(f"state given{suffix}", 4, states=True),
        case(f"from zeros{suffix}", 4, states=False),
        case(f"no bias{suffix}", 4, states=True, bias=False),
        case(f"unbatched{suffix}", states=True),
        case(f"unbatched, from zeros{suffix}", states=False),
    ]


PROJECTED = {"input_size": 3, "hidden_size": 3, "proj_size": 2}
MODULES = [
    *_over_time("RNN"),
    *_over_time("LSTM"),
    *_over_time("GRU"),
    ModuleCase("RNN", "relu", SIZES | {"nonlinearity": "relu"}, _inputs(3, 2, 3)),
    ModuleCase(
        "RNN", "relu, every option",
        SIZES | {"nonlinearity": "relu", "num_layers": 2, "bidirectional": True, "bias": False},
        _inputs(2, 2, 3, states=((4, 2, 2),)),
    ),
    ModuleCase("LSTM", "projection", PROJECTED, _inputs(3, 2, 3)),
    ModuleCase(
        "LSTM", "projection, every option",
        PROJECTED | {"num_layers": 2, "bidirectional": True, "bias": False, "batch_first": True},
        _inputs(2, 3, 3, states=((4, 2, 2), (4, 2, 3))), call=_plain,
    ),
    ModuleCase(
        "LSTM", "projection, packed", PROJECTED | {"bidirectional": True},
        _inputs(6, 3, states=((2, 3, 2), (2, 3, 3))), call=_packed(False), is_packed=True,
    ),
    *_cell("RNNCell"),
    *_cell("RNNCell", nonlinearity="relu"),
    *_cell("LSTMCell"),
    *_cell("GRUCell"),
]  # fmt: skip
