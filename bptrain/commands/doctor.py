"""`doctor`: what bptrain finds on this machine."""

import platform
import shutil
from pathlib import Path

import torch
from rich.console import Console

from bptrain.bench.processor import allocator, processor_name, products, threads
from bptrain.free_memory import format_bytes
from bptrain.monitor.console import table
from bptrain.rundir.run_directory import device_name, package_versions
from bptrain.train.memory import available_bytes

SHARED_MEMORY = Path("/dev/shm")  # noqa: S108  what worker processes pass batches through


def print_machine(console: Console) -> None:
    """Print what bptrain finds on this machine."""
    rows = [["python", platform.python_version()], ["platform", platform.platform()]]
    rows += [[package, version] for package, version in package_versions().items()]
    rows += [
        ["CUDA in torch", str(torch.version.cuda)],
        ["cuDNN", str(torch.backends.cudnn.version())],
        ["CPU", f"{processor_name()}, {torch.backends.cpu.get_cpu_capability()}"],
        ["CPU threads", threads()],
        ["float32 products", _speeds()],
        ["allocator", allocator()],
        ["memory free", format_bytes(available_bytes(torch.device("cpu")))],
    ]
    for number in range(torch.cuda.device_count()):
        device = torch.device("cuda", number)
        rows.append(["GPU", f"{device_name(device)}, {format_bytes(available_bytes(device))} free"])
    if torch.cuda.device_count() == 0:
        rows.append(["GPU", "none that torch can use"])
    if SHARED_MEMORY.is_dir():
        rows.append(
            [str(SHARED_MEMORY), f"{format_bytes(shutil.disk_usage(SHARED_MEMORY).free)} free"]
        )
    console.print(table("bptrain doctor", ["what", "found"], rows))


def _speeds() -> str:
    """Return the speed of a product by each route; every product of bptrain's takes torch's."""
    found = ", ".join(f"{name} {speed:.0f}" for name, speed in products().items())
    return f"{found} GFLOP/s; torch's route is used"
