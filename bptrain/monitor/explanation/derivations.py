"""The derivation of an operation, read from the docstring of its file: no formula is repeated.

Every docstring in `bptrain.ops` has a title and the headings Shapes, Forward, Backward, ... at the
start of a line. A line of the backward pass is indented by four, and ends with *because*.
"""

import re
import sys
from collections.abc import Iterator
from functools import cache
from inspect import cleandoc
from typing import Any, NamedTuple

from bptrain.ops.operation import Operation

HEADING = re.compile(r"([A-Z][A-Za-z0-9]*(?: [A-Z][0-9])?)(?:\s{2,}(.*))?$")
SHAPE = re.compile(r"\s{2,}\[[^\]=<>]*\]$")
SECOND = "For second derivatives"
BECAUSE = re.compile(r"\bbecause\b")
INDENT = 11  # of the lines below a heading


class Rule(NamedTuple):
    """A line of a backward pass.

    target   what it computes, such as "x'"
    formula  its lines, the first with the target
    because  the local derivative that it follows from; "" where the docstring gives none
    """

    target: str
    formula: tuple[str, ...]
    because: str


class Derivation(NamedTuple):
    """What the docstring of an operation says, line by line as it stands there."""

    title: str
    shapes: tuple[str, ...]
    forward: tuple[str, ...]
    backward: tuple[Rule, ...]
    source: str

    def rules_for(self, letter: str) -> list[Rule]:
        """Return the rules for the gradient by an input."""
        return [rule for rule in self.backward if rule.target == f"{letter}'"]


@cache
def derivation_of(module_name: str) -> Derivation | None:
    """Return the derivation in the file of an operation; None without docstrings (python -OO)."""
    text = getattr(sys.modules.get(module_name), "__doc__", None)
    return read(text) if text else None


def file_of(operation: Operation[Any]) -> str:
    """Return the module that holds an operation's formula."""
    return operation.formula.forward.__module__


def read(docstring: str) -> Derivation:
    """Return the derivation of a docstring."""
    title, found = sections_of(docstring)
    sections = dict(found)
    return Derivation(
        title=title,
        shapes=tuple(sections.get("Shapes", ())),
        forward=tuple(sections.get("Forward", ())),
        backward=tuple(_rules(sections.get("Backward", []))),
        source=" ".join(map(str.strip, sections.get("Source", ()))),
    )


def sections_of(docstring: str) -> tuple[str, list[tuple[str, list[str]]]]:
    """Return the title of a docstring, and each heading with its lines; "" stands for prose."""
    title, *lines = cleandoc(docstring).splitlines()
    return title, list(_sections(lines))


def _sections(lines: list[str]) -> Iterator[tuple[str, list[str]]]:
    name, found = "", list[str]()
    for line in lines:
        if heading := HEADING.match(line):
            yield name, found
            name, found = heading[1], [heading[2] or ""]
        elif name and line and not line.startswith(" "):
            yield name, found
            name, found = "", [line]
        elif name == "Backward":
            found.append(line)
        else:
            found.append(line[INDENT:] if not line[:INDENT].strip() else line.strip())
    yield name, found


def _rules(lines: list[str]) -> Iterator[Rule]:
    """Yield the rules among the lines below Backward; notes between them are left out.

    What second derivatives need besides comes last, and is no part of a training step.
    """
    for part in parts_of(lines):
        if isinstance(part, Rule):
            yield part
        elif SECOND in part:
            return


def parts_of(lines: list[str]) -> Iterator[Rule | str]:
    """Yield the rules among the lines below Backward, and each line of the notes between them."""
    rule: list[str] = []
    for line in filter(str.strip, lines):
        indent = len(line) - len(line.lstrip())
        if rule and indent > 4:
            rule.append(line.strip())
            continue
        if rule:
            yield _rule(rule)
        rule = [line.strip()] if indent == 4 else []
        if not rule:
            yield line.strip()
    if rule:
        yield _rule(rule)


def _rule(lines: list[str]) -> Rule:
    formula: list[str] = []
    because: list[str] = []
    for line in lines:
        is_formula = not because or line.startswith("= ")
        before, *after = BECAUSE.split(line, maxsplit=1) if is_formula else ("", line)
        before = SHAPE.sub("", before.strip())
        formula += [before.rstrip(",").rstrip()] * bool(before)
        because += [each.strip() for each in after]
    target = re.split(r"\s*\+?=\s", formula[0], maxsplit=1)[0]
    return Rule(base_of(target), tuple(formula), SHAPE.sub("", " ".join(because)))


def base_of(target: str) -> str:
    """Return the letter with its prime, without indices: x' of x'_nk, W_ih' of W'_ih."""
    found = re.match(r"([A-Za-z]+)'(_(?:ih|hh|hr)\b)?", target)
    return f"{found[1]}{found[2] or ''}'" if found else target.split()[0]
