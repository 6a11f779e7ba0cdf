"""Checkpointing: segments of a program that keep their inputs alone, and compute the rest again.

    none    every entry keeps what its backward pass reads
    blocks  a segment is a block of layers: the innermost container of several, or outside of
            containers a layer with a weight matrix and what follows it
    sqrt    about sqrt(n) segments of n entries, which keep about the same number of bytes each

The last segment's backward pass follows right after its forward pass: it keeps what it reads.
Source: Chen et al. 2016, "Training deep nets with sublinear memory cost".
"""

from dataclasses import dataclass, field
from itertools import groupby, pairwise
from math import isqrt
from typing import Any

import torch
from torch import Tensor

from bptrain.tape.calls import Entry, Gradients, Like, numbers_in
from bptrain.tape.choices import Checkpointing
from bptrain.tape.program import Program, last_readers
from bptrain.tape.recorder import random_state


@dataclass(slots=True)
class Segment:
    """Entries that run once more, without what they change, before their backward pass.

    reads     the values from before it
    outputs   the values that are read after it
    released  of each entry, the values that nothing reads after it
    keeps     the bytes that it keeps, and nothing before it; known once they are measured
    """

    entries: list[Entry]
    reads: list[int]
    outputs: tuple[int, ...]
    likes: tuple[Like | None, ...]
    layer: str
    released: list[list[int]] = field(default_factory=list)
    keeps: int = 0

    @property
    def draws(self) -> bool:
        """Whether it draws random numbers."""
        return any(each.draws for each in self.entries)

    @property
    def returned_by(self) -> list[tuple[str, int]]:
        """None: the entries within know it."""
        return []

    @property
    def changes(self) -> None:
        """No value: segments are not repeated, as they do not nest."""
        return

    @property
    def structure(self) -> tuple[Any, ...]:
        """What it computes from which values."""
        return ("segment", *(each.structure for each in self.entries))

    def forward(self, values: Any) -> tuple[list[Any], Any]:
        """Write the outputs; return the inputs, and the state of the generators if it draws."""
        kept = self.kept(values)
        for entry, released in zip(self.entries, self.released, strict=True):
            entry.forward(values)
            for number in released:
                values[number] = None
        return kept

    def kept(self, values: Any) -> tuple[list[Any], Any]:
        """Return what it keeps: its inputs, and the state of the generators if it draws."""
        return [values[number] for number in self.reads], random_state() if self.draws else None

    def backward(self, gradients: Gradients, saved: tuple[list[Any], Any]) -> None:
        """Compute the forward pass again, then run the entries backward."""
        if all(gradients[number] is None for number in self.outputs):
            return
        inputs, generators = saved
        kept = self._again(dict(zip(self.reads, inputs, strict=True)), generators)
        for entry in reversed(self.entries):
            entry.backward(gradients, kept.pop())

    def _again(self, values: dict[int, Any], generators: Any) -> list[Any]:
        """Return what the entries keep, with the random numbers of the first time."""
        now = random_state() if generators else None
        if generators:
            set_random_state(generators)
        kept = []
        for entry, released in zip(self.entries, self.released, strict=True):
            kept.append(entry.forward(values) if entry.changes is None else None)
            for number in released:
                values.pop(number, None)
        if now:
            set_random_state(now)
        return kept


def segmented(program: Program, kind: Checkpointing) -> Program:
    """Return the program with its model's entries in segments."""
    if kind == "none":
        return program
    cuts = (_blocks if kind == "blocks" else _square_root)(program)
    bounds = [0, *cuts]
    made: list[Entry] = [
        _segment(program, first, last) for first, last in pairwise(bounds) if last > first
    ]
    rest = program.entries[bounds[-1] :]
    boundary = program.boundary - bounds[-1] + len(made)
    return program.with_entries([*made, *rest], boundary)


def _blocks(program: Program) -> list[int]:
    """Return where the segments end: before each block but the first one."""
    keys: list[Any] = []
    group = 0
    for entry in program.entries[: program.boundary]:
        container = entry.layer.rpartition(".")[0]
        group += not container and _has_matrix(program, entry)
        keys.append(container or group)
    sizes = [len(list(same)) for _, same in groupby(keys)]
    return [sum(sizes[: n + 1]) for n in range(len(sizes) - 1)]


def _has_matrix(program: Program, entry: Entry) -> bool:
    return any(
        number in program.fixed and program.fixed[number].dim() > 1 for number in entry.reads
    )


def _square_root(program: Program) -> list[int]:
    """Return where the segments end: each time that a share of the bytes is reached."""
    count = max(2, isqrt(program.boundary))
    kept = [getattr(entry, "keeps", 0) for entry in program.entries[: program.boundary]]
    share = sum(kept) / count
    ends: list[int] = []
    total = 0
    for place, each in enumerate(kept):
        total += each
        if total >= share * (len(ends) + 1) and len(ends) < count - 1:
            ends.append(place + 1)
    return ends


def _segment(program: Program, first: int, last: int) -> Segment:
    entries = program.entries[first:last]
    inside = {number for entry in entries for number in numbers_in(entry.outputs)}
    changed = {entry.changes for entry in entries}
    before = {number for entry in entries for number in entry.reads} - (inside - changed)
    later = {number for entry in program.entries[last:] for number in entry.reads}
    outputs = tuple(sorted((inside - changed) & (later | program.kept)))
    likes = {
        number: like
        for entry in entries
        for number, like in zip(entry.outputs, entry.likes, strict=True)
    }
    released: list[list[int]] = [[] for _ in entries]
    for number, place in last_readers(entries).items():
        if number in inside and number not in outputs and number not in changed:
            released[place].append(number)
    layer = entries[0].layer
    return Segment(
        entries, sorted(before), outputs, tuple(likes[n] for n in outputs), layer, released
    )


def set_random_state(states: list[Tensor]) -> None:
    """Set torch's generators as `random_state` returned them."""
    torch.set_rng_state(states[0])
    if len(states) > 1:
        torch.cuda.set_rng_state(states[1])
