"""Free memory of the host, and sizes in bytes formatted for messages."""

from pathlib import Path

import psutil

CGROUP_LIMIT = Path("/sys/fs/cgroup/memory.max")
CGROUP_USE = Path("/sys/fs/cgroup/memory.current")


def free_bytes() -> int:
    """Return the free memory of the host in bytes, within the container's limit if it has one."""
    free = int(psutil.virtual_memory().available)
    if CGROUP_LIMIT.exists() and CGROUP_USE.exists():
        limit = CGROUP_LIMIT.read_text().strip()
        if limit != "max":
            free = min(free, int(limit) - int(CGROUP_USE.read_text()))
    return free


def format_bytes(count: float) -> str:
    """Return a number of bytes in decimal units, such as "1.5 MB"."""
    for unit in ("B", "kB", "MB", "GB", "TB", "PB"):
        if count < 1000 or unit == "PB":
            break
        count /= 1000
    return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
