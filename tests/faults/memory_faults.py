"""Memory exhaustion, injected into the process of a run before it starts."""

import ctypes
import resource
from pathlib import Path

from kill_faults import at_call

PAGE_BYTES = resource.getpagesize()
TRIM_THRESHOLD, MMAP_THRESHOLD = -1, -3  # of mallopt; a value that is set does not grow any more
LARGE_BYTES = 2**17  # what glibc begins with


def limit(spare_bytes: int, target: str = "", number: int = 1) -> None:
    """Limit the address space to the use at the start, or at a target's n-th call, plus spare.

    What the run has freed by then goes back to the system: else it would have that to spare, too.
    """
    libc = ctypes.CDLL(None)
    for threshold in (TRIM_THRESHOLD, MMAP_THRESHOLD):
        libc.mallopt(threshold, LARGE_BYTES)

    def act() -> None:
        libc.malloc_trim(0)
        used = int(Path("/proc/self/statm").read_text().split()[0]) * PAGE_BYTES
        resource.setrlimit(resource.RLIMIT_AS, (used + spare_bytes, resource.RLIM_INFINITY))

    if target:
        at_call(target, number, act)
    else:
        act()
