"""Processes that this one starts to work for it: how they start, and how they end with it."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from bptrain.errors import STOP_SIGNALS

KILLED_BY_PARENTS_END = 1  # prctl's PR_SET_PDEATHSIG


def start_context(module: str) -> Any:
    """Return how processes are started: never as a copy of this one, with its threads and CUDA.

    module  what each of them imports

    On Linux a server imports it once and forks the processes. It is started with stop signals
    blocked, and they inherit that: Ctrl-C reaches every process of the terminal, and a scheduler's
    signal every process of a job, but saving and stopping is up to this process.
    """
    from multiprocessing import get_context

    if sys.platform != "linux":
        return get_context("spawn")
    import signal
    from multiprocessing import forkserver, resource_tracker

    context = get_context("forkserver")
    context.set_forkserver_preload([module])
    stopping = set(stop_signals())
    before = signal.pthread_sigmask(signal.SIG_BLOCK, stopping)
    try:
        # the server would start it, and that unblocks some of them
        resource_tracker.ensure_running()
        signal.pthread_sigmask(signal.SIG_BLOCK, stopping)
        forkserver.ensure_running()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
    return context


@contextmanager
def start_method_left_open() -> Iterator[None]:
    """Leave the choice of `multiprocessing.set_start_method` to the program around this one.

    Python chooses for the program as soon as it prepares a server or a process of any context, and
    refuses a choice after that.
    """
    from multiprocessing import get_start_method, set_start_method

    is_open = get_start_method(allow_none=True) is None
    try:
        yield
    finally:
        if is_open:
            set_start_method(None, force=True)


def end_with_parent() -> None:
    """Leave stop signals to the process that started this one, and end with it even while hanging.

    A worker that uses its pipe notices the end of its parent. One that is stopped is killed by
    Linux when its parent, the fork server, ends. The server ends when all copies of the writing end
    of a pipe are closed; Python gives a copy to every worker too, so that a server and its workers
    would keep each other alive.
    """
    import os
    import signal

    for number in stop_signals():
        signal.signal(number, signal.SIG_IGN)
    if sys.platform == "linux":
        import ctypes
        from multiprocessing import forkserver

        alive = getattr(forkserver._forkserver, "_forkserver_alive_fd", None)
        if alive is not None:
            os.close(alive)
        ctypes.CDLL(None).prctl(KILLED_BY_PARENTS_END, signal.SIGKILL)


def stop_signals() -> Iterator[int]:
    """Yield the numbers of the stop signals that this system has."""
    import signal

    yield from (getattr(signal, name) for name in STOP_SIGNALS if hasattr(signal, name))
