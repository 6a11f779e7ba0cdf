"""Where a tape listens: who is told of each call of an operation, instead of autograd."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, Protocol

import torch
from torch import Tensor


class Recorder(Protocol):
    """Carries out the calls of operations, and records them."""

    def call(self, operation: Any, inputs: tuple[Any, ...], in_place: bool = False) -> Any:
        """Return the operation's outputs; with `in_place` also written into the first input."""
        ...

    def pack(self, lengths: Tensor, steps: int, device: torch.device) -> Any:
        """Return the PackedRows of sequences of these lengths."""
        ...

    def sizes(self, batch_sizes: Tensor) -> tuple[int, ...]:
        """Return how many sequences each time step of packed rows has."""
        ...


_recorder: ContextVar[Recorder | None] = ContextVar("recorder", default=None)
current_recorder = _recorder.get


@contextmanager
def recorded_by(recorder: Recorder) -> Iterator[None]:
    """Let every call of an operation inside the block be carried out by the recorder."""
    token = _recorder.set(recorder)
    try:
        yield
    finally:
        _recorder.reset(token)
