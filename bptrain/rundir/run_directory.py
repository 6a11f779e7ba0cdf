"""The folder of a run: a new one for each run, never overwritten."""

import json
import platform
import sys
import traceback
from contextlib import suppress
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from bptrain.errors import StorageError, UsageError, printable
from bptrain.rundir.durable_files import (
    UNFINISHED,
    make_directory,
    remove,
    replace_file,
    storing,
    sync_directory,
)
from bptrain.rundir.run_lock import LOCK

PACKAGES = ("bptrain", "torch", "torchvision", "numpy", "pydantic", "scikit-learn", "tensorboard")

WRITTEN = (  # before the first checkpoint
    *("config.yaml", "environment.json", "prepared.json", "metrics.jsonl", "error.log"),
    *("tensorboard", "checkpoints"),
)


def create_run_directory(name: str, chosen: Path | None, root: Path = Path("runs")) -> Path:
    """Create and return the run's folder: `chosen`, else runs/<name>, <name>-2, ...

    Raises UsageError if `chosen` exists and is not an empty folder.
    """
    if chosen is not None:
        with storing(chosen):
            if chosen.exists() and not (chosen.is_dir() and not others_in(chosen)):
                raise _exists_already(chosen)
            make_directory(chosen)
        return chosen
    number = 1
    with storing(root):
        make_directory(root)
        while True:
            path = root / (name if number == 1 else f"{name}-{number}")
            try:
                path.mkdir()  # atomic: two runs that start together get two folders
                sync_directory(root)
            except FileExistsError:
                if not root.is_dir():
                    raise
                number += 1
            else:
                return path


def holds_run(folder: Path) -> bool:
    """Return whether a folder is a run's, or raise StorageError if it may not be looked into."""
    try:
        return (folder / "config.yaml").is_file()
    except OSError as error:
        raise StorageError(
            f"{folder}: cannot be read", error.strerror or str(error), "a folder that may be read"
        ) from error


def refuse_if_begun(run_dir: Path) -> None:
    """Raise UsageError if another process has begun a run in the folder before it was locked."""
    if others_in(run_dir):
        raise _exists_already(run_dir)


def others_in(run_dir: Path) -> list[Path]:
    """Return what lies in a folder besides the lock."""
    return [path for path in run_dir.iterdir() if path.name != LOCK]


def remove_unstarted_run(run_dir: Path) -> None:
    """Remove what a run leaves that was killed before its first checkpoint, but for the lock.

    Raises UsageError, and removes nothing, if the folder holds anything else.
    """
    found = others_in(run_dir)
    if any(not (path.name in WRITTEN or path.name.startswith(UNFINISHED)) for path in found):
        raise _exists_already(run_dir)
    with storing(run_dir):
        for path in found:
            remove(path)


def write_description(
    run_dir: Path, config_text: str, device: torch.device, processes: int = 1
) -> None:
    """Write `config.yaml` and `environment.json`."""
    described = json.dumps(environment(device, processes), indent=2) + "\n"
    # durably: without its config no checkpoint of the run can be resumed
    for name, text in (("environment.json", described), ("config.yaml", config_text)):
        with storing(run_dir / name):
            replace_file(run_dir / name, text.encode())


def environment(device: torch.device, processes: int = 1) -> dict[str, Any]:
    """Return what a run's results depend on besides its config and data."""
    return {
        "command": sys.argv,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "device": device_name(device),
        "processes": processes,
        "threads": torch.get_num_threads(),
        "cpu_capability": torch.backends.cpu.get_cpu_capability(),
        "torch": torch.__version__,
        "packages": package_versions(),
    }


def _exists_already(run_dir: Path) -> UsageError:
    return UsageError(
        f"--run-dir {run_dir} exists already",
        "a run is never overwritten",
        "choose another folder",
    )


def write_error_log(run_dir: Path, error: BaseException) -> None:
    """Write the traceback of a failed run; a full disk must not hide the error itself."""
    text = printable("".join(traceback.format_exception(error)))
    with suppress(OSError):
        replace_file(run_dir / "error.log", text.encode())


def forget_error_log(run_dir: Path) -> None:
    """Remove the traceback of an earlier failure when the run is resumed."""
    path = run_dir / "error.log"
    with storing(path):
        path.unlink(missing_ok=True)


def package_versions() -> dict[str, str]:
    """Return the versions of the packages that a run's results depend on."""
    return dict(_package_versions())


@cache  # each is read from a file, and in one process none changes
def _package_versions() -> dict[str, str]:
    return {package: version(package) for package in PACKAGES}


def device_name(device: torch.device) -> str:
    """Return the device and its hardware's name, such as "cuda:0 (NVIDIA H100)"."""
    if device.type == "cuda":
        return f"{device} ({torch.cuda.get_device_name(device)})"
    return f"{device} ({platform.processor() or platform.machine()})"
