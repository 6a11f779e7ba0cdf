"""Recurrent layers, compiled: the loop over time stays, its cell is one kernel each way.

As one graph, a loop takes minutes to compile. Its products are the library's anyhow; what is left
are a cell's equations, of which cell_code.py makes the kernels: of the lines of the derivation.
"""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor

from bptrain.ops.bptt import bptt_function
from bptrain.ops.lstm import LSTM
from bptrain.ops.scan import Cell, Kernels, State
from bptrain.tape.calls import Call, Entry
from bptrain.tape.cell_code import TYPES, CompiledEquations, Lines
from bptrain.tape.compiled import (
    CompiledProgram,
    NotCompiledError,
    failure,
    refuse_what_is_not_compiled,
    with_norms_by_formula,
)
from bptrain.tape.compiler_cache import compiled_despite_damage
from bptrain.tape.program import Program

Kinds = tuple[str, ...]  # for each tensor, which of the Dtypes it has


class Dtypes(NamedTuple):
    """Of a recurrent layer: that of a, biases and weights, and that of y and the states."""

    products: torch.dtype
    states: Any  # None where h has another one than c

    @property
    def have_code(self) -> bool:
        """Whether a kernel computes with both."""
        return all(map(TYPES.__contains__, self)) and len({TYPES[each][1] for each in self}) == 1


def compiled(program: Program, tensors: Sequence[Tensor]) -> Program | CompiledProgram:
    """Return a program as compiled code for the tensors of a batch: whole, or its cells alone.

    Raises NotCompiledError.
    """
    refuse_what_is_not_compiled(program)
    if not has_cells(program):
        return CompiledProgram(with_norms_by_formula(program), tensors)
    if reason := why_not(program):
        raise NotCompiledError(reason)
    return with_compiled_cells(program)


def has_cells(program: Program) -> bool:
    """Return whether there is a recurrent layer in a program."""
    return any(
        isinstance(each, Call) and each.operation is bptt_function for each in program.entries
    )


def why_not(program: Program) -> str | None:
    """Return why the cells of a program cannot be compiled, None if they can."""
    for each in program.entries:
        if isinstance(each, Call) and each.operation is bptt_function:
            *_, w_hr, _, _, _ = each.arguments
            dtypes, device = dtypes_of(each), _device(each)
            if each.passes != bptt_function.fused:
                return "by the formulas a recurrent layer is a loop, too long for one graph"
            if w_hr is not None:
                return "a cell with a projection is not compiled"
            if device != "cpu" or not dtypes.have_code:
                return f"no cell is compiled for {dtypes.products} on {device}"
    return None


def with_compiled_cells(program: Program) -> Program:
    """Return the program with its cells compiled; layers alike share the code.

    Raises NotCompiledError.
    """
    made: dict[Any, Kernels] = {}
    entries = [_with_kernels(each, made) for each in program.entries]
    return program.with_entries(entries, program.boundary)


def _with_kernels(entry: Entry, made: dict[Any, Kernels]) -> Entry:
    if not isinstance(entry, Call) or entry.operation is not bptt_function:
        return entry
    *others, scan = entry.arguments
    key = (scan.cell, dtypes_of(entry))
    if key not in made:
        made[key] = kernels_of(*key)
    return replace(entry, arguments=(*others, scan._replace(kernels=made[key])))


def _device(entry: Call) -> str:
    first = entry.read[0]
    assert first is not None, "a recurrent layer reads a tensor"
    return first.device.type


def dtypes_of(entry: Call) -> Dtypes:
    """Return the dtypes of a recurrent layer; autocast may keep its states wide."""
    x, *_, h_0, c_0, _ = entry.read
    assert x is not None, "a recurrent layer reads a tensor"
    assert h_0 is not None, "and begins with a state"
    return Dtypes(x.dtype, h_0.dtype if c_0 is None or c_0.dtype == h_0.dtype else None)


def kernels_of(cell: Cell, dtypes: Dtypes) -> Kernels:
    """Return a cell's equations as compiled code. Raises NotCompiledError."""
    try:
        forward, backward = (
            compiled_despite_damage(
                partial(CompiledEquations, lines, [getattr(dtypes, each) for each in kinds])
            ).over
            for lines, kinds in lines_of(cell)
        )
    except Exception as error:  # whatever the compiler raises
        raise failure(error) from error
    return Kernels(forward, backward)


def lines_of(cell: Cell) -> tuple[tuple[Lines, Kinds], tuple[Lines, Kinds]]:
    """Return a step and a step back as functions of all the tensors of `Kernels`, and their kinds.

    They return what is written to each tensor, None where nothing is.
    """
    width, states = cell.in_place.width, 2 if cell is LSTM else 1
    gates = width if cell.in_place.saves_gates else 0

    def step(given: Sequence[Any]) -> tuple[Any, ...]:
        a, biases, (s, *_) = _cut(given, width, width)
        found, activated = cell.equations.forward(
            tuple(x + b for x, b in zip(a, biases, strict=True)), s
        )
        kept = activated or (None,) * width
        return (*kept, *(None,) * width, None, *found)

    def step_back(given: Sequence[Any]) -> tuple[Any, ...]:
        grad_y, *others = given
        grads, activated, (s, s_t, *_) = _cut(others, states, gates)
        found, before = cell.equations.backward((grads[0] + grad_y, *grads[1:]), activated, s, s_t)
        return (None, *before, *(None,) * gates, None, None, *found)

    of_step = ("products",) * 2 * width + ("states",) * (1 + states)
    of_step_back = ("states",) * (1 + states) + ("products",) * gates
    of_step_back += ("states",) * 2 + ("products",) * width
    return (step, of_step), (step_back, of_step_back)


def _cut(given: Sequence[Any], first: int, second: int) -> tuple[State, State, State]:
    return (
        tuple(given[:first]),
        tuple(given[first : first + second]),
        tuple(given[first + second :]),
    )
