"""A training state as tensors and plain values, ready to be written, and back again."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class TrainingState:
    """What a checkpoint holds."""

    model: dict[str, Tensor]  # parameters and buffers
    optimizer: dict[str, Tensor]  # "<parameter index>.<name>"
    values: dict[str, Any]  # plain JSON: step, epoch, metrics, the optimizer's options


def capture(
    model: nn.Module, optimizer: torch.optim.Optimizer, values: dict[str, Any]
) -> TrainingState:
    """Return the state of a run after a step; the tensors are the live ones, not copies."""
    optimizer_state = optimizer.state_dict()
    tensors = {
        f"{index}.{name}": value
        for index, entries in optimizer_state["state"].items()
        for name, value in entries.items()
        if isinstance(value, Tensor)
    }
    groups = optimizer_state["param_groups"]
    return TrainingState(model.state_dict(), tensors, {**values, "param_groups": groups})


def restore_optimizer(optimizer: torch.optim.Optimizer, state: TrainingState) -> None:
    """Put a captured state back into an optimizer over the same parameters."""
    entries: dict[int, dict[str, Tensor]] = {}
    for key, value in state.optimizer.items():
        index, _, name = key.partition(".")
        entries.setdefault(int(index), {})[name] = value
    optimizer.load_state_dict({"state": entries, "param_groups": state.values["param_groups"]})
