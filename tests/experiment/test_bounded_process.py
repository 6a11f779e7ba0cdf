"""A process within limits: what it may not take ends it alone."""

import os
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial

import pytest

from bptrain.errors import BptrainError, DataError, MemoryExhaustedError
from bptrain.experiment.bounded_process import BoundedProcess, OverdueError, ProcessEndedError

MEMORY = 2**28


def answer(greeting: bytes, question: bytes) -> bytes:
    match question:
        case b"who":
            return greeting + b" " + str(os.getpid()).encode()
        case b"sleep":
            time.sleep(600)
        case b"crash":
            os.abort()
        case b"memory":
            return bytes(2 * MEMORY)
        case b"unfit":
            raise DataError("unfit", "it is so", "another")
        case _:
            raise KeyError(question)
    return b""


def prepare(greeting: str) -> tuple[bytes, Callable[[bytes], bytes]]:
    if not greeting:
        raise DataError("nothing to say")
    return greeting.encode(), partial(answer, greeting.encode())


@pytest.fixture(scope="module")
def process() -> Iterator[BoundedProcess]:
    made = BoundedProcess(prepare, ("hello",), MEMORY, "bptrain.errors")
    yield made
    made.end()


@pytest.mark.parametrize(
    ("question", "kind", "lives"),
    [
        (b"unfit", DataError, True),
        (b"bug", BptrainError, True),
        pytest.param(
            *(b"memory", MemoryExhaustedError, True),
            marks=pytest.mark.skipif(sys.platform != "linux", reason="counts no memory"),
        ),
        (b"sleep", OverdueError, False),
        (b"crash", ProcessEndedError, False),
    ],
)
def test_a_question_that_fails_leaves_the_next_one_an_answer(
    process: BoundedProcess, question: bytes, kind: type[BptrainError], lives: bool
) -> None:
    before = process.ask(b"who", 60)
    with pytest.raises(kind) as failed:
        process.ask(question, 0.2 if question == b"sleep" else 60)
    assert type(failed.value) is kind
    after = process.ask(b"who", 60)
    assert before.startswith(b"hello ")
    assert after.startswith(b"hello ")
    assert (after == before) == lives


def test_what_it_raises_keeps_its_words(process: BoundedProcess) -> None:
    with pytest.raises(DataError) as failed:
        process.ask(b"unfit", 60)
    assert (failed.value.what, failed.value.why, failed.value.hint) == (
        *("unfit", "it is so", "another"),
    )


def test_a_process_that_cannot_start_says_why() -> None:
    process = BoundedProcess(prepare, ("",), MEMORY, "bptrain.errors")
    with pytest.raises(DataError, match="nothing to say"):
        process.start()
    process.end()
