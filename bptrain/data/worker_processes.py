"""Worker processes that compute arrays ahead of the training loop, over one pipe each.

Worker w of W computes the items w, w + W, w + 2W, ..., at most two ahead of what was taken; a
thread of the training process reads the results in order. Processes share no queue, lock or memory:
/dev/shm is not needed, and a worker that dies at any moment blocks no other one.
"""

import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from math import ceil
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from queue import Empty, SimpleQueue
from threading import Thread
from typing import Any, NamedTuple, TypeAlias, TypeVar

import numpy as np
from numpy.typing import NDArray

from bptrain.errors import BptrainError, WorkerError
from bptrain.processes import end_with_parent, start_context, start_method_left_open

Item = TypeVar("Item")
Array: TypeAlias = NDArray[Any]

AHEAD = 2  # arrays of a worker that may wait to be taken
CHUNK_BYTES = 2**16  # sent at a time: batches of 10 MB take 11 ms so, and 55 ms in one piece
POLL_S = 5.0  # longest single wait for a result
END_S = 5.0  # longest wait for the end of what was killed


class Failure(NamedTuple):
    """An exception in a worker: its class and arguments."""

    kind: type[Exception]
    arguments: tuple[str, ...]


Results: TypeAlias = "SimpleQueue[Array | Failure]"


def computed_ahead(
    task: Callable[[Item], Array], items: Sequence[Item], workers: int, timeout_s: float
) -> Iterator[Array]:
    """Yield `task` of each item, in order, two per worker ahead; leave no process.

    Raises what a task raises, and WorkerError for a worker that is gone or that gives no result for
    `timeout_s`. `task` and the items are pickled.
    """
    with start_method_left_open():
        context = start_context(type(task).__module__)
    connections: list[Connection] = []
    processes: list[BaseProcess] = []
    results: Results = SimpleQueue()
    thread = Thread(target=_receive, args=(connections, len(items), results), daemon=True)
    try:
        for number in range(workers):
            ours, theirs = context.Pipe()
            connections.append(ours)
            process = context.Process(
                target=_work, args=(task, items[number::workers], theirs), daemon=True
            )
            with start_method_left_open():
                process.start()
            processes.append(process)
            theirs.close()  # or the end of the worker would not close the pipe
        thread.start()
        for number in range(len(items)):
            result = _next_result(results, timeout_s)
            with suppress(OSError):  # the worker may have done its last item
                connections[number % workers].send_bytes(b"")
            if isinstance(result, Failure):
                raise result.kind(*result.arguments)
            yield result
    except (OSError, EOFError) as error:
        raise _worker_is_gone(error) from error
    finally:
        for process in processes:
            process.kill()  # SIGTERM would not reach one that is stopped
        for process in processes:
            process.join(END_S)  # the kernel cannot kill one that waits for a file system
        if thread.is_alive():
            thread.join(END_S)
        if not thread.is_alive():
            for connection in connections:
                connection.close()


def _receive(connections: Sequence[Connection], count: int, results: "Results") -> None:
    """Pass `count` results on, taken from the workers in turn; runs in a thread.

    The training process itself never waits for a pipe: a worker that is stopped in the midst of
    writing could make it wait for ever.
    """
    try:
        for number in range(count):
            results.put(_receive_array(connections[number % len(connections)]))
    except (EOFError, OSError) as error:
        gone = _worker_is_gone(error)
        results.put(Failure(WorkerError, (gone.what, gone.why, gone.hint)))


def _next_result(results: "Results", timeout_s: float) -> Array | Failure:
    # short waits are counted, not seconds: a run that Ctrl-Z stopped does not time out
    polls = ceil(timeout_s / POLL_S)
    for _ in range(polls):
        try:
            return results.get(timeout=timeout_s / polls)
        except Empty:
            continue
    raise WorkerError(
        f"no batch from the data-loader workers for {timeout_s:g} s",
        "they are stopped, or the file system with the images does not answer",
        "a greater data.worker_timeout_s if it is only slow, or fewer data.workers",
    )


def _worker_is_gone(error: Exception) -> WorkerError:
    return WorkerError(
        "a data-loader worker failed or is gone",
        str(error) or "it ended before its work was done: killed, or out of memory",
        "fewer data.workers, or data.workers: 0 to decode in the training process",
    )


def _work(task: Callable[[Any], Array], items: Sequence[Any], connection: Connection) -> None:
    """Send the result of each item; runs in a worker."""
    end_with_parent()
    try:
        for number, item in enumerate(items):
            if number >= AHEAD:
                connection.recv_bytes()  # an earlier result was taken
            _send_array(connection, _result_of(task, item))
    except (OSError, EOFError):
        return  # the training process is gone, or needs no more results


def _send_array(connection: Connection, result: Array | Failure) -> None:
    if isinstance(result, Failure):
        connection.send(result)
        return
    connection.send((result.shape, result.dtype.str))
    content = np.ascontiguousarray(result).data.cast("B")
    for start in range(0, len(content), CHUNK_BYTES):
        connection.send_bytes(content[start : start + CHUNK_BYTES])


def _receive_array(connection: Connection) -> Array | Failure:
    header = connection.recv()
    if isinstance(header, Failure):
        return header
    array: Array = np.empty(*header)
    content = array.data.cast("B")
    received = 0
    while received < len(content):
        received += connection.recv_bytes_into(content[received:])
    return array


def _result_of(task: Callable[[Any], Array], item: Any) -> Array | Failure:
    try:
        return task(item)
    except BptrainError as error:
        return Failure(type(error), (error.what, error.why, error.hint))
    except MemoryError as error:
        return Failure(MemoryError, (str(error),))
    except Exception:
        # a bug: the traceback is the message, as the exception itself may not be picklable
        return Failure(RuntimeError, (traceback.format_exc(),))
