"""Cases of the recurrent operations: over time, and of one step."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from math import nan
from typing import Any

import torch
from torch import Tensor

from bptrain.verify.named_tensors import Tensors
from cases.case import Inputs, OpCase, Refusal
from cases.recurrent_modules import MODULES

__all__ = ["MODULES", "OPS", "REFUSED"]

GATES = {"rnn_tanh": 1, "rnn_relu": 1, "lstm": 4, "gru": 3}
RAGGED = (3, 2, 2, 1)  # sequences of 4, 3 and 1 steps


@dataclass(frozen=True)
class Network:
    """The shapes and options of one recurrent network."""

    op: str
    shape: tuple[int, ...] = (3, 2, 3)  # [T, N, I]; [N, T, I] if batch_first; [B, I] if packed
    hidden: int = 2
    layers: int = 1
    directions: int = 1
    bias: bool = True
    projection: int = 0
    states: bool = True
    batch_first: bool = False
    batch_sizes: tuple[int, ...] = ()
    dropout: float = 0.0
    train: bool = True
    scale: float = 1.0  # of the input
    first_input: float | None = None

    def draw(self, draw: Inputs) -> Tensors:
        """Return the input, the initial states and the parameters."""
        input = draw.normal(*self.shape, scale=self.scale)
        if self.first_input is not None:
            input.view(-1)[0] = self.first_input
        sequences = self.batch_sizes[0] if self.batch_sizes else self.shape[not self.batch_first]
        scans, outputs = self.layers * self.directions, self.projection or self.hidden
        tensors = {"input": input}
        if self.states:
            tensors["h_0"] = draw.normal(scans, sequences, outputs)
        if self.states and self.op == "lstm":
            tensors["c_0"] = draw.normal(scans, sequences, self.hidden)
        rows = GATES[self.op] * self.hidden
        for scan in range(scans):
            is_first = scan < self.directions
            inputs = self.shape[-1] if is_first else outputs * self.directions
            tensors[f"weight_ih {scan}"] = draw.normal(rows, inputs, scale=0.7)
            tensors[f"weight_hh {scan}"] = draw.normal(rows, outputs, scale=0.7)
            if self.bias:
                # a relu that is never on would pass no gradient, and hide what is wrong
                lift = 2.0 if self.op == "rnn_relu" else 0.0
                tensors[f"bias_ih {scan}"] = draw.normal(rows) + lift
                tensors[f"bias_hh {scan}"] = draw.normal(rows) + lift
            if self.projection:
                tensors[f"weight_hr {scan}"] = draw.normal(outputs, self.hidden)
        return tensors

    def call(self, function: Callable[..., Any], tensors: Tensors) -> Any:
        """Call with the arguments of ours; `_torchs` orders them for torch's two signatures."""
        params = [tensor for name, tensor in tensors.items() if " " in name]
        states = tuple(tensors[name] for name in ("h_0", "c_0") if name in tensors)
        hx = None if not states else states if self.op == "lstm" else states[0]
        return function(
            tensors["input"],
            hx,
            params,
            self.bias,
            self.layers,
            self.dropout,
            self.train,
            self.directions == 2,
            batch_first=self.batch_first,
            batch_sizes=torch.tensor(self.batch_sizes) if self.batch_sizes else None,
        )

    def case(self, name: str, why: str, **fields: Any) -> OpCase:
        """Return the case."""
        return OpCase(
            self.op, name, why, self.draw, call=self.call, reference=_torchs(self), **fields
        )


def _torchs(network: Network) -> Callable[..., Any]:
    """Return torch's function with the arguments of ours."""
    function = getattr(torch, network.op)

    def call(
        input: Tensor,
        hx: Any,
        params: list[Tensor],
        *options: Any,
        batch_first: bool,
        batch_sizes: Tensor | None,
    ) -> Any:
        if hx is None:
            scans, outputs = (
                network.layers * network.directions,
                network.projection or network.hidden,
            )
            count = (
                network.batch_sizes[0] if network.batch_sizes else network.shape[not batch_first]
            )
            h_0 = input.new_zeros(scans, count, outputs)
            is_lstm = network.op == "lstm"
            hx = (h_0, input.new_zeros(scans, count, network.hidden)) if is_lstm else h_0
        if batch_sizes is None:
            return function(input, hx, params, *options, batch_first)
        return function(input, batch_sizes, hx, params, *options)

    return call


