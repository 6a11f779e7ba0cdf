"""Weights from other programs: a state_dict of torch.save, or a safetensors file.

What torch.save wrote is a pickle. It is read by torch's restricted reader, which builds tensors and
plain values alone, and in a process of its own, within limits of memory and time.
"""

import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from bptrain.errors import CheckpointError, UsageError, shorten
from bptrain.experiment.bounded_process import (
    Answer,
    BoundedProcess,
    OverdueError,
    ProcessEndedError,
)
from bptrain.free_memory import format_bytes, free_bytes
from bptrain.rundir.tensors_file import content_of, read

SAFETENSORS, PICKLES = (".safetensors",), (".pt", ".pth", ".bin", ".ckpt")
LONGEST_S = 300.0
COPIES = 5  # of all tensors, in both processes together
NESTED = ("state_dict", "model_state_dict", "model", "weights")  # where trainers put one
WRITTEN_BY = "torch.save(model.state_dict(), FILE) writes one"


def read_foreign(path: Path) -> dict[str, Tensor]:
    """Return the tensors in a file by name, or raise CheckpointError or UsageError."""
    if path.suffix not in (*SAFETENSORS, *PICKLES):
        raise UsageError(
            f"{path}: unknown format", hint=f"a name in {', '.join((*SAFETENSORS, *PICKLES))}"
        )
    refuse_unreadable(path)
    if path.suffix in SAFETENSORS:
        return _tensors(path, path.read_bytes())
    process = BoundedProcess(read_pickles, (), free_bytes(), __name__)
    try:
        return _tensors(path, process.ask(str(path.resolve()).encode(), LONGEST_S))
    except (OverdueError, ProcessEndedError) as error:
        raise CheckpointError(
            f"{path}: cannot be read", f"{error.what} {error.why}", WRITTEN_BY
        ) from error
    finally:
        process.end()


def refuse_unreadable(path: Path) -> None:
    """Raise CheckpointError for what is no file, or too large for the free memory."""
    try:
        found = path.stat()
    except FileNotFoundError as error:
        raise CheckpointError(f"{path}: not found", f"there is no {path.absolute()}") from error
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{path}: cannot be read", shorten(str(error))) from error
    if not stat.S_ISREG(found.st_mode):
        raise CheckpointError(f"{path}: no file")
    needed, free = COPIES * found.st_size, free_bytes()
    if needed > free:
        raise CheckpointError(
            f"{path}: too large: reading it takes about {format_bytes(needed)}",
            f"{format_bytes(free)} of memory are free",
        )


def _tensors(path: Path, content: bytes) -> dict[str, Tensor]:
    try:
        return read(content)
    except ValueError as error:
        raise CheckpointError(f"{path}: damaged, or no safetensors", shorten(str(error))) from error


def read_pickles() -> tuple[bytes, Answer]:
    """Return what reads state_dicts by their paths; it runs in a process of its own."""
    return b"", lambda path: _as_safetensors(Path(path.decode()))


def _as_safetensors(path: Path) -> bytes:
    """Return the tensors of a state_dict as safetensors, or raise CheckpointError."""
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except MemoryError:
        raise
    except Exception as error:  # a damaged or hostile file may raise anything
        why = str(error).split("\n")[0] or type(error).__name__
        raise CheckpointError(
            f"{path}: no state_dict that can be read without running code", why, WRITTEN_BY
        ) from error
    return content_of(_state_dict_in(path, content))


def _state_dict_in(path: Path, content: Any) -> dict[str, Tensor]:
    """Return the state_dict that a file holds, or that a training program put into it."""
    candidates = [content]
    if isinstance(content, Mapping):
        candidates += [content[name] for name in NESTED if name in content]
    for found in candidates:
        if isinstance(found, Mapping) and found and all(map(_is_weight, found.items())):
            _refuse_expanded(path, found)
            return dict(found)
    raise CheckpointError(
        f"{path}: no state_dict: no mapping from names to tensors", hint=WRITTEN_BY
    )


def _is_weight(entry: tuple[Any, Any]) -> bool:
    name, value = entry
    return (
        isinstance(name, str)
        and isinstance(value, Tensor)
        and value.layout == torch.strided
        and not value.is_quantized
    )


def _refuse_expanded(path: Path, tensors: Mapping[str, Tensor]) -> None:
    """Raise CheckpointError for tensors that are larger than the file that holds them."""
    for name, each in tensors.items():
        if each.numel() * each.itemsize > path.stat().st_size:
            raise CheckpointError(f"{path}: {shorten(name, 80)} is larger than the file")
