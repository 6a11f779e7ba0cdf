"""YAML as plain data: a reader that can run nothing, and a writer whose text it reads back.

The reader walks PyYAML's *events*, lazily: no constructor ever runs, no alias is expanded, and a
nesting bomb is refused at its 33rd level. Scalars follow the YAML 1.2 core schema, so `1e-3` is a
number, and `no`, `1_000` and `12:30:45` are text.
"""

import json
import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from functools import lru_cache
from os import PathLike
from pathlib import Path
from textwrap import wrap
from typing import TypeAlias

import yaml

from bptrain.errors import UsageError

KeyPath: TypeAlias = tuple[str | int, ...]
Scalar: TypeAlias = str | int | float | bool | None
Plain: TypeAlias = "Scalar | list[Plain] | dict[str, Plain]"

MAX_BYTES = 256 * 1024
MAX_DEPTH = 32
MAX_NUMBER = 400  # characters; far below the 4300 digits at which Python's int() raises
LINE_WIDTH = 100

_WORDS: dict[str, bool | None] = {
    "": None, "~": None, "null": None, "Null": None, "NULL": None,
    "true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False,
}  # fmt: skip
_NUMBERS: list[tuple[re.Pattern[str], Callable[[str], int | float]]] = [
    (re.compile(r"[-+]?[0-9]+"), int),
    (re.compile(r"0o[0-7]+"), lambda text: int(text, 8)),
    (re.compile(r"0x[0-9a-fA-F]+"), lambda text: int(text, 16)),
    (re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?"), float),
    (
        re.compile(r"[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)"),
        lambda text: float(text.replace(".", "")),
    ),
]
# Quoted scalars can spell what the raw text may not hold, NUL and lone surrogates among it.
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff]")
_PLAIN = re.compile(r"[A-Za-z_/][A-Za-z0-9_/.:-]*(?<!:)")
# The last six are text to us, but booleans to the YAML 1.1 readers of other tools.
_QUOTED_WORDS = {"null", "true", "false", "y", "n", "yes", "no", "on", "off"}


@dataclass(frozen=True)
class Problem:
    """One thing wrong with one value; an empty text is not shown.

    spoils  whether the value read in its place is not the user's, so that no more can be said of it
    """

    path: KeyPath
    line: int
    given: str
    allowed: str = ""
    why: str = ""
    meant: str = ""
    spoils: bool = True


@dataclass(frozen=True)
class Tree:
    """What was read: the data, the line (from 1) of each key path, and all that is wrong.

    root   holds a stand-in, None, wherever a value could not be taken over
    whole  is False where reading had to stop; root is None then
    """

    root: Plain
    lines: dict[KeyPath, int]
    problems: list[Problem]
    whole: bool


def read_text(path: str | PathLike[str]) -> str:
    """Return the text of a UTF-8 file of at most 256 KiB; raise UsageError otherwise."""
    try:
        with Path(path).open("rb") as file:
            content = file.read(MAX_BYTES + 1)
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path
        why = getattr(error, "strerror", None) or str(error)
        raise UsageError(f"cannot read the config {path}", why) from error
    if len(content) > MAX_BYTES:
        raise UsageError(
            f"{path}: too large for a config", f"it may have {MAX_BYTES // 1024} KiB at most"
        )
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise UsageError(f"{path}:{line}: not UTF-8 text", str(error.reason)) from error


def read_tree(text: str) -> Tree:
    """Read one YAML document; an empty one reads as None."""
    return deepcopy(_read(text))


@lru_cache(maxsize=32)  # a run reads the text of its config three times
def _read(text: str) -> Tree:
    reader = _Reader(text)
    try:
        root = reader.document()
    except _StopError as stop:
        return Tree(None, reader.lines, [*reader.problems, stop.problem], whole=False)
    return Tree(root, reader.lines, reader.problems, whole=True)


