"""What a step on the tape tells its owner, besides its results."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


def _ignore(_: Any) -> None:
    """Tell nobody."""


@dataclass
class Notices:
    """Who is told, each thing once.

    by_autograd   why a kind of batch runs by autograd
    not_compiled  why a kind of batch is not compiled
    compiled      how many seconds the compiler took for a kind of batch
    """

    by_autograd: Callable[[str], object] = _ignore
    not_compiled: Callable[[str], object] = _ignore
    compiled: Callable[[float], object] = _ignore
