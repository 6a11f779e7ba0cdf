"""Kills and signals at an exact moment of a run, sent by its process to itself.

A target is a function that is looked up when it is called, as "module:Class.method".
"""

import os
import signal
import time
from collections.abc import Callable, Sequence
from functools import partial, reduce
from importlib import import_module
from pathlib import Path
from typing import Any

import bptrain.tape.program
import bptrain.tape.recording

REACHED = "reached"  # a file: the run has reached the call where it stalls
GO = "go"  # a file: the run may continue


def kill() -> None:
    """Kill this process: none of its cleanup runs."""
    os.kill(os.getpid(), signal.SIGKILL)


def kill_after_step(number: int) -> None:
    """Kill it when the n-th update of its weights is done, from 1."""
    for update in ("__call__", "search"):  # a run calls one of them
        at_call(f"bptrain.train.update:Update.{update}", number, kill, after=True)


class Deadly(list):
    """What the entries of a tape saved; the process is killed when `depth` of them were read."""

    def __init__(self, saved: list[Any], depth: int) -> None:
        super().__init__(saved)
        self.left = min(depth, len(saved) - 1)

    def pop(self) -> Any:
        """Return the last entry's."""
        if not self.left:
            kill()
        self.left -= 1
        return super().pop()


def kill_in_backward(number: int, depth: int) -> None:
    """Kill it in the n-th backward pass, `depth` operations before the loss."""
    passed = 0
    original = bptrain.tape.program.backpropagate

    def backpropagate(program: Any, saved: list[Any], *others: Any) -> None:
        nonlocal passed
        passed += 1
        original(program, Deadly(saved, depth) if passed == number else saved, *others)

    bptrain.tape.program.backpropagate = backpropagate
    bptrain.tape.recording.backpropagate = backpropagate


def signal_at(target: str, number: int, signals: Sequence[int], after: bool = False) -> None:
    """Send it signals, one after another, at the n-th call of a target, or after it."""
    at_call(target, number, partial(send, signals), after)


def send(signals: Sequence[int]) -> None:
    """Send signals; later ones are sent even if the handler of an earlier one raises."""
    if signals:
        try:
            os.kill(os.getpid(), signals[0])
        finally:
            send(signals[1:])


def stall_at(target: str, number: int = 1) -> None:
    """Stall the run at the n-th call of a target: create `reached` and wait for `go`."""

    def stall() -> None:
        Path(REACHED).touch()
        while not Path(GO).exists():
            time.sleep(0.005)

    at_call(target, number, stall)


def at_call(target: str, number: int, act: Callable[[], None], after: bool = False) -> None:
    """Act before the n-th call of a target, from 1, or after it."""
    module, _, names = target.partition(":")
    *path, name = names.split(".")
    owner = reduce(getattr, path, import_module(module))
    real = getattr(owner, name)
    called = 0

    def replaced(*arguments: Any, **named: Any) -> Any:
        nonlocal called
        called += 1
        is_it = called == number
        if is_it and not after:
            act()
        answer = real(*arguments, **named)
        if is_it and after:
            act()
        return answer

    setattr(owner, name, replaced)
