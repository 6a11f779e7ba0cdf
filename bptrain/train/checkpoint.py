"""Checkpoints: safetensors and JSON, written under another name and renamed once complete.

    checkpoints/step-000500/
        model.safetensors  optimizer.safetensors  state.json
        manifest.json       size and SHA-256 of each of the others, written last

Reading trusts nothing: sizes and checksums are verified before a byte is interpreted, and neither
format can hold code.
"""

import json
import shutil
from hashlib import sha256
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load, save

from bptrain.errors import CheckpointError
from bptrain.train.state import TrainingState
from bptrain.train.storage import storing, sync_directory, write_durably

MANIFEST = "manifest.json"
FILES = ("model.safetensors", "optimizer.safetensors", "state.json")
UNFINISHED = ".unfinished-"


def write_checkpoint(directory: Path, state: TrainingState) -> Path:
    """Write `state` into a new folder of `directory` and return it; all of it or nothing."""
    path = directory / f"step-{state.values['step']:06d}"
    with storing(path):
        unfinished = directory / (UNFINISHED + path.name)
        shutil.rmtree(unfinished, ignore_errors=True)
        unfinished.mkdir(parents=True)
        contents = {
            "model.safetensors": save(_writable(state.model)),
            "optimizer.safetensors": save(_writable(state.optimizer)),
            "state.json": _json(state.values),
        }
        for name, content in contents.items():
            write_durably(unfinished / name, content)
        manifest = {
            name: {"bytes": len(content), "sha256": sha256(content).hexdigest()}
            for name, content in contents.items()
        }
        write_durably(unfinished / MANIFEST, _json(manifest))
        sync_directory(unfinished)
        unfinished.rename(path)
        sync_directory(directory)
    return path


def read_checkpoint(path: Path) -> TrainingState:
    """Return the verified state of a checkpoint folder, or raise CheckpointError."""
    contents = {name: _verified(path, name, entry) for name, entry in _manifest(path).items()}
    try:
        model, optimizer = (load(contents[name]) for name in FILES[:2])
        return TrainingState(model, optimizer, json.loads(contents[FILES[2]]))
    except (SafetensorError, ValueError, RecursionError) as error:
        raise CheckpointError(f"{path}: not a checkpoint of bptrain", str(error)) from error


def read_values(path: Path) -> dict[str, Any]:
    """Return the verified `state.json` of a checkpoint folder, or raise CheckpointError."""
    content = _verified(path, FILES[2], _manifest(path)[FILES[2]])
    try:
        values: dict[str, Any] = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f"{path}: not a checkpoint of bptrain", str(error)) from error
    return values


def list_checkpoints(directory: Path) -> list[Path]:
    """Return the finished checkpoint folders, oldest first."""
    return sorted(directory.glob("step-*"), key=lambda path: (len(path.name), path.name))


def best_checkpoint(directory: Path) -> Path:
    """Return the checkpoint of least validation loss, the last one if none was validated."""
    losses = {path: read_values(path).get("val/loss") for path in last_first(directory)}
    validated = {path: loss for path, loss in losses.items() if loss is not None}
    return min(validated, key=validated.__getitem__) if validated else next(iter(losses))


def last_first(directory: Path) -> list[Path]:
    """Return the checkpoint folders, newest first, or raise CheckpointError if there is none."""
    paths = list_checkpoints(directory)[::-1]
    if not paths:
        raise CheckpointError(f"{directory}: no checkpoint", hint="was the run stopped early?")
    return paths


def prune(directory: Path, keep_last: int) -> None:
    """Remove all checkpoints but the newest `keep_last` and the best one."""
    kept = {best_checkpoint(directory), *last_first(directory)[:keep_last]}
    with storing(directory):
        for path in list_checkpoints(directory):
            if path not in kept:
                shutil.rmtree(path)


def _writable(tensors: dict[str, Any]) -> dict[str, Any]:
    """Return the tensors as safetensors takes them: contiguous, none in the memory of another.

    A weight that two layers share is written twice, so that every name is there to be read.
    """
    written: dict[str, Any] = {}
    taken: set[int] = set()
    for name, tensor in tensors.items():
        alone = tensor.detach().contiguous()
        if alone.untyped_storage().data_ptr() in taken:
            alone = alone.clone()
        taken.add(alone.untyped_storage().data_ptr())
        written[name] = alone
    return written


def _json(value: object) -> bytes:
    return json.dumps(value, indent=2, allow_nan=False).encode()


def _manifest(path: Path) -> dict[str, dict[str, Any]]:
    try:
        manifest = json.loads((path / MANIFEST).read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        raise CheckpointError(f"{path}: no readable {MANIFEST}", str(error)) from error
    entries = manifest.values() if isinstance(manifest, dict) else ()
    if not isinstance(manifest, dict) or set(manifest) != set(FILES):
        raise CheckpointError(f"{path / MANIFEST}: does not list exactly {', '.join(FILES)}")
    if not all(isinstance(entry, dict) and set(entry) == {"bytes", "sha256"} for entry in entries):
        raise CheckpointError(f"{path / MANIFEST}: an entry lacks its size or checksum")
    return manifest


def _verified(path: Path, name: str, entry: dict[str, Any]) -> bytes:
    try:
        content = (path / name).read_bytes()
    except OSError as error:
        raise CheckpointError(f"{path / name}: cannot be read", str(error)) from error
    if len(content) != entry["bytes"] or sha256(content).hexdigest() != entry["sha256"]:
        raise CheckpointError(
            f"{path / name}: damaged: {len(content):,} bytes that do not match the manifest",
            hint="take another checkpoint of the run",
        )
    return content
