"""A service: its limits, its model's process, and what it has done so far."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from http import HTTPStatus
from typing import Any, NamedTuple

from bptrain.commands.serving.limits import Limits, Refusal
from bptrain.commands.serving.metrics import Metrics
from bptrain.errors import (
    BptrainError,
    CheckpointError,
    MemoryExhaustedError,
    StorageError,
    UsageError,
)
from bptrain.experiment.bounded_process import BoundedProcess, OverdueError, ProcessEndedError

FEWER = "fewer inputs, or smaller ones"


class Reply(NamedTuple):
    """What is answered to a request that was not refused before it reached the model."""

    status: int
    samples: int
    content: bytes


class Service:
    """Answers questions, one after the other, and keeps count.

    about  the run: its name, checkpoint, task, kind of input and an example of one
    """

    def __init__(self, about: dict[str, Any], model: BoundedProcess, limits: Limits) -> None:
        self.about, self.model, self.limits = about, model, limits
        self.metrics = Metrics()
        self.running = 0
        self._turn = asyncio.Lock()

    @contextmanager
    def place(self) -> Iterator[None]:
        """Take one of the places of requests, or raise Refusal where all are taken."""
        if self.running >= self.limits.requests:
            raise Refusal(
                HTTPStatus.TOO_MANY_REQUESTS,
                f"{self.running} requests are being worked on",
                hint="try again in a second",
            )
        self.running += 1
        try:
            yield
        finally:
            self.running -= 1

    async def ask(self, question: bytes) -> Reply:
        """Return the model's reply to a question; raises Refusal for one that it cannot answer."""
        async with self._turn:
            try:
                answer = await asyncio.to_thread(self.model.ask, question, self.limits.seconds)
            except BptrainError as error:
                raise self._refusal(error) from error
        head, _, content = answer.partition(b"\n")
        status, samples = map(int, head.split())
        return Reply(status, samples, content)

    def _refusal(self, error: BptrainError) -> Refusal:
        """Return what is answered where the model's process gave no answer."""
        match error:
            case OverdueError():
                why = f"it took more than {self.limits.seconds:g} s"
                return Refusal(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "too much work", why, FEWER)
            case MemoryExhaustedError():
                status = HTTPStatus.REQUEST_ENTITY_TOO_LARGE
                return Refusal(status, error.what, error.why, FEWER)
            case ProcessEndedError():
                return Refusal(HTTPStatus.UNPROCESSABLE_ENTITY, error.what, error.why, FEWER)
            case CheckpointError() | UsageError() | StorageError():  # while it was started again
                return Refusal(HTTPStatus.SERVICE_UNAVAILABLE, "the run cannot be loaded")
        return Refusal(HTTPStatus.INTERNAL_SERVER_ERROR, error.what)

    @property
    def metrics_text(self) -> str:
        """All metrics, in the text format that Prometheus reads."""
        return self.metrics.text(self.running, max(0, self.model.starts - 1))
