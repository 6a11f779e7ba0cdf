"""The search space: words such as `optimizer.lr=log(1e-4,1e-1)`, each of them a dimension."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from itertools import product
from math import isfinite, prod
from typing import NamedTuple, TypeAlias

from bptrain.config.yaml_tree import read_tree, resolve, write
from bptrain.errors import UsageError, shorten

FORMS = {  # of ranges, and how each is written
    "log": "log(LOW,HIGH) with 0 < LOW < HIGH, such as log(1e-4,1e-1)",
    "uniform": "uniform(LOW,HIGH) with LOW < HIGH, such as uniform(0,0.5)",
    "int": "int(LOW,HIGH) with whole numbers LOW < HIGH, such as int(16,256)",
}
CALL = re.compile(r"([A-Za-z_]+)\((.*)\)")
OPENING, CLOSING, QUOTES = "([{", ")]}", "\"'"
GIVEN_WIDTH = 80  # characters of a word that a message quotes


@dataclass(frozen=True)
class Choices:
    """A key and a list of values for it, each as YAML on one line."""

    key: str
    values: tuple[str, ...]

    @property
    def ends(self) -> tuple[str, ...]:
        """Values that a config must take for it to take every one."""
        return self.values

    def __str__(self) -> str:
        return ",".join(self.values)


@dataclass(frozen=True)
class Range:
    """A key and the numbers from `low` to `high` for it.

    form  how they are drawn, one of FORMS
    """

    key: str
    low: float
    high: float
    form: str

    @property
    def ends(self) -> tuple[str, ...]:
        """Values that a config must take for it to take every one."""
        return write(self.low), write(self.high)

    def __str__(self) -> str:
        return f"{self.form}({write(self.low)},{write(self.high)})"


Dimension: TypeAlias = Choices | Range


class Space(NamedTuple):
    """What is searched, and the `key=value` words that are the same in every trial."""

    dimensions: list[Dimension]
    fixed: list[str]

    @property
    def is_grid(self) -> bool:
        """Whether every dimension is a list of values."""
        return all(isinstance(each, Choices) for each in self.dimensions)

    @property
    def size(self) -> int:
        """How many combinations the ends of the dimensions have: of a grid all that there are."""
        return prod(len(each.ends) for each in self.dimensions)

    def combinations(self) -> Iterator[list[str]]:
        """Yield the combinations of the dimensions' ends, a value for each dimension."""
        return map(list, product(*(each.ends for each in self.dimensions)))

    def words(self, values: Sequence[str]) -> list[str]:
        """Return the `key=value` words of a combination."""
        keys = (each.key for each in self.dimensions)
        return [f"{key}={value}" for key, value in zip(keys, values, strict=True)]


def read_space(words: Sequence[str]) -> Space:
    """Return the search space of a command's words, or raise UsageError for one that has no sense.

    A word with one value is no dimension. Whether a config has the keys is not looked at here.
    """
    space = Space([], [])
    for word in words:
        dimension = _dimension(word)
        if dimension is None:
            space.fixed.append(word)
        else:
            space.dimensions.append(dimension)
    keys = [each.key for each in space.dimensions]
    if twice := [key for key in keys if keys.count(key) > 1]:
        raise UsageError(f"{twice[0]} is searched twice", hint="one list or range for each key")
    if not keys:
        raise UsageError(
            "there is nothing to search",
            "no key has several values",
            "optimizer.lr=0.01,0.1 or 'optimizer.lr=log(1e-4,1e-1)'",
        )
    return space


def _dimension(word: str) -> Dimension | None:
    """Return what a word says to search, None for a word with one value or none."""
    key, equals, text = word.partition("=")
    if not equals:
        return None
    call = CALL.fullmatch(text.strip())
    if call is not None:
        name, arguments = call[1], pieces(call[2])
        if name in FORMS:
            return _range(word, key, name, arguments)
        if len(arguments) == 2 and None not in map(_number, arguments):
            near = get_close_matches(name, FORMS, n=1)
            hint = FORMS[near[0]] if near else "; ".join(FORMS.values())
            raise UsageError(f"{_quoted(word)}: {name} is no kind of range", hint=hint)
    values = pieces(text)
    return None if len(values) == 1 else _choices(word, key, values)


def _range(word: str, key: str, form: str, arguments: Sequence[str]) -> Range:
    """Return a range, or raise UsageError for ends that do not make one."""
    found = [_number(each) for each in arguments]
    numbers = [each for each in found if each is not None]
    why = ""
    if len(numbers) != 2 or len(found) != 2:
        why = f"{form} takes two numbers"
    elif numbers[0] >= numbers[1]:
        why = f"{write(numbers[0])} is not below {write(numbers[1])}"
    elif form == "log" and numbers[0] <= 0:
        why = f"{write(numbers[0])} has no logarithm"
    elif form == "int" and not all(isinstance(each, int) for each in numbers):
        why = "its ends are not whole numbers"
    if why:
        raise UsageError(f"{_quoted(word)}: {why}", hint=FORMS[form])
    low, high = numbers if form == "int" else map(float, numbers)
    return Range(key, low, high, form)


def _choices(word: str, key: str, given: Sequence[str]) -> Choices:
    """Return a list of values, or raise UsageError for one that is empty or there twice."""
    if "" in given:
        raise UsageError(f"{_quoted(word)}: a value is empty", hint=f"{key}=a,b,c, or {key}=null,a")
    values = [_canonical(each) for each in given]
    if twice := [value for value in values if values.count(value) > 1]:
        raise UsageError(f"{_quoted(word)}: {twice[0]} is there twice", hint="each value once")
    return Choices(key, tuple(values))


def _canonical(text: str) -> str:
    """Return a value as YAML is written here; what is no YAML stays as it is, to be refused."""
    tree = read_tree(text)
    return write(tree.root) if tree.whole and not tree.problems else text


def _number(text: str) -> int | float | None:
    try:
        value = resolve(text)
    except ValueError:
        return None
    if isinstance(value, str | bool | None) or not isfinite(value):
        return None
    return value


def pieces(text: str) -> list[str]:
    """Split a text at the commas outside of brackets and quotes."""
    found, depth, quote = [""], 0, ""
    for letter in text:
        if quote:
            quote = "" if letter == quote else quote
        elif letter in QUOTES:
            quote = letter
        depth += 0 if quote else (letter in OPENING) - (letter in CLOSING)
        if letter == "," and depth <= 0 and not quote:
            found.append("")
        else:
            found[-1] += letter
    return [each.strip() for each in found]


def _quoted(word: str) -> str:
    return shorten(word, GIVEN_WIDTH)
