"""Plain values read back from a checkpoint, taken as nothing but what they were when written.

JSON knows six types, and Python lets many of them pass for each other: True for 1, "3" for 3 in
`int`, 0.5 for a whole number. Whoever goes on from such a value fails later, somewhere else.
"""

from collections.abc import Mapping
from math import isfinite
from typing import Any


def whole(value: Any, least: int = 0) -> int:
    """Return a whole number of at least `least`, or raise ValueError."""
    if type(value) is not int or value < least:
        raise ValueError(f"{said(value)} is no whole number from {least} on")
    return value


def number(value: Any) -> float:
    """Return a finite number, or raise ValueError."""
    if type(value) not in (int, float) or not isfinite(value):
        raise ValueError(f"{said(value)} is no finite number")
    return float(value)


def number_or_none(value: Any) -> float | None:
    """Return a finite number or None, or raise ValueError."""
    return None if value is None else number(value)


def truth(value: Any) -> bool:
    """Return a truth value, or raise ValueError."""
    if type(value) is not bool:
        raise ValueError(f"{said(value)} is neither true nor false")
    return value


def mapping(value: Any) -> Mapping[str, Any]:
    """Return a mapping, or raise ValueError."""
    if not isinstance(value, dict):
        raise ValueError(f"{said(value)} is no mapping")  # noqa: TRY004
    return value


def said(value: Any) -> str:
    """Return a value in words: what is no plain scalar by its type, it may be of any size."""
    is_scalar = value is None or isinstance(value, (bool, int, float))
    return repr(value) if is_scalar else f"a {type(value).__name__}"
