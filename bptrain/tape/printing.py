"""A program as plain Python: one line an operation, forward and backward.

The text, run, defines `step`, whose arguments are the batch's tensors and a dict of the model's
parameters and buffers by name, and which returns the loss and the gradients by name. A segment's
forward pass stands in it twice: where it keeps its inputs alone, and before its backward pass.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves

from bptrain.free_memory import format_bytes
from bptrain.tape.calls import Call, Entry, Function, Like, Recorded, Rule, Value, numbers_in
from bptrain.tape.literals import Imports, import_lines, imported, written
from bptrain.tape.program import Program
from bptrain.tape.recorder import random_state
from bptrain.tape.segments import Segment, set_random_state

WIDTH = 56  # of a line before its comment


class Text:
    """The lines of a program, and how its values are called."""

    def __init__(self, program: Program, names: Mapping[int, str]) -> None:
        self.program = program
        self.places = {id(each): place for place, each in enumerate(_recorded(program.entries))}
        segments = [each for each in program.entries if isinstance(each, Segment)]
        self.numbers = {id(each): number for number, each in enumerate(segments, start=1)}
        self.imports: Imports = set()
        self.fixed = {
            number: f"tensors[{names[number]!r}]" if number in names else _constant(value)
            for number, value in program.fixed.items()
        } | {
            number: f"tensors[{names[number]!r}]"
            for carried in program.carried
            for number in carried.reads
        }
        inputs = [f"x{n}" for n in range(1, len(program.inputs) + 1)]
        self.names = dict(zip(program.inputs, inputs, strict=True)) | self.fixed
        self.arguments = list(dict.fromkeys(self.names[number] for number in program.inputs))
        self.parameters = {number: names[number] for number, _ in program.parameters}

    def lines(self) -> list[str]:
        """Return the whole text, line by line."""
        body = [*self._forward(), *self._backward()]
        return [
            "import torch",
            "",
            *import_lines(self.imports),
            "",
            "",
            f"def step({', '.join([*self.arguments, 'tensors'])}):",
            *(f"    {line}".rstrip() for line in _without_double_blanks(body)),
        ]

    def by_entry(self) -> list[tuple[Entry, list[str], list[str]]]:
        """Return each entry with its lines, forward and backward."""
        known = {self.program.loss}
        entries = self.program.entries
        backward = [self._run_back(entry, known) for entry in reversed(entries)]
        return [(e, self._run(e), b) for e, b in zip(entries, reversed(backward), strict=True)]

    def _forward(self) -> list[str]:
        lines = ["# forward"]
        for place, entry in enumerate(self.program.entries):
            if place == self.program.boundary:
                lines += ["", "# loss"]
            lines += self._run(entry)
        return [*lines, ""]

    def _run(self, entry: Entry) -> list[str]:
        if isinstance(entry, Call | Function):
            return self._computed(entry)
        assert isinstance(entry, Segment), "a program that is printed is not observed"
        keeps = f", keeps {format_bytes(entry.keeps)}" * bool(entry.keeps)
        lines = ["", f"# {self._segment(entry)}{keeps}"]
        if entry.draws:
            lines.append(f"{self._random(entry)} = {self._imported(random_state)}()")
        for each, released in zip(entry.entries, entry.released, strict=True):
            assert isinstance(each, Call | Function), "segments do not nest"
            lines += [*self._computed(each, is_kept=False), *self._deleted(released)]
        return [*lines, ""]

    def _deleted(self, numbers: Sequence[int]) -> list[str]:
        return [f"del {', '.join(map(self._name, numbers))}"] * bool(numbers)

    def _computed(self, entry: Recorded, is_kept: bool = True) -> list[str]:
        results = [self._name(number) for number in entry.outputs]
        shape = next((like for like in entry.likes if like is not None), None)
        said = [_shape(shape)]
        if isinstance(entry, Call) and entry.keeps and is_kept:
            said.append(f"keeps {format_bytes(entry.keeps)}")
        said.append(entry.layer)
        comment = "  ".join(filter(None, said))
        if isinstance(entry, Function):
            left = _tuple(results) if entry.is_tuple else results[0]
            return [_commented(f"{left} = {self._function(entry)}", comment)]
        left = f"({_tuple(results)})" if entry.is_tuple else results[0]
        keeps = self._saved(entry) if any(entry.needed) and is_kept else "_"
        inputs = [self._argument(each) for each in entry.arguments]
        call = f"{self._passes(entry, 'forward')}({', '.join(inputs + self._needs(entry))})"
        lines = [_commented(f"{left}, {keeps} = {call}", comment)]
        if entry.operation.precision.is_loss and shape is not None:
            lines.append(f"{results[0]} = {results[0]}.to({shape.dtype})")
        return lines

    def _function(self, entry: Function) -> str:
        arguments = [self._argument(each) for each in entry.arguments]
        options = [f"{name}={self._argument(each)}" for name, each in entry.options.items()]
        return f"torch.ops.{entry.function}({', '.join(arguments + options)})"

    def _backward(self) -> list[str]:
        loss, lines = self.program.loss, ["# backward"]
        known = {loss}
        lines.append(f"{_gradient(loss)} = torch.ones_like({self._name(loss)})")
        for entry in reversed(self.program.entries):
            lines += self._run_back(entry, known)
        gradients = [
            f"{name!r}: {_gradient(number)}"
            for number, name in self.parameters.items()
            if number in known
        ]
        return [*lines, "", f"return {self._name(loss)}, {{{', '.join(gradients)}}}"]

    def _run_back(self, entry: Entry, known: set[int]) -> list[str]:
        if known.isdisjoint(numbers_in(entry.outputs)):
            return []
        if isinstance(entry, Call | Function):
            return self._step_back(entry, known)
        assert isinstance(entry, Segment), "a program that is printed is not observed"
        lines = ["", f"# {self._segment(entry)}, again", *self._again(entry)]
        lines += ["", f"# {self._segment(entry)}, backward"]
        for each in reversed(entry.entries):
            lines += self._run_back(each, known)
        return [*lines, ""]

    def _again(self, segment: Segment) -> list[str]:
        """Return the lines of a segment's forward pass, with the random numbers of the first."""
        lines = []
        for each, released in zip(segment.entries, segment.released, strict=True):
            assert isinstance(each, Call | Function), "segments do not nest"
            lines += self._computed(each) if each.changes is None else []
            lines += self._deleted(released)
        if not segment.draws:
            return lines
        restored, now = self._imported(set_random_state), f"now = {self._imported(random_state)}()"
        return [now, f"{restored}({self._random(segment)})", *lines, f"{restored}(now)"]

    def _step_back(self, entry: Recorded, known: set[int]) -> list[str]:
        upstream = [
            self._upstream(n, like, known)
            for n, like in zip(entry.outputs, entry.likes, strict=True)
        ]
        if isinstance(entry, Function):
            if entry.rule is None:
                return []
            return self._added([entry.arguments[0]], self._rule(entry.rule, upstream), known, entry)
        traits = entry.operation.traits
        if len(upstream) > 1:
            upstream = [
                "None" if n in traits.optional_gradients and not _is_known(number, known) else name
                for n, (number, name) in enumerate(zip(entry.outputs, upstream, strict=True))
                if n not in traits.non_differentiable
            ]
        call = f"{self._passes(entry, 'backward')}("
        needs = [each.removeprefix("needs=") for each in self._needs(entry)]
        call += ", ".join([*upstream, self._saved(entry), *needs]) + ")"
        targets = [each for each, need in zip(entry.arguments, entry.needed, strict=True) if need]
        lines = self._added(targets, call, known, entry)
        freed = f"releases {format_bytes(entry.keeps)}" * bool(entry.keeps)
        return [*lines, _commented(f"del {self._saved(entry)}", freed)]

    def _added(
        self, targets: list[Value], call: str, known: set[int], entry: Recorded
    ) -> list[str]:
        """Return the lines that add the gradients that a call returns to those that are known."""
        numbers = [each.number for each in targets]
        places = [
            f"g{number}" if number not in known and numbers.count(number) == 1 else f"more{n}"
            for n, number in enumerate(numbers)
        ]
        left = self._left(places, entry)
        lines = [_commented(f"{left} = {call}", entry.layer)]
        for number, name in zip(numbers, places, strict=True):
            if name.startswith("more"):
                lines.append(
                    f"g{number} = g{number} + {name}" if number in known else f"g{number} = {name}"
                )
            known.add(number)
        return [*lines, *self._casts(numbers, entry)]

    def _left(self, names: list[str], entry: Recorded) -> str:
        """Return the left side of an assignment of gradients, `_` for those that are not needed."""
        if isinstance(entry, Function) or (
            entry.operation.needs is None and not entry.operation.is_variadic
        ):
            return names[0]
        left = iter(names)
        places = entry.operation.differentiable
        if entry.operation.is_variadic:
            places = tuple(range(len(entry.operation.inputs) - 1, len(entry.needed)))
        parts = [next(left) if entry.needed[place] else "_" for place in places]
        return _tuple(parts)

    def _casts(self, numbers: list[int], entry: Recorded) -> list[str]:
        if isinstance(entry, Function) or not entry.autocast:
            return []
        likes = [like for like, need in zip(entry.read, entry.needed, strict=True) if need and like]
        return [f"g{n} = g{n}.to({like.dtype})" for n, like in zip(numbers, likes, strict=True)]

    def _upstream(self, number: int | None, like: Like | None, known: set[int]) -> str:
        if number is None or like is None:
            return "None"
        if number in known:
            return _gradient(number)
        return f"torch.zeros({list(like.shape)}, dtype={like.dtype}, device={like.device.type!r})"

    def _rule(self, rule: Rule, upstream: list[str]) -> str:
        name = str(rule.function)
        if rule.function in (Tensor.to, Tensor.sum_to_size):
            name = f"torch.Tensor.{rule.function.__name__}"
        elif rule.function in (torch.stack, torch.cat):
            name = f"torch.{rule.function.__name__}"
        else:
            name = f"torch.ops.{name}"
        given = f"[{', '.join(upstream)}]" if rule.joins else upstream[0]
        more = [written(each, self.imports) for each in rule.arguments]
        return f"{name}({', '.join([given, *more])})"

    def _passes(self, entry: Call, way: str) -> str:
        return self._imported(getattr(entry.passes, way))

    def _imported(self, function: Callable[..., Any]) -> str:
        return imported(function.__module__, function.__name__, self.imports)

    def _needs(self, entry: Call) -> list[str]:
        op = entry.operation
        if op.is_variadic:
            return [f"needs={entry.needed[len(op.inputs) - 1 :]}"]
        if op.needs is None:
            return []
        return [written(op.needs(*[entry.needed[k] for k in op.differentiable]), self.imports)]

    def _argument(self, argument: Any) -> str:
        if isinstance(argument, Value):
            return self._name(argument.number)
        if isinstance(argument, list | tuple) and any(
            isinstance(e, Value) for e in tree_leaves(argument)
        ):
            return f"[{', '.join(map(self._argument, argument))}]"
        return written(argument, self.imports)

    def _saved(self, entry: Recorded) -> str:
        return f"saved{self.places[id(entry)]}"

    def _segment(self, segment: Segment) -> str:
        return f"segment {self.numbers[id(segment)]}" + f" ({segment.layer})" * bool(segment.layer)

    def _random(self, segment: Segment) -> str:
        return f"random{self.numbers[id(segment)]}"

    def _name(self, number: int | None) -> str:
        return "_" if number is None else self.names.get(number, f"v{number}")


