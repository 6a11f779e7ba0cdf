"""Small training states, and manifests that match replaced files."""

import json
from hashlib import sha256
from pathlib import Path

import torch

from bptrain.errors import CheckpointError
from bptrain.rundir.checkpoint import read_checkpoint
from bptrain.rundir.training_state import TrainingState


def state_at(step: int, loss: float | None = None) -> TrainingState:
    """Return a state in which every part depends on the step."""
    states = {
        "model": {"w": torch.full((3,), float(step))},
        "optimizer": {"0": {"m": torch.full((2,), float(step))}},
    }
    return TrainingState(step, states, {} if loss is None else {"val/loss": loss})


def is_valid(folder: Path) -> bool:
    """Return whether a checkpoint can be read."""
    try:
        read_checkpoint(folder)
    except CheckpointError:
        return False
    return True


def rewrite_manifest(folder: Path, **changed: object) -> None:
    """Write a manifest that matches the files, with some entries `changed`."""
    entries: dict[str, object] = {}
    for name in ("model.safetensors", "optimizer.safetensors", "state.json"):
        content = (folder / name).read_bytes()
        entries[name] = {"bytes": len(content), "sha256": sha256(content).hexdigest()}
    (folder / "manifest.json").write_text(json.dumps({**entries, **changed}, indent=2))


def put(folder: Path, name: str, content: bytes) -> None:
    """Replace a file of a checkpoint by given content, with a manifest that matches."""
    (folder / name).write_bytes(content)
    rewrite_manifest(folder)
