"""The few pickle opcodes that plain values and byte arrays are made of, and no other.

CIFAR's "python version" is pickled, and a pickle is a program: Python's own reader imports and
calls whatever it names. Here `pickletools.genops` takes the program apart without running it, and
what it would have built is put together from strings, numbers, lists, tuples and dicts. Of all
names only the three of numpy's array reconstruction are known. They are compared as words, never
looked up, imported or called; the array they describe is cut from the file's own bytes. Any other
name or opcode is refused, with the byte where it stands.

Read are files of Python 2, as the published ones are, and of Python 3 with protocol 3 or 4.
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
EMPTY: dict[str, type] = {"EMPTY_DICT": dict, "EMPTY_LIST": list, "EMPTY_TUPLE": tuple}
CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}
VALUES = {  # opcodes whose argument is the value
    *("BININT", "BININT1", "BININT2", "LONG1"),
    *("BINSTRING", "SHORT_BINSTRING", "BINUNICODE", "SHORT_BINUNICODE"),
    *("BINBYTES", "SHORT_BINBYTES"),
}
STORES = {"BINPUT", "LONG_BINPUT", "MEMOIZE"}
RECALLS = {"BINGET", "LONG_BINGET"}
TUPLES = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}
SILENT = {"PROTO", "FRAME", "STOP"}


class Name(NamedTuple):
    """One of the three names, as a word."""

    meaning: str


class ByteType:
    """numpy's description of an unsigned byte."""


class ByteArray:
    """An array of unsigned bytes: announced first, filled in by the opcode BUILD."""

    values: np.ndarray[Any, np.dtype[np.uint8]] | None = None


def read_restricted(path: Path) -> dict[str, Any]:
    """Return the dict that a file holds, its arrays as read-only uint8 arrays; or raise DataError.

    Strings of Python 2 come as str, byte by byte.
    """
    try:
        size = path.stat().st_size
        if size > LARGEST_BYTES:
            raise DataError(f"{path}: {size:,} bytes, at most {LARGEST_BYTES:,} are read")
        content = path.read_bytes()
    except OSError as error:
        raise DataError(f"{path}: cannot be read", str(error)) from error
    machine = Machine()
    position = 0
    try:
        for opcode, argument, at in pickletools.genops(content):
            position = at or 0
            machine.step(opcode.name, argument)
        value = machine.stack[-1]
    except DataError as error:
        raise DataError(f"{path}: refused at byte {position}", error.what, error.hint) from error
    except (ValueError, TypeError, LookupError, AttributeError, OverflowError) as error:
        # genops on bytes that are no opcode; ours on opcodes in an order that makes no sense
        raise DataError(f"{path}: damaged after byte {position}", str(error)) from error
    if not isinstance(value, dict):
        raise DataError(f"{path}: holds a {type(value).__name__}, expected a dict")
    return {
        name: each.values if isinstance(each, ByteArray) else each for name, each in value.items()
    }


class Machine:
    """What the opcodes seen so far have built."""

    def __init__(self) -> None:
        self.stack: list[Any] = []
        self.marked: list[list[Any]] = []  # stacks below each open mark
        self.memo: dict[int, Any] = {}

    def step(self, name: str, argument: Any) -> None:
        """Do what an opcode says."""
        if name in VALUES:
            self.stack.append(argument)
        elif name in STORES:
            self.memo[len(self.memo) if argument is None else argument] = self.stack[-1]
        elif name in RECALLS:
            self.stack.append(self.memo[argument])
        elif name in CONSTANTS:
            self.stack.append(CONSTANTS[name])
        elif name in EMPTY:
            self.stack.append(EMPTY[name]())
        elif name in TUPLES:
            self.stack.append(tuple(self.pop(TUPLES[name])))
        elif name not in SILENT:
            self.build(name, argument)

    def build(self, name: str, argument: Any) -> None:
        """Do what one of the rarer opcodes says."""
        match name:
            case "MARK":
                self.marked.append(self.stack)
                self.stack = []
            case "TUPLE":
                items = self.pop_to_mark()  # before self.stack is read: this changes it
                self.stack.append(tuple(items))
            case "APPEND":
                self.extend(self.pop(1))
            case "APPENDS":
                self.extend(self.pop_to_mark())
            case "SETITEM":
                self.update(self.pop(2))
            case "SETITEMS":
                self.update(self.pop_to_mark())
            case "GLOBAL" | "STACK_GLOBAL":
                self.stack.append(known(argument or " ".join(self.pop(2))))
            case "REDUCE":
                self.stack.append(announced(*self.pop(2)))
            case "BUILD":
                (state,) = self.pop(1)
                fill(self.stack[-1], state)
            case _:
                raise DataError(f"the opcode {name} is not one that plain values need")

    def pop(self, count: int) -> list[Any]:
        """Take the last `count` values from the stack."""
        if len(self.stack) < count:
            raise ValueError("a value is missing")
        taken = self.stack[-count:]
        del self.stack[-count:]
        return taken

    def pop_to_mark(self) -> list[Any]:
        """Take the values since the last mark."""
        taken, self.stack = self.stack, self.marked.pop()
        return taken

    def extend(self, values: list[Any]) -> None:
        """Append to the list on the stack."""
        if not isinstance(self.stack[-1], list):
            raise TypeError("items for what is no list")
        self.stack[-1].extend(values)

    def update(self, values: list[Any]) -> None:
        """Set keys of the dict on the stack."""
        if not isinstance(self.stack[-1], dict):
            raise TypeError("keys for what is no dict")
        for key, value in zip(values[::2], values[1::2], strict=True):
            if not isinstance(key, str):
                raise TypeError("a key that is no string")
            self.stack[-1][key] = value


def known(words: str) -> Name:
    """Return one of the names of array reconstruction; refuse any other."""
    if words not in NAMES:
        raise DataError(
            f"it names {words.replace(' ', '.')}, which could run code",
            hint="fetch the published file, or write your own with pickle's protocol 4",
        )
    return Name(NAMES[words])


def announced(name: Any, arguments: Any) -> ByteType | ByteArray:
    """Return what numpy's reconstruction announces: an empty array, or the type of a byte."""
    match name, arguments:
        case Name("dtype"), ("u1", *_):
            return ByteType()
        case Name("dtype"), (str(other), *_):
            raise DataError(f"an array of {other!r}, expected 'u1', unsigned bytes")
        case Name("array"), (Name("ndarray"), (0,), "b" | b"b"):
            return ByteArray()
    raise DataError("a call that is not the reconstruction of an array")


def fill(target: Any, state: Any) -> None:
    """Give an announced array its shape and bytes; a byte's type has nothing to add."""
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
