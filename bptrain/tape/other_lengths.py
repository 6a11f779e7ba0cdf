"""A record of packed sequences, for a batch whose sequences have other lengths.

The places of packed rows are constants of a record, and their time steps an argument of each scan:
both are computed anew from a batch's lengths. Whether anything else depends on them is seen in the
first batch with other lengths. It is recorded and compared with autograd, as the first one was, and
must be, entry by entry, what the first record is with the lengths of this one. What is not seen so
is a choice by a number of rows that both have in common: a program therefore holds for no other
lengths where code of the model's own reads the shape of something packed, or the loss reads it.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves

from bptrain.ops.bptt import bptt_function
from bptrain.ops.packed_rows import rows_of_lengths
from bptrain.tape.calls import Call, Entry, Function, Like, Value, numbers_in
from bptrain.tape.compiled import CompiledProgram
from bptrain.tape.packings import Packing
from bptrain.tape.program import Program


def for_batch(
    program: Program | CompiledProgram, tensors: Sequence[Tensor]
) -> Program | CompiledProgram:
    """Return a program for the lengths of a batch, itself where it depends on none.

    Raises ValueError for lengths that no sequences have.
    """
    if isinstance(program, CompiledProgram) or not program.packings:
        return program
    return with_lengths_of(program, tensors)


def with_lengths_of(program: Program, tensors: Sequence[Tensor]) -> Program:
    """Return a program with the places and time steps of a batch's sequences."""
    fixed, packings = dict(program.fixed), []
    for each in program.packings:
        lengths = tensors[program.inputs.index(each.lengths)]
        found = rows_of_lengths(lengths, each.steps, each.device)
        fixed |= zip(each.numbers, found, strict=True)
        packings.append(each._replace(sizes=tuple(found.batch_sizes.tolist())))
    entries = list(program.entries)
    for place, number in _scans(program):
        entries[place] = _over(entries[place], program.packings[number], packings[number])
    made = replace(program, entries=entries, fixed=fixed, packings=packings)
    # which values are released, and when a gradient is complete, depends on no lengths
    vars(made).update(released=program.released, completed=program.completed)
    return made


def are_those_of(program: Program, tensors: Sequence[Tensor]) -> bool:
    """Return whether a batch has the lengths that a program was made for."""
    for each in program.packings:
        lengths = tensors[program.inputs.index(each.lengths)]
        found = rows_of_lengths(lengths, each.steps, each.device)
        if not all(map(torch.equal, found, (program.fixed[n] for n in each.numbers))):
            return False
    return True


def decided(known: Program | None, other: Program, tensors: Sequence[Tensor]) -> bool | None:
    """Return whether a record holds for all lengths: whether another one is it with other lengths.

    None where that is not seen yet: there is no record, or both have as many rows, so that what
    depends on their number would look like what does not.

    tensors  of the batch that `other` was recorded of
    """
    if known is None:
        return None
    before, now = ([each.rows for each in program.packings] for program in (known, other))
    if len(before) != len(now):
        return False
    if any(a == b for a, b in zip(before, now, strict=True)):
        return None
    return _are_alike(with_lengths_of(known, tensors), other) and _is_inside(
        other, _of_other_shapes(known, other)
    )


def _scans(program: Program) -> list[tuple[int, int]]:
    """Return the places of scans over packed rows, and which packing each is of."""
    return [
        (place, number)
        for place, entry in enumerate(program.entries)
        if isinstance(entry, Call) and entry.operation is bptt_function
        for number, packing in enumerate(program.packings)
        if entry.arguments[-1].steps.sizes is packing.sizes
    ]


def _over(entry: Entry, before: Packing, now: Packing) -> Call:
    """Return a scan over the time steps of other lengths."""
    assert isinstance(entry, Call), "a scan is a call of an operation"
    *others, scan = entry.arguments
    scan = scan._replace(steps=scan.steps._replace(sizes=now.sizes))
    y, *rest = entry.likes  # of the rest, none is made as zeros whose size depends on lengths
    assert y is not None, "a scan puts out y"
    y = Like(torch.Size([now.rows, *y.shape[1:]]), y.dtype, y.device)
    return replace(entry, arguments=(*others, scan), likes=(y, *rest))


def _are_alike(one: Program, other: Program) -> bool:
    """Return whether two programs compute the same of the same batch."""
    return (
        one.fixed.keys() == other.fixed.keys()
        and _shape(one) == _shape(other)
        and all(_are_equal(each, other.fixed[n]) for n, each in one.fixed.items())
        and list(map(_meaning, one.entries)) == list(map(_meaning, other.entries))
    )


def _shape(program: Program) -> tuple[Any, ...]:
    parameters = [(number, id(each)) for number, each in program.parameters]
    whole = (program.boundary, program.inputs, program.outputs, program.loss, program.values)
    return (*whole, parameters, list(program.carried))


def _meaning(entry: Entry) -> tuple[Any, ...]:
    """Return all that an entry computes with, but for the values that it reads."""
    if isinstance(entry, Call):
        read = tuple([each and each.dtype for each in entry.read])
        passes = (entry.operation, entry.passes, entry.needed, entry.autocast)
        return (*passes, entry.arguments, read, entry.outputs, entry.is_tuple)
    assert isinstance(entry, Function), "a record has no other entries"
    function = (entry.function, entry.rule)
    return (*function, entry.arguments, entry.options, entry.outputs, entry.is_tuple)


def _are_equal(one: Tensor, other: Tensor) -> bool:
    return one is other or (one.dtype == other.dtype and torch.equal(one, other))


def _of_other_shapes(known: Program, other: Program) -> set[int]:
    """Return the numbers of the values whose shape depends on the lengths."""
    return {
        number
        for one, two in zip(known.entries, other.entries, strict=True)
        for number, a, b in zip(one.outputs, one.likes, two.likes, strict=True)
        if number is not None and a != b
    }


def _is_inside(program: Program, packed: set[int]) -> bool:
    """Return whether values of these numbers stay within operations that take any number of rows.

    A gradient that the loss does not have is made as zeros of the shape that was recorded: of
    entries with several outputs, a scan alone is given that shape anew.
    """
    outputs = {each.number for each in tree_leaves(program.outputs) if isinstance(each, Value)}
    of_loss = program.entries[program.boundary :]
    read = {number for each in of_loss for number in (*each.reads, *numbers_in(each.outputs))}
    several = {
        number
        for each in program.entries
        if len(_differentiable(each)) > 1
        and not (isinstance(each, Call) and each.operation is bptt_function)
        for number in _differentiable(each)
    }
    return packed.isdisjoint(outputs | read | several | program.shapes_read)


def _differentiable(entry: Entry) -> list[int]:
    """Return the numbers of the outputs that have a gradient."""
    without = entry.operation.traits.non_differentiable if isinstance(entry, Call) else ()
    return [n for place, n in enumerate(entry.outputs) if n is not None and place not in without]
