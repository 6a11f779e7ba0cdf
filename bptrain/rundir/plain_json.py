"""JSON of plain values, written one way and read without trust."""

import json
from typing import Any

MOST_DIGITS = 40  # of an integer: 128 bits of a random generator have 39
MOST_LEVELS = 32


def encode(value: object) -> bytes:
    """Return the value as JSON; raises ValueError for NaN or infinity, which JSON has not."""
    return json.dumps(value, indent=2, allow_nan=False).encode()


def decode(content: bytes) -> Any:
    """Return what UTF-8 JSON holds.

    Raises ValueError for whatever two readers could understand differently or could not hold: a
    key written twice, NaN, a number too large, nesting deeper than 32 levels.
    """
    try:
        value = json.loads(
            content.decode(),
            object_pairs_hook=_without_duplicates,
            parse_constant=_refuse_constant,
            parse_int=_integer,
            parse_float=_finite,
        )
    except RecursionError as error:
        raise ValueError("nested too deep") from error
    _refuse_depth(value)
    return value


def _without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a key is written twice")
    return found


def _refuse_constant(word: str) -> None:
    raise ValueError(f"{word} is not JSON")


def _integer(digits: str) -> int:
    if len(digits) > MOST_DIGITS:
        raise ValueError(f"an integer of {len(digits):,} digits")
    return int(digits)


def _finite(digits: str) -> float:
    value = float(digits)
    if value in (float("inf"), float("-inf")):
        raise ValueError("a number beyond the largest double")
    return value


def _refuse_depth(value: Any) -> None:
    level = [value]
    for _ in range(MOST_LEVELS):
        lists = [each for each in level if isinstance(each, list)]
        lists += [list(each.values()) for each in level if isinstance(each, dict)]
        level = [child for children in lists for child in children]
        if not level:
            return
    raise ValueError(f"nested deeper than {MOST_LEVELS} levels")