def _recorded(entries: Sequence[Entry]) -> Iterator[Recorded]:
    """Yield the entries, those of a segment in its place."""
    for entry in entries:
        if isinstance(entry, Segment):
            yield from _recorded(entry.entries)
        elif isinstance(entry, Call | Function):
            yield entry


def _without_double_blanks(lines: list[str]) -> list[str]:
    return [line for before, line in pairwise(["", *lines]) if before or line]


def _tuple(names: list[str]) -> str:
    return f"{', '.join(names)}{',' * (len(names) == 1)}"


def _constant(value: Tensor) -> str:
    return f"torch.tensor({value.tolist()}, dtype={value.dtype}, device={value.device.type!r})"


def _gradient(number: int) -> str:
    return f"g{number}"


def _is_known(number: int | None, known: set[int]) -> bool:
    return number is not None and number in known


def _shape(like: Like | None) -> str:
    return "" if like is None else str(list(like.shape))


def _commented(line: str, comment: str) -> str:
    return f"{line.ljust(WIDTH)}  # {comment}" if comment else line


def text_of(program: Program, names: Mapping[int, str]) -> str:
    """Return the text of a program; `names` are those of parameters and buffers, by number.

    Raises ValueError for an argument that cannot be written.
    """
    return "\n".join(Text(program, names).lines()) + "\n"
