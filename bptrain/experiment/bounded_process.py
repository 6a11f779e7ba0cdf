"""A process that answers one question after the other, within limits of memory and time.

What strangers send is read in it: a file that takes too much, or a decoder that crashes, ends this
process alone, and the next question starts a new one. Questions and answers are bytes; an answer is
never unpickled, so that a process that was taken over cannot take over the one that asks.
"""

import json
import sys
import traceback
from collections.abc import Callable
from contextlib import suppress
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from typing import Any, TypeAlias

from bptrain.errors import (
    BptrainError,
    CheckpointError,
    DataError,
    MemoryExhaustedError,
    StorageError,
    UsageError,
)
from bptrain.free_memory import free_bytes
from bptrain.processes import end_with_parent, start_context, start_method_left_open

Answer: TypeAlias = Callable[[bytes], bytes]
Prepare: TypeAlias = Callable[..., tuple[bytes, Answer]]

START_S = 300.0  # longest wait for a process to import and load what it needs
END_S = 5.0  # longest wait for the end of what was killed
FAILED, ANSWERED = b"-", b"+"  # the first byte of an answer
LEAST_MEMORY = 2**28
KINDS: dict[str, type[BptrainError]] = {  # of errors that are passed on, the general one last
    each.__name__: each
    for each in (
        *(UsageError, DataError, CheckpointError, StorageError, MemoryExhaustedError),
        BptrainError,
    )
}


class OverdueError(BptrainError):
    """A question that took longer than its time; its process was ended."""


class ProcessEndedError(BptrainError):
    """A question that ended its process: a crash, or more memory than there is."""


class BoundedProcess:
    """Answers questions in a process of its own, which is started when it is needed.

    prepare    a function of a module, called with `arguments` in the process; it returns a greeting
               and what answers questions. Both may raise BptrainErrors, which are raised here
    memory_bytes  that an answer may take, besides what was allocated before the first question
    module  what the process needs to import, which takes seconds but once
    """

    def __init__(
        self, prepare: Prepare, arguments: tuple[Any, ...], memory_bytes: int, module: str
    ) -> None:
        self.prepare, self.arguments, self.memory_bytes = prepare, arguments, memory_bytes
        self.module = module
        self.starts = 0
        self._process: BaseProcess | None = None
        self._connection: Connection | None = None

    def start(self) -> bytes:
        """Start the process and return its greeting; raises what its preparation raised."""
        with start_method_left_open():
            context = start_context(self.module)
        self._connection, theirs = context.Pipe()
        self._process = context.Process(
            target=_work,
            args=(self.prepare, self.arguments, self.memory_bytes, theirs),
            daemon=True,
        )
        with start_method_left_open():
            self._process.start()
        theirs.close()  # or the end of the process would not close the pipe
        self.starts += 1
        return self._received(START_S)

    def ask(self, question: bytes, timeout_s: float) -> bytes:
        """Return the answer to a question.

        Raises what answering it raised, OverdueError after `timeout_s` seconds, and
        ProcessEndedError where the question ended the process.
        """
        if self._process is None or not self._process.is_alive():
            self.end()
            self.start()
        assert self._connection is not None
        with suppress(OSError):  # one that ended at this moment has no answer either
            self._connection.send_bytes(question)
        return self._received(timeout_s)

    def _received(self, timeout_s: float) -> bytes:
        assert self._connection is not None
        try:
            if not self._connection.poll(timeout_s):
                self.end()
                raise OverdueError(f"not done after {timeout_s:g} s")
            answer = self._connection.recv_bytes()
        except (EOFError, OSError) as error:
            self.end()
            raise ProcessEndedError(
                "the process that read it ended", "a crash, or memory"
            ) from error
        if answer.startswith(FAILED):
            raise _failure(answer[1:])
        return answer[1:]

    def end(self) -> None:
        """End the process, whatever it does at the moment."""
        if self._process is not None:
            self._process.kill()
            self._process.join(END_S)
        if self._connection is not None:
            self._connection.close()
        self._process = self._connection = None


def half_of_free_memory() -> int:
    """Return the bytes that answers may take where nobody says otherwise."""
    return max(LEAST_MEMORY, free_bytes() // 2)


def _work(prepare: Prepare, arguments: Any, memory_bytes: int, connection: Connection) -> None:
    """Answer questions until nobody asks any more; runs in the process."""
    end_with_parent()
    held: list[Answer] = []

    def greeting(_: bytes) -> bytes:
        content, answer = prepare(*arguments)
        held.append(answer)
        return content

    with suppress(EOFError, OSError):  # who asked is gone
        connection.send_bytes(_answered(greeting, b""))
        if not held:
            return
        _limit_memory(memory_bytes)
        while True:
            connection.send_bytes(_answered(held[0], connection.recv_bytes()))


def _answered(answer: Answer, question: bytes) -> bytes:
    """Return an answer, or what it raised."""
    try:
        return ANSWERED + answer(question)
    except BptrainError as error:
        failure = error
    except (MemoryError, RecursionError) as error:
        failure = MemoryExhaustedError.of(str(error))
    except Exception as error:
        traceback.print_exc()  # on stderr; who asked learns only that there is a bug
        failure = BptrainError("a bug in bptrain", type(error).__name__, "report it")
    kind = next(name for name, each in KINDS.items() if isinstance(failure, each))
    return FAILED + json.dumps([kind, failure.what, failure.why, failure.hint]).encode()


def _failure(content: bytes) -> BptrainError:
    """Return the error that a process raised, of one of the known classes."""
    kind, *words = json.loads(content)
    return KINDS[kind](*words)


def _limit_memory(more_bytes: int) -> None:
    """Let this process allocate no more than that, besides what it has, where Linux counts it.

    RLIMIT_DATA counts what can be written to; of the addresses that RLIMIT_AS counts, CUDA and
    thread stacks reserve far more than they use.
    """
    if sys.platform != "linux":
        return
    import resource
    from pathlib import Path

    status = Path("/proc/self/status").read_text()
    used = next(int(line.split()[1]) for line in status.splitlines() if line[:7] == "VmData:")
    limit = used * 1024 + more_bytes
    _, most = resource.getrlimit(resource.RLIMIT_DATA)
    if most != resource.RLIM_INFINITY:
        limit = min(limit, most)
    resource.setrlimit(resource.RLIMIT_DATA, (limit, most))
