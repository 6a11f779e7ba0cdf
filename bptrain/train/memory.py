"""Memory of the device, the estimate for a training step, and errors when it does not fit."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from errno import ENOMEM

import psutil
import torch

from bptrain.errors import MemoryExhaustedError, UsageError
from bptrain.free_memory import format_bytes, free_bytes

ASKED_FOR = re.compile(r"tried to allocate (\d+) bytes")
REFUSED = re.compile(  # texts of a RuntimeError on the CPU
    "can't allocate memory|bad_alloc"
    # oneDNN's; it has no kernel for a processor where it could not create a primitive descriptor
    "|could not create a primitive(?! descriptor)|could not create a memory"
)


@dataclass(frozen=True)
class MemoryEstimate:
    """Peak memory of a training step in bytes, by purpose."""

    parameters: int
    gradients: int
    optimizer: int
    saved_for_backward: int
    data: int

    @property
    def total(self) -> int:
        """Bytes in total."""
        model = self.parameters + self.gradients + self.optimizer
        return model + self.saved_for_backward + self.data


def available_bytes(device: torch.device) -> int:
    """Return the free memory of the device; on the CPU within the container's limit."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    return free_bytes()


def refuse_if_too_large(estimate: MemoryEstimate, device: torch.device) -> None:
    """Raise UsageError if the estimate is above the free memory of the device."""
    free = available_bytes(device)
    if estimate.total > free:
        raise UsageError(
            f"the model needs about {format_bytes(estimate.total)} on {device}, "
            f"{format_bytes(free)} are free",
            f"parameters {format_bytes(estimate.parameters)}, saved for the backward pass "
            f"{format_bytes(estimate.saved_for_backward)}",
            "a smaller model, or a smaller data.batch_size",
        )


@contextmanager
def allocating() -> Iterator[None]:
    """Turn a failed allocation inside the block into a MemoryExhaustedError."""
    try:
        yield
    except (MemoryError, RuntimeError, OSError) as error:
        if not _is_out_of_memory(error):
            raise
        size = ASKED_FOR.search(str(error))
        why = (
            f"{format_bytes(int(size[1]))} could not be allocated"
            if size
            else str(error).split(". ")[0]
        )
        raise MemoryExhaustedError.of(why) from error


def _is_out_of_memory(error: Exception) -> bool:
    """Return whether an allocation failed; torch has an exception class only for the GPU."""
    if isinstance(error, OSError):
        return error.errno == ENOMEM
    has_known_text = REFUSED.search(str(error))
    return bool(has_known_text) or isinstance(error, (MemoryError, torch.OutOfMemoryError))


def used_mb(device: torch.device) -> float:
    """Return the peak of the device's allocations, or on the CPU the process's memory now."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 1e6
    return float(psutil.Process().memory_info().rss) / 1e6
