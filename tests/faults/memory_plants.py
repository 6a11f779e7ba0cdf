"""Memory that is used up, for the process of a run: planted before it begins."""

import resource
from pathlib import Path

from kill_plants import at_call

PAGE_BYTES = resource.getpagesize()


def limit(spare_bytes: int, target: str = "", number: int = 1) -> None:
    """Let it have so much more than it has when it begins, or at the n-th call of a target."""

    def act() -> None:
        used = int(Path("/proc/self/statm").read_text().split()[0]) * PAGE_BYTES
        resource.setrlimit(resource.RLIMIT_AS, (used + spare_bytes, resource.RLIM_INFINITY))

    if target:
        at_call(target, number, act)
    else:
        act()
