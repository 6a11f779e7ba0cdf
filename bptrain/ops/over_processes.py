"""Sums over the processes of a data-parallel run, as an operation may need them in both passes.

synchronize      says how a tensor is added over the processes
with_local_sums  lets each process sum what it has itself, inside a step that not all of them
                 take: the tape proves a step where it first meets its kind of batch
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from torch import Tensor

Added = Callable[[Tensor], Tensor]


@dataclass
class Exchange:
    """The state of this process: a backward pass may run in another thread than the forward."""

    added: Added | None = None
    is_local: bool = False


_exchange = Exchange()


def is_synchronized() -> bool:
    """Return whether statistics over a batch are those of the rows of all processes."""
    return _exchange.added is not None


def sum_over_processes(values: Tensor) -> Tensor:
    """Return the sum of the processes' values, the same in each."""
    if _exchange.added is None or _exchange.is_local:
        return values
    return _exchange.added(values)


def synchronize(added: Added | None) -> None:
    """Let statistics be those of all processes, or for None of this one."""
    _exchange.added = added


@contextmanager
def with_local_sums() -> Iterator[None]:
    """Sum inside the block what this process has itself."""
    before, _exchange.is_local = _exchange.is_local, True
    try:
        yield
    finally:
        _exchange.is_local = before