def _over_time(op: str) -> list[OpCase]:
    network = Network(op)
    packed = replace(network, shape=(8, 3), batch_sizes=RAGGED)
    deep = replace(network, layers=2, directions=2, shape=(2, 2, 2))
    return [
        network.case("states given", "h_0' is what the scan backwards ends with"),
        replace(network, states=False).case("from zeros", "no state given"),
        replace(network, bias=False).case("no bias", "the gates begin at 0"),
        replace(network, batch_first=True).case("batch first", "N before T"),
        replace(network, shape=(1, 2, 3)).case("one step", "W_hh' comes from h_0 alone"),
        replace(network, shape=(3, 1, 3)).case("one sequence", "a size-1 axis may be summed away"),
        replace(network, directions=2).case("both directions", "one scan starts at the end"),
        replace(network, layers=2).case("two layers", "the first one's x' is never needed"),
        deep.case("two layers, both directions", "the second one's input is joined"),
        packed.case("packed", "fewer sequences at each step: states drop out and return"),
        replace(packed, directions=2).case("packed, both directions", "in reverse they begin late"),
        replace(packed, shape=(6, 3), batch_sizes=(2, 2, 2), directions=2).case(
            "packed, equal lengths", "no state drops out"
        ),
        replace(packed, layers=2, directions=2, dropout=0.4).case(
            "packed, dropout", "masks of packed rows", random=True
        ),
        replace(deep, dropout=0.5).case("dropout", "torch's masks from torch's seed", random=True),
        replace(deep, dropout=1.0).case(
            "all dropped", "0, not 0 / 0; no gradient passes, whatever is saved above", smooth=False
        ),
        replace(deep, dropout=0.5, train=False).case("dropout, not training", "nothing is dropped"),
        replace(network, shape=(3, 0, 3)).case("empty", "no sequence: gradients are 0"),
        replace(network, scale=1e3).case("saturated", "a saturated gate gives 0", smooth=False),
        replace(network, first_input=nan).case("NaN", "it must reach the monitor", smooth=False),
    ]


def _lstm_projected() -> list[OpCase]:
    network = Network("lstm", hidden=3, projection=2)
    packed = replace(network, shape=(8, 3), batch_sizes=RAGGED, directions=2)
    return [
        network.case("projection", "h is narrower than c; W_hr'"),
        replace(network, bias=False, states=False).case(
            "projection, no bias", "three weights each"
        ),
        replace(network, layers=2, directions=2, shape=(2, 2, 2)).case(
            "projection, two layers", "the second one's input has 2P features"
        ),
        packed.case("projection, packed", "h' of ragged steps is stored for W_hr'"),
        replace(network, shape=(3, 0, 3)).case("projection, empty", "no sequence"),
    ]


def _step(
    op: str, *leading: int, bias: bool = True, states: bool = True, scale: float = 1.0
) -> Callable[[Inputs], Tensors]:
    rows = GATES[op] * 2

    def arguments(draw: Inputs) -> Tensors:
        tensors = {"input": draw.normal(*leading, 3, scale=scale)}
        if states:
            tensors["h_0"] = draw.normal(*leading, 2)
        if states and op == "lstm":
            tensors["c_0"] = draw.normal(*leading, 2)
        tensors |= {"w_ih": draw.normal(rows, 3), "w_hh": draw.normal(rows, 2)}
        return tensors | ({"b_ih": draw.normal(rows), "b_hh": draw.normal(rows)} if bias else {})

    return arguments


def _call_step(op: str) -> Callable[[Callable[..., Any], Tensors], Any]:
    def call(function: Callable[..., Any], tensors: Tensors) -> Any:
        states = tuple(tensors[name] for name in ("h_0", "c_0") if name in tensors)
        hx = None if not states else states if op == "lstm" else states[0]
        others = {name: tensors[name] for name in tensors if name[:2] in ("w_", "b_")}
        return function(tensors["input"], hx, **others)

    return call


def _torchs_step(op: str) -> Callable[..., Any]:
    function = getattr(torch, f"{op}_cell")

    def call(
        input: Tensor, hx: Any, w_ih: Tensor, w_hh: Tensor, *b: Tensor, **biases: Tensor
    ) -> Any:
        if hx is None:
            zeros = input.new_zeros(*input.shape[:-1], 2)
            hx = (zeros, zeros) if op == "lstm" else zeros
        if input.dim() == 2:
            return function(input, hx, w_ih, w_hh, **biases)
        hx = tuple(each.unsqueeze(0) for each in hx) if op == "lstm" else hx.unsqueeze(0)
        found = function(input.unsqueeze(0), hx, w_ih, w_hh, **biases)
        return tuple(each.squeeze(0) for each in found) if op == "lstm" else found.squeeze(0)

    return call


def _cell(op: str) -> list[OpCase]:
    def case(name: str, why: str, arguments: Callable[[Inputs], Tensors], **fields: Any) -> OpCase:
        return OpCase(
            f"{op}_cell", name, why, arguments,
            call=_call_step(op), reference=_torchs_step(op), **fields,
        )  # fmt: skip

    return [
        case("states given", "one step", _step(op, 4)),
        case("from zeros", "no state given", _step(op, 4, states=False)),
        case("no bias", "the gates begin at 0", _step(op, 4, bias=False)),
        case("unbatched", "no batch axis", _step(op)),
        case("one sample", "a size-1 axis may be summed away", _step(op, 1)),
        case("empty", "no sample: gradients are 0", _step(op, 0)),
        case("saturated", "a saturated gate gives 0", _step(op, 4, scale=1e3), smooth=False),
    ]


OPS = [
    *(case for op in GATES for case in _over_time(op)),
    *_lstm_projected(),
    *(case for op in GATES for case in _cell(op)),
]

REFUSED: list[Refusal] = []  # every option of torch.nn's recurrent modules works
