"""Memory exhaustion, injected into the process of a run before it starts."""

import resource
from pathlib import Path

from kill_faults import at_call

PAGE_BYTES = resource.getpagesize()


def limit(spare_bytes: int, target: str = "", number: int = 1) -> None:
    """Limit the address space to the use at the start, or at a target's n-th call, plus spare."""

    def act() -> None:
        used = int(Path("/proc/self/statm").read_text().split()[0]) * PAGE_BYTES
        resource.setrlimit(resource.RLIMIT_AS, (used + spare_bytes, resource.RLIM_INFINITY))

    if target:
        at_call(target, number, act)
    else:
        act()
