"""Which neighbouring operations one fused operation computes: the table, and how it is applied.

A row holds where each operation of the chain is the only reader of the one before it, and nothing
else of that one is read. The fused operation's formula is the parts' own; its cases hold it equal.
Patterns apply to `kernels: fused` alone; `formula` runs the operations as they are written.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import torch

from bptrain.ops.conv import conv_function
from bptrain.ops.conv_relu import conv_relu_function
from bptrain.ops.cross_entropy import cross_entropy_function
from bptrain.ops.linear import linear_function
from bptrain.ops.linear_cross_entropy import linear_cross_entropy_function
from bptrain.ops.linear_relu import linear_relu_function
from bptrain.ops.max_pool import max_pool_function
from bptrain.ops.operation import Operation
from bptrain.ops.relu import relu_function
from bptrain.ops.relu_max_pool import relu_max_pool_function
from bptrain.ops.window import Window
from bptrain.tape.calls import Call, Entry, Function, Recorded, Value, numbers_in
from bptrain.tape.program import Program

VIEW = torch.ops.aten.view.default
LARGE = 2**22  # logits: below it a loss in chunks would save little memory


def _first_ones(chain: Sequence[Recorded]) -> tuple[Any, ...]:
    """Return the first operation's arguments."""
    return chain[0].arguments


def _head(chain: Sequence[Recorded]) -> tuple[Any, ...] | None:
    """Return the arguments of a loss in chunks, where the logits [N, K] are large."""
    first, last = chain[0], chain[-1]
    _, t, w, options = last.arguments
    logits = chain[-2].likes[0]
    if logits is None or len(logits.shape) != 2 or options.reduction == "none":
        return None
    return (*first.arguments, t, w, options) if logits.shape.numel() >= LARGE else None


class Pattern(NamedTuple):
    """A chain of operations, and what takes its place.

    chain      operations; functions of tensors stand in it too
    arguments  those of the fused operation, given the entries; None where it does not fit
    """

    chain: tuple[Any, ...]
    fused: Operation[Any]
    arguments: Callable[[Sequence[Recorded]], tuple[Any, ...] | None] = _first_ones


def _pooled(chain: Sequence[Recorded]) -> tuple[Any, ...] | None:
    """Return the rectifier's input and the window, if each window has one size."""
    window = chain[1].arguments[1]
    return (chain[0].arguments[0], window) if isinstance(window, Window) else None


PATTERNS = (  # in the order in which they are applied
    Pattern((relu_function, max_pool_function), relu_max_pool_function, _pooled),
    Pattern((linear_function, relu_function), linear_relu_function),
    Pattern((conv_function, relu_function), conv_relu_function),
    Pattern((linear_function, cross_entropy_function), linear_cross_entropy_function, _head),
    Pattern((linear_function, VIEW, cross_entropy_function), linear_cross_entropy_function, _head),
)


def fused(program: Program) -> Program:
    """Return the program with each chain that is in the table as one call."""
    for pattern in PATTERNS:
        program = _applied(pattern, program)
    return program


def _applied(pattern: Pattern, program: Program) -> Program:
    """Return the program with each chain of a pattern as one call."""
    entries: list[Entry | None] = list(program.entries)
    readers = _readers(program)
    for place in range(len(entries)):
        places = _chain(pattern, program, readers, place)
        if places is None or _parts_outputs(places, program):
            continue
        chain = [e for each in places if isinstance(e := program.entries[each], Call | Function)]
        arguments = pattern.arguments(chain)
        if arguments is None or any(entries[each] is None for each in places):
            continue
        for each in places[:-1]:
            entries[each] = None
        entries[places[-1]] = _merged(
            pattern.fused, [each for each in chain if isinstance(each, Call)], arguments
        )
    removed = entries[: program.boundary].count(None)
    return program.with_entries([e for e in entries if e is not None], program.boundary - removed)


def _chain(
    pattern: Pattern, program: Program, readers: dict[int, list[int]], place: int
) -> list[int] | None:
    """Return the places of a chain that begins at `place`, or None."""
    places = [place]
    for number, wanted in enumerate(pattern.chain):
        entry = program.entries[places[-1]]
        if not _is(entry, wanted) or _is_read(entry.outputs[1:], program, readers):
            return None
        if number == len(pattern.chain) - 1:
            return places
        output = entry.outputs[0]
        following = [] if output is None else readers.get(output, [])
        if output in program.kept or len(following) != 1:
            return None
        places.append(following[0])
    return None


def _is(entry: Entry, wanted: Any) -> bool:
    """Return whether an entry calls this operation, by its kernels, or this function."""
    if isinstance(entry, Function):
        return entry.function is wanted
    return isinstance(entry, Call) and entry.operation is wanted and entry.passes == wanted.fused


def _parts_outputs(places: list[int], program: Program) -> bool:
    """Return whether a chain leads from the model into the loss, while the outputs are needed."""
    return places[0] < program.boundary <= places[-1] and program.outputs is not None


def _is_read(
    outputs: tuple[int | None, ...], program: Program, readers: dict[int, list[int]]
) -> bool:
    return any(each in readers or each in program.kept for each in numbers_in(outputs))


def _readers(program: Program) -> dict[int, list[int]]:
    """Return, for each value, the places of the entries that read it."""
    readers: dict[int, list[int]] = {}
    for place, entry in enumerate(program.entries):
        for number in entry.reads:
            readers.setdefault(number, []).append(place)
    return readers


def _merged(fused: Operation[Any], calls: Sequence[Call], arguments: tuple[Any, ...]) -> Call:
    """Return the call of the fused operation; it writes what the last one of the chain wrote."""
    known = {
        argument: (need, dtype)
        for call in calls
        for argument, need, dtype in zip(call.arguments, call.needed, call.dtypes, strict=True)
        if isinstance(argument, Value)
    }
    return replace(
        calls[-1],
        operation=fused,
        passes=fused.fused,
        arguments=arguments,
        outputs=calls[-1].outputs[:1],
        likes=calls[-1].likes[:1],
        is_tuple=False,
        needed=tuple(known.get(each, (False, None))[0] for each in arguments),
        dtypes=tuple(known.get(each, (False, None))[1] for each in arguments),
        keeps=sum(call.keeps for call in calls),
        draws=any(call.draws for call in calls),
        layer=calls[0].layer,
    )
