"""Torch's settings of the process: what a function computes with, and the caller's after it."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import torch

from bptrain.ops.kernels import use_kernels


@contextmanager
def own_settings() -> Iterator[None]:
    """Compute inside the block as in a new process, whatever the program around it has set.

    A new process has gradients, float32, no autocast and no default device. What is random inside
    is a function of the config's seed, and torch's generators are given back as they were. The
    number of threads and `use_deterministic_algorithms` are the program's choice, as they are the
    choice of whoever starts a command. Default dtype and device are the whole process's: another
    thread sees float32 meanwhile.
    """
    with ExitStack() as stack:
        stack.enter_context(torch.inference_mode(False))
        stack.enter_context(torch.enable_grad())
        stack.enter_context(use_kernels("fused"))
        for device in ("cpu", "cuda"):
            if torch.is_autocast_enabled(device):
                stack.enter_context(torch.autocast(device, enabled=False))
        stack.enter_context(torch.random.fork_rng(devices=_seeded_gpus()))
        stack.enter_context(_default_dtype())
        stack.enter_context(_no_default_device())
        yield


def _seeded_gpus() -> list[int]:
    """Return the GPUs that have a generator; one that nobody used has none to give back."""
    return list(range(torch.cuda.device_count())) if torch.cuda.is_initialized() else []


@contextmanager
def _default_dtype() -> Iterator[None]:
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float32)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


@contextmanager
def _no_default_device() -> Iterator[None]:
    """Take back a default device; a process without one keeps the CPU."""
    before = torch.get_default_device()
    if before == torch.device("cpu"):  # torch has no other word for none
        yield
        return
    torch.set_default_device(None)
    try:
        yield
    finally:
        torch.set_default_device(before)
