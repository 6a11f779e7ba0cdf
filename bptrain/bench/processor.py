"""What a step's speed on the CPU depends on: processor, threads, allocator, float32 products."""

import os
import platform
from pathlib import Path

import psutil
import torch

from bptrain.bench.paired import time_in_turns
from bptrain.bench.products import matmul_probes

CPUINFO = Path("/proc/cpuinfo")
MAPS = Path("/proc/self/maps")  # the libraries that this process has loaded
QUOTA = Path("/sys/fs/cgroup/cpu.max")  # a container's share: microseconds of each period
ALLOCATORS = ("jemalloc", "tcmalloc", "mimalloc")
PROBES = 5  # turns, of about 30 ms each on one core


def processor_name() -> str:
    """Return the name of the CPU."""
    if CPUINFO.is_file():
        for line in CPUINFO.read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def usable_cores() -> float:
    """Return how many cores this process may keep busy: physical, allowed, within its share."""
    physical = psutil.cpu_count(logical=False) or psutil.cpu_count() or 1
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else physical
    return min(physical, allowed, _share(QUOTA))


def _share(quota: Path) -> float:
    """Return the cores that a container is given, infinity if it has no limit."""
    if not quota.is_file():
        return float("inf")
    given, period = quota.read_text(encoding="utf-8").split()
    return float("inf") if given == "max" else int(given) / int(period)


def threads() -> str:
    """Return how many threads torch computes with, who chose them, and whether they are right."""
    used, cores = torch.get_num_threads(), usable_cores()
    chosen = os.environ.get("OMP_NUM_THREADS")
    said = f"{used} in torch, {cores:g} usable cores"
    said += f", OMP_NUM_THREADS={chosen}" if chosen else ""
    if used > cores:  # they wait for each other at the end of every product
        return f"{said}: too many, set OMP_NUM_THREADS={max(1, int(cores))}"
    if used < int(cores):
        return f"{said}: with OMP_NUM_THREADS={int(cores)} large steps are faster"
    return said


def allocator() -> str:
    """Return which library gives out memory."""
    maps = MAPS.read_text(encoding="utf-8", errors="replace") if MAPS.is_file() else ""
    for name in ALLOCATORS:
        if f"lib{name}" in maps:
            return name
    return " ".join(platform.libc_ver()).strip() or "the system's"


def products() -> dict[str, float]:
    """Return the best speed of a float32 product by each route there is, in GFLOP/s."""
    probes, flops = matmul_probes(torch.device("cpu"), torch.float32)
    timings = time_in_turns(probes, PROBES)
    return {name: flops / min(found) / 1e9 for name, found in timings.seconds.items()}
