"""Memory of a training step: bytes kept for the backward pass, and the peak.

The peak is of what torch's own allocator hands out, above what was held before the step: gradients,
activations, temporary results. On a CPU it is read from the allocator's record of each block, which
a profiler keeps; memory that a library such as oneDNN or MKL takes for itself is not in it. It is
the same at every run, which a process's resident memory is not.
"""

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch

from bptrain.bench.subject import Alternative, CountsItsMemory
from bptrain.models.summary import SavedBytes


def kept_bytes(side: Alternative) -> int:
    """Return the bytes kept from the forward pass for the backward pass, parameters left out."""
    if isinstance(side.step, CountsItsMemory):
        return side.step.kept_bytes
    with SavedBytes(side.model) as saved:
        side.backpropagate()
        counted = saved.take()
    side.clear()
    return counted


def peak_bytes(side: Alternative) -> int:
    """Return the most bytes that are allocated at a time during a step, its gradients included."""
    side.run()  # makes the optimizer's state, which is not the step's
    side.clear()
    held = side.step.held_bytes if isinstance(side.step, CountsItsMemory) else 0
    device = next(side.model.parameters()).device
    return held + (_on_cuda(side, device) if device.type == "cuda" else peak_on_cpu(side.run))


def _on_cuda(side: Alternative, device: torch.device) -> int:
    torch.cuda.synchronize(device)
    torch.cuda.reset_peak_memory_stats(device)
    before = torch.cuda.memory_allocated(device)
    side.run()
    torch.cuda.synchronize(device)
    return torch.cuda.max_memory_allocated(device) - before


def peak_on_cpu(run: Callable[[], object]) -> int:
    """Return the most bytes that torch's allocator hands out at a time while something runs."""
    with (
        stderr_of_libraries_hidden(),
        torch.autograd.profiler.profile(use_kineto=False, profile_memory=True) as profiled,
    ):
        run()
    recorded = profiled.kineto_results
    assert recorded is not None
    blocks = [each for each in recorded.events() if each.name() == "[memory]"]
    now = peak = 0
    for block in sorted(blocks, key=lambda each: each.start_ns()):
        now += block.nbytes()
        peak = max(peak, now)
    return peak


@contextmanager
def stderr_of_libraries_hidden() -> Iterator[None]:
    """Discard what is written to stderr past Python: torch's profiler logs its start and end."""
    sys.stderr.flush()
    before, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        yield
    finally:
        os.dup2(before, 2)
        os.close(before)
        os.close(nowhere)
