"""Reads the pickled files of CIFAR's "python version" without running anything in them.

A pickle is a program: Python's own reader imports and calls what the file names, and a reader that
restricts the names still runs every opcode. Here `pickletools.genops` only parses the file. Of its
opcodes those that build strings, numbers, lists, tuples and dicts are followed, and every other one
is refused, with the byte where it stands. The three names of numpy's array reconstruction are
compared as words, never imported or called; the array is taken from the file's own bytes.

Files of Python 2, as the published ones are, and of Python 3 with protocol 3 or 4 are read.
"""

import pickletools
from math import prod
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from bptrain.errors import DataError

LARGEST_BYTES = 2**30  # the largest published file has 155 MB
NAMES = {
    "numpy.core.multiarray _reconstruct": "array",
    "numpy._core.multiarray _reconstruct": "array",
    "numpy ndarray": "ndarray",
    "numpy dtype": "dtype",
}
NEW: dict[str, type] = {"EMPTY_DICT": dict, "EMPTY_LIST": list, "EMPTY_TUPLE": tuple}
CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}
VALUES = {  # opcodes whose argument is the value
    *("BININT", "BININT1", "BININT2", "LONG1"),
    *("BINSTRING", "SHORT_BINSTRING", "BINUNICODE", "SHORT_BINUNICODE"),
    *("BINBYTES", "SHORT_BINBYTES"),
}
TUPLES = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}


class Name(NamedTuple):
    """One of the three names, as a word."""

    meaning: str


class ByteType:
    """numpy's dtype of an unsigned byte."""


class ByteArray:
    """An array of unsigned bytes, whose values come with a later opcode."""

    values: np.ndarray[Any, np.dtype[np.uint8]] | None = None


def read_pickled_dict(path: Path) -> dict[str, Any]:
    """Return the dict that a file holds, its arrays as read-only uint8 arrays; or raise DataError.

    Strings of Python 2 are decoded as Latin-1.
    """
    try:
        size = path.stat().st_size
        if size > LARGEST_BYTES:
            raise DataError(f"{path}: {size:,} bytes, at most {LARGEST_BYTES:,} are read")
        content = path.read_bytes()
    except OSError as error:
        raise DataError(f"{path}: cannot be read", str(error)) from error
    stack = Stack()
    position = 0
    try:
        for opcode, argument, at in pickletools.genops(content):
            position = at or 0
            stack.apply(opcode.name, argument)
        value = stack.items[-1]
    except DataError as error:
        raise DataError(f"{path}: refused at byte {position}", error.what, error.hint) from error
    except (ValueError, TypeError, LookupError, AttributeError, OverflowError) as error:
        # genops for bytes that are no opcode, the stack for opcodes in an impossible order
        raise DataError(f"{path}: damaged after byte {position}", str(error)) from error
    if not isinstance(value, dict):
        raise DataError(f"{path}: holds a {type(value).__name__}, expected a dict")
    return {
        key: each.values if isinstance(each, ByteArray) else each for key, each in value.items()
    }


class Stack:
    """The values that the opcodes have built so far."""

    def __init__(self) -> None:
        self.items: list[Any] = []
        self.below_marks: list[list[Any]] = []  # the stacks below each open mark
        self.memo: dict[int, Any] = {}

    def apply(self, name: str, argument: Any) -> None:
        """Apply an opcode."""
        match name:
            case "PROTO" | "FRAME" | "STOP":
                return
            case "BINPUT" | "LONG_BINPUT" | "MEMOIZE":
                self.memo[len(self.memo) if argument is None else argument] = self.items[-1]
            case "BINGET" | "LONG_BINGET":
                self.items.append(self.memo[argument])
            case "MARK":
                self.below_marks.append(self.items)
                self.items = []
            case "APPEND" | "APPENDS":
                added = self.pop(1) if name == "APPEND" else self.pop_to_mark()
                list.extend(self.items[-1], added)
            case "SETITEM" | "SETITEMS":
                added = self.pop(2) if name == "SETITEM" else self.pop_to_mark()
                dict.update(self.items[-1], zip(added[::2], added[1::2], strict=True))
            case "BUILD":
                (state,) = self.pop(1)
                fill(self.items[-1], state)
            case _:
                value = self.new(name, argument)  # before self.items is read: this changes it
                self.items.append(value)

    def new(self, name: str, argument: Any) -> Any:
        """Return the value that an opcode adds."""
        if name in VALUES:
            return argument
        if name in CONSTANTS:
            return CONSTANTS[name]
        if name in NEW:
            return NEW[name]()
        if name in TUPLES:
            return tuple(self.pop(TUPLES[name]))
        if name == "TUPLE":
            return tuple(self.pop_to_mark())
        if name in ("GLOBAL", "STACK_GLOBAL"):
            return known_name(argument or " ".join(self.pop(2)))
        if name == "REDUCE":
            return announced(*self.pop(2))
        raise DataError(f"the opcode {name} is not one that plain values need")

    def pop(self, count: int) -> list[Any]:
        """Remove and return the last `count` values."""
        if len(self.items) < count:
            raise ValueError("a value is missing")
        taken = self.items[-count:]
        del self.items[-count:]
        return taken

    def pop_to_mark(self) -> list[Any]:
        """Remove and return the values since the last mark."""
        taken, self.items = self.items, self.below_marks.pop()
        return taken


def known_name(words: str) -> Name:
    """Return one of the names of array reconstruction; refuse any other."""
    if words not in NAMES:
        raise DataError(
            f"it names {words.replace(' ', '.')}, which could run code",
            hint="fetch the published file, or write your own with pickle's protocol 4",
        )
    return Name(NAMES[words])


def announced(name: Any, arguments: Any) -> ByteType | ByteArray:
    """Return what a call of numpy's reconstruction announces: an array, or the dtype of a byte."""
    match name, arguments:
        case Name("dtype"), ("u1", *_):
            return ByteType()
        case Name("dtype"), (str(other), *_):
            raise DataError(f"an array of {other!r}, expected 'u1', unsigned bytes")
        case Name("array"), (Name("ndarray"), (0,), "b" | b"b"):
            return ByteArray()
    raise DataError("a call that is not the reconstruction of an array")


def fill(target: Any, state: Any) -> None:
    """Give an announced array its shape and bytes; the state of a byte's dtype is not needed."""
    match target, state:
        case ByteType(), _:
            return
        case ByteArray(), (1, tuple(shape), ByteType(), bool(column_major), str() | bytes() as raw):
            content = raw.encode("latin-1") if isinstance(raw, str) else raw
            if not all(isinstance(size, int) and size >= 0 for size in shape):
                raise ValueError("a shape that is none")
            if prod(shape) != len(content):
                raise ValueError(f"an array of shape {list(shape)} with {len(content):,} bytes")
            order: Any = "F" if column_major else "C"
            target.values = np.frombuffer(content, np.uint8).reshape(shape, order=order)
        case _:
            raise ValueError("the state of an array is not what numpy writes")