def write(value: Plain) -> str:
    """Return `value` as YAML on one line, which reads back as the same value and type."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{write(key)}: {write(item)}" for key, item in value.items()) + "}"
    if isinstance(value, Sequence) and not isinstance(value, str):
        return "[" + ", ".join(map(write, value)) + "]"
    if isinstance(value, str):
        return _write_text(value)
    if isinstance(value, float):
        return _write_float(value)
    return "null" if value is None else str(value).lower()  # true, false or an integer


def dotted(path: KeyPath) -> str:
    """Return a key path as a user spells it."""
    return ".".join(str(part) if isinstance(part, int) else write(part) for part in path)


def write_lines(
    tree: Mapping[str, Plain], comments: Mapping[KeyPath, str], above: KeyPath = ()
) -> Iterator[str]:
    """Yield the lines of `tree`, one key each, below the comment that its path has."""
    indent = "  " * len(above)
    for key, value in tree.items():
        path = (*above, key)
        if comments and not above:
            yield ""
        yield from comment_lines(comments.get(path, ""), f"{indent}# ")
        if isinstance(value, dict) and value:
            yield f"{indent}{write(key)}:"
            yield from write_lines(value, comments, path)
        else:
            yield f"{indent}{write(key)}: {write(value)}"


def comment_lines(comment: str, prefix: str) -> list[str]:
    """Return a comment in lines that each begin with `prefix`."""
    return wrap(
        comment,
        LINE_WIDTH,
        initial_indent=prefix,
        subsequent_indent=prefix,
        break_long_words=False,
        break_on_hyphens=False,
    )


def _write_text(text: str) -> str:
    if _PLAIN.fullmatch(text) and text.lower() not in _QUOTED_WORDS:
        return text
    return "".join(
        letter if letter.isprintable() else f"\\U{ord(letter):08x}"
        for letter in json.dumps(text, ensure_ascii=False)
    )


def _write_float(number: float) -> str:
    if not math.isfinite(number):
        return {math.inf: ".inf", -math.inf: "-.inf"}.get(number, ".nan")
    # `1e-05` is text to the YAML 1.1 readers of other tools, `1.0e-05` a number to all.
    return re.sub(r"^(-?[0-9]+)e", r"\1.0e", repr(number))


def resolve(text: str) -> Scalar:
    """Return what an unquoted scalar means; raise ValueError for a number beyond 400 characters."""
    if text in _WORDS:
        return _WORDS[text]
    for pattern, convert in _NUMBERS:
        if pattern.fullmatch(text):
            if len(text) > MAX_NUMBER:
                raise ValueError(f"a number of {len(text)} characters")
            return convert(text)
    return text


class _StopError(Exception):
    """Reading cannot continue: what follows has no known meaning, or would cost too much."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem.given)
        self.problem = problem


