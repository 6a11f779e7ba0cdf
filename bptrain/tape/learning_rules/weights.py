"""Which calls of a program send errors back through a weight matrix, and how they are named."""

from collections import Counter
from typing import NamedTuple

from torch import Tensor

from bptrain.ops.conv import conv_function
from bptrain.ops.conv_transpose import conv_transpose_function
from bptrain.ops.linear import linear_function
from bptrain.tape.calls import Call
from bptrain.tape.program import Program
from bptrain.tape.recorder import OffTapeError

CHANGED = (linear_function, conv_function, conv_transpose_function)


class Changed(NamedTuple):
    """A program by a learning rule.

    names  of the feedback matrices among its fixed values, by number
    """

    program: Program
    names: dict[int, str]

    @property
    def matrices(self) -> dict[str, Tensor]:
        """The feedback matrices by name."""
        return {name: self.program.fixed[number] for number, name in self.names.items()}


class Weighted(NamedTuple):
    """A call of a linear layer or convolution whose input has a gradient.

    place  in the program
    name   of its layer; with a number from the second call of a layer on
    """

    place: int
    call: Call
    name: str


def weighted_calls(program: Program) -> list[Weighted]:
    """Return the calls that a rule changes: of a first layer, whose input has no gradient, none.

    Raises OffTapeError if another operation sends errors back through a weight matrix.
    """
    calls: Counter[str] = Counter()
    found = []
    for place, entry in enumerate(program.entries):
        if not isinstance(entry, Call) or not has_weights(entry):
            continue
        calls[entry.layer] += 1
        times = calls[entry.layer]
        if not sends_back(entry):
            continue
        if entry.operation not in CHANGED:
            raise OffTapeError(
                f"{entry.layer or 'the model'} ({entry.operation.name}) sends errors back through "
                "weights; the rule is one for linear layers and convolutions"
            )
        found.append(Weighted(place, entry, entry.layer + f" {times}" * (times > 1)))
    return found


def sends_back(call: Call) -> bool:
    """Return whether errors pass through its weights: to its inputs, or its own earlier steps."""
    names = call.operation.inputs
    reaches = (need for name, need in zip(names, call.needed, strict=True) if name in ("x", "z"))
    return "W_hh" in names or any(reaches)


def has_weights(call: Call) -> bool:
    """Return whether an operation has a matrix of weights, which the legend writes W."""
    return any(name.startswith("W") for name in call.operation.inputs)
