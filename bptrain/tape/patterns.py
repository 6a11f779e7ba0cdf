"""Which neighbouring operations one fused operation computes: the table, and how it is applied.

A row holds where each operation of the chain is the only reader of the one before it, and nothing
else of that one is read. The fused operation's formula is the parts' own; its cases hold it equal.
Patterns apply to `kernels: fused` alone; `formula` runs the operations as they are written.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import torch

from bptrain.ops.add import add_function
from bptrain.ops.batch_norm import batch_norm_function
from bptrain.ops.batch_norm_relu import batch_norm_relu_function
from bptrain.ops.conv import conv_function
from bptrain.ops.conv_relu import conv_relu_function
from bptrain.ops.cross_entropy import cross_entropy_function
from bptrain.ops.dropout import dropout_function
from bptrain.ops.linear import linear_function
from bptrain.ops.linear_cross_entropy import linear_cross_entropy_function
from bptrain.ops.linear_relu import linear_relu_function
from bptrain.ops.max_pool import max_pool_function
from bptrain.ops.operation import Operation
from bptrain.ops.relu import relu_function
from bptrain.ops.relu_dropout import relu_dropout_function
from bptrain.ops.relu_max_pool import relu_max_pool_function
from bptrain.ops.window import Window
from bptrain.tape.calls import Call, Entry, Function, Like, Recorded, Value, numbers_in
from bptrain.tape.program import Program

VIEW = torch.ops.aten.reshape.default
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
    carries    whether the first one's further outputs, such as running statistics, are the fused
               operation's too: it then runs in the first one's place
    """

    chain: tuple[Any, ...]
    fused: Operation[Any]
    arguments: Callable[[Sequence[Recorded]], tuple[Any, ...] | None] = _first_ones
    carries: bool = False


def _normalized(chain: Sequence[Recorded]) -> tuple[Any, ...] | None:
    """Return x, no residual, and what else the normalization takes; an empty batch has none."""
    x, *others = chain[0].arguments
    return (x, None, *others) if all(_like(chain[0]).shape) else None


def _with_residual(chain: Sequence[Recorded]) -> tuple[Any, ...] | None:
    """Return x, the residual, which must be like x, and what else the normalization takes."""
    norm, added = chain[0], chain[1]
    x, *others = norm.arguments
    output = Value(numbers_in(norm.outputs)[0])
    residuals = [each for each in added.arguments[:2] if each != output]
    is_sum = len(residuals) == 1 and added.arguments[2] == 1
    alike = isinstance(added, Call) and {*added.read[:2]} == {_like(norm)}
    return (x, residuals[0], *others) if is_sum and alike and all(_like(norm).shape) else None


def _like(entry: Recorded) -> Like:
    """Return what the first output is like."""
    first = entry.likes[0]
    assert first is not None, "the first output of an operation is computed"
    return first


def _pooled(chain: Sequence[Recorded]) -> tuple[Any, ...] | None:
    """Return the rectifier's input and the window, if each window has one size."""
    window = chain[1].arguments[1]
    return (chain[0].arguments[0], window) if isinstance(window, Window) else None


def _dropped(chain: Sequence[Recorded]) -> tuple[Any, ...] | None:
    """Return the rectifier's input and p, unless every unit is dropped."""
    p = chain[1].arguments[1]
    return (chain[0].arguments[0], p) if p < 1 else None


PATTERNS = (  # in the order in which they are applied
    Pattern((relu_function, dropout_function), relu_dropout_function, _dropped),
    Pattern((relu_function, max_pool_function), relu_max_pool_function, _pooled),
    Pattern((linear_function, relu_function), linear_relu_function),
    Pattern((conv_function, relu_function), conv_relu_function),
    Pattern((batch_norm_function, relu_function), batch_norm_relu_function, _normalized, True),
    Pattern(
        (batch_norm_function, add_function, relu_function),
        batch_norm_relu_function,
        _with_residual,
        True,
    ),
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
        at = places[0] if pattern.carries else places[-1]
        if _are_later(arguments, at, program):
            continue
        for each in places:
            entries[each] = None
        calls = [each for each in chain if isinstance(each, Call)]
        entries[at] = _merged(pattern, calls, arguments)
    removed = entries[: program.boundary].count(None)
    return program.with_entries([e for e in entries if e is not None], program.boundary - removed)


def _chain(
    pattern: Pattern, program: Program, readers: dict[int, list[int]], place: int
) -> list[int] | None:
    """Return the places of a chain that begins at `place`, or None."""
    places = [place]
    for number, wanted in enumerate(pattern.chain):
        entry = program.entries[places[-1]]
        if not _is(entry, wanted):
            return None
        carried = pattern.carries and number == 0
        if not carried and _is_read(entry.outputs[1:], program, readers):
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


def _are_later(arguments: tuple[Any, ...], at: int, program: Program) -> bool:
    """Return whether an argument is only computed after the entry at this place."""
    later = {n for entry in program.entries[at:] for n in numbers_in(entry.outputs)}
    later -= program.fixed.keys()  # running statistics, which are changed later
    return any(isinstance(each, Value) and each.number in later for each in arguments)


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


def _merged(pattern: Pattern, calls: Sequence[Call], arguments: tuple[Any, ...]) -> Call:
    """Return the call of the fused operation; it writes what the last one of the chain wrote."""
    fused, first, last = pattern.fused, calls[0], calls[-1]
    carried = slice(1, None) if pattern.carries else slice(0)
    known = {
        argument: (need, like)
        for call in calls
        for argument, need, like in zip(call.arguments, call.needed, call.read, strict=True)
        if isinstance(argument, Value)
    }
    return replace(
        last,
        operation=fused,
        passes=fused.fused,
        arguments=arguments,
        outputs=(*last.outputs[:1], *first.outputs[carried]),
        likes=(*last.likes[:1], *first.likes[carried]),
        is_tuple=pattern.carries,
        needed=tuple(known.get(each, (False, None))[0] for each in arguments),
        read=tuple(known.get(each, (False, None))[1] for each in arguments),
        keeps=sum(call.keeps for call in calls),
        draws=any(call.draws for call in calls),
        layer=first.layer,
    )