class _Reader:
    """One pass over the events of one document."""

    def __init__(self, text: str) -> None:
        self.lines: dict[KeyPath, int] = {}
        self.problems: list[Problem] = []
        self._text = text
        self._line = 1
        self._events: Iterator[yaml.Event] = yaml.parse(text, Loader=yaml.SafeLoader)

    def document(self) -> Plain:
        self._next()  # the stream's start
        if isinstance(self._next(), yaml.StreamEndEvent):
            return None
        root = self._node(self._next(), ())
        self._next()  # the document's end
        if not isinstance(self._next(), yaml.StreamEndEvent):
            raise self._stop((), "a second document", "one document")
        return root

    def _next(self) -> yaml.Event:
        try:
            event = next(self._events)
        except yaml.MarkedYAMLError as error:
            self._line, why = _syntax_error(error)
        except yaml.reader.ReaderError as error:
            self._line = self._text.count("\n", 0, error.position) + 1
            why = f"it holds the control character {self._text[error.position]!r}"
        except (ValueError, OverflowError):  # "\UFFFFFFFF", or a giant %YAML version
            why = "a number in an escape or a directive is out of range"
        else:
            if event.start_mark is not None:
                self._line = event.start_mark.line + 1
            return event
        raise self._stop((), "text that is not YAML", why=why)

    def _node(self, event: yaml.Event, path: KeyPath) -> Plain:
        self.lines.setdefault(path, self._line)
        self._refuse_extras(event, path)
        match event:
            case yaml.ScalarEvent():
                return self._scalar(event, path)
            case yaml.SequenceStartEvent():
                return self._sequence(path)
            case yaml.MappingStartEvent():
                return self._mapping(path)
        assert isinstance(event, yaml.AliasEvent)
        return None

    def _refuse_extras(self, event: yaml.Event, path: KeyPath) -> None:
        by_hand = "each value written out"
        if isinstance(event, yaml.AliasEvent):
            self._note(path, f"the alias *{event.anchor}", by_hand)
        elif isinstance(event, yaml.NodeEvent) and event.anchor:
            self._note(path, f"the anchor &{event.anchor}", by_hand)
        tag = getattr(event, "tag", None)
        if tag is not None:
            short = tag.replace("tag:yaml.org,2002:", "!!", 1)
            self._note(path, f"the tag {short}", "values without tags")

    def _scalar(self, event: yaml.ScalarEvent, path: KeyPath) -> Scalar:
        text: str = event.value
        if _CONTROL.search(text):
            self._note(path, "text with control characters", "printable text")
            return None
        if event.style is not None:  # quoted or a block: always text
            return text
        try:
            return resolve(text)
        except ValueError as error:
            self._note(path, str(error), f"at most {MAX_NUMBER} characters")
            return None

    def _sequence(self, path: KeyPath) -> list[Plain]:
        self._refuse_depth(path)
        items: list[Plain] = []
        while not isinstance(event := self._next(), yaml.SequenceEndEvent):
            items.append(self._node(event, (*path, len(items))))
        return items

    def _mapping(self, path: KeyPath) -> dict[str, Plain]:
        self._refuse_depth(path)
        entries: dict[str, Plain] = {}
        while not isinstance(event := self._next(), yaml.MappingEndEvent):
            if not isinstance(event, yaml.ScalarEvent):
                self._skip_complex_entry(event, (*path, "?"))
                continue
            key: str = event.value
            entry = (*path, key)
            self._note_key(event, entry, is_repeated=key in entries)
            value = self._node(self._next(), entry)
            entries.setdefault(key, value)
        return entries

    def _note_key(self, event: yaml.ScalarEvent, entry: KeyPath, is_repeated: bool) -> None:
        if is_repeated:
            given = f"this key again (it is on line {self.lines[entry]} already)"
            self.problems.append(Problem(entry, self._line, given, "each key once", spoils=False))
        self.lines.setdefault(entry, self._line)
        self._refuse_extras(event, entry)
        if _CONTROL.search(event.value):
            self._note(entry, "a key with control characters", "printable text")

    def _skip_complex_entry(self, key: yaml.Event, path: KeyPath) -> None:
        self._note(path, "a key that is no plain text", "text as a key")
        self._node(key, path)
        self._node(self._next(), path)

    def _refuse_depth(self, path: KeyPath) -> None:
        if len(path) >= MAX_DEPTH:
            given = f"more than {MAX_DEPTH} levels of nesting"
            raise self._stop(path, given, f"at most {MAX_DEPTH} levels")

    def _note(self, path: KeyPath, given: str, allowed: str) -> None:
        self.problems.append(Problem(path, self._line, given, allowed))

    def _stop(self, path: KeyPath, given: str, allowed: str = "", why: str = "") -> _StopError:
        return _StopError(Problem(path, self._line, given, allowed, why))


def _syntax_error(error: yaml.MarkedYAMLError) -> tuple[int, str]:
    """Return the line and the cause; what is never closed is on the line where it begins."""
    parts = [part for part in (error.context, error.problem) if part]
    first, last = error.context_mark, error.problem_mark
    is_open = "stream" in (error.problem or "")  # PyYAML's words for the end of the file
    mark = first if first and (is_open or not last) else last
    line = mark.line + 1 if mark else 1
    if first and first.line + 1 < line:
        parts.append(f"begun on line {first.line + 1}")
    return line, ", ".join(parts)
