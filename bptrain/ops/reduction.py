"""The three ways a loss of many elements becomes one number, shared by every loss."""

from typing import Literal, get_args

Reduction = Literal["none", "mean", "sum"]


def checked_reduction(reduction: str) -> None:
    """Raise ValueError unless `reduction` is one of torch's three names."""
    if reduction not in get_args(Reduction):
        raise ValueError(f"reduction is {reduction!r}, expected 'none', 'mean' or 'sum'")
