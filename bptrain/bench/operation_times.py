"""The time of each operation of ours within a step, forward and backward."""

from dataclasses import dataclass
from statistics import median
from typing import Any

import torch

from bptrain.bench.step_memory import stderr_of_libraries_hidden
from bptrain.bench.subject import Alternative, Subject
from bptrain.ops.operation import operations_behind


@dataclass(frozen=True)
class OperationTime:
    """Seconds of an operation in a step, all its calls together: the median of some steps."""

    operation: str
    calls: int
    forward_s: float
    backward_s: float


def operation_times(subject: Subject, side: Alternative, steps: int) -> list[OperationTime]:
    """Return the times within a step that autograd runs, the longest first.

    The profiler makes each call some microseconds longer.
    """
    with subject.precision.computing():
        loss = side.loss(side.model(*side.inputs), *side.targets)
    names = {op.function.__name__: op.name for op in operations_behind([loss])}
    on_cuda = loss.is_cuda
    del loss
    profiles = [_profiled(side, on_cuda) for _ in range(steps)]
    found = []
    for function, name in names.items():
        forward, backward = (
            median(_seconds(events.get(key), on_cuda) for events in profiles)
            for key in (function, f"{function}Backward")
        )
        calls = profiles[0][function].count if function in profiles[0] else 0
        found.append(OperationTime(name, calls, forward, backward))
    return sorted(found, key=lambda each: -each.forward_s - each.backward_s)


def _profiled(side: Alternative, on_cuda: bool) -> dict[str, Any]:
    """Return the events of one step by their names."""
    with (
        stderr_of_libraries_hidden(),
        torch.autograd.profiler.profile(use_device="cuda" if on_cuda else None) as profiled,
    ):
        side.backpropagate()
    side.clear()
    return {event.key: event for event in profiled.key_averages()}


def _seconds(event: Any, on_cuda: bool) -> float:
    """Return the seconds of all calls of an operation, with what it calls."""
    if event is None:
        return 0.0
    return float(event.device_time_total if on_cuda else event.cpu_time_total) / 1e6
