"""All that a resume needs, as tensors and plain values, ready to be written, and back again.

A state is a tree of dicts and lists. For writing, its tensors are taken out by their path, and
what is left is plain JSON:

    {"optimizer": {"0": {"step": 3, "exp_avg": tensor}}}
    {"optimizer": {"0": {"step": 3, "exp_avg": {"tensor": "optimizer/0/exp_avg"}}}}
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias, runtime_checkable

import torch
from torch import Tensor, nn

from bptrain.errors import CheckpointError
from bptrain.saved_values import mapping
from bptrain.train.optimizer_entries import form_of, refuse_other_entries

Tree: TypeAlias = Any  # dicts by string, lists, tensors and plain values

TENSOR = "tensor"


@dataclass(frozen=True)
class TrainingState:
    """What a checkpoint holds."""

    model: dict[str, Tensor]  # parameters and buffers
    optimizer: dict[str, Tensor]  # all other tensors, by their path in the tree
    values: dict[str, Any]  # plain JSON: step, epoch, metrics, and the rest of the tree


@runtime_checkable
class CarriesState(Protocol):
    """A model that goes on from one batch to the next, such as one that reads a text."""

    def carried_state(self) -> dict[str, Tensor]:
        """Return what the next batch goes on from."""
        ...

    def carry_on(self, tensors: dict[str, Tensor]) -> None:
        """Go on from what was returned."""
        ...


def capture(model: nn.Module, rest: Tree, values: Mapping[str, Any]) -> TrainingState:
    """Return the state of a run between two steps; the tensors are the live ones, not copies."""
    tensors: dict[str, Tensor] = {}
    plain = take_apart(rest, "", tensors)
    return TrainingState(model.state_dict(), tensors, {**values, "state": plain})


def rest_of(state: TrainingState) -> Tree:
    """Return the tree that was captured, or raise CheckpointError."""
    try:
        return mapping(put_together(state.values["state"], state.optimizer))
    except (KeyError, TypeError, ValueError, RecursionError) as error:
        raise CheckpointError(
            "the checkpoint lacks a part of the state",
            f"{type(error).__name__}: {error}",
            "it was written by another version: train the run anew",
        ) from error


def take_apart(tree: Tree, path: str, tensors: dict[str, Tensor]) -> Tree:
    """Return the tree with its tensors replaced by their path, and put them into `tensors`."""
    if isinstance(tree, Tensor):
        tensors[path] = tree
        return {TENSOR: path}
    prefix = path and f"{path}/"
    if isinstance(tree, dict):
        assert all(isinstance(key, str) for key in tree)
        return {key: take_apart(each, f"{prefix}{key}", tensors) for key, each in tree.items()}
    if isinstance(tree, (list, tuple)):
        return [take_apart(each, f"{prefix}{n}", tensors) for n, each in enumerate(tree)]
    assert tree is None or isinstance(tree, (bool, int, float, str)), f"{path}: {type(tree)}"
    return tree


def put_together(plain: Tree, tensors: Mapping[str, Tensor]) -> Tree:
    """Return the tree with the tensors in their places; KeyError if one is missing."""
    if isinstance(plain, dict):
        if set(plain) == {TENSOR}:
            return tensors[plain[TENSOR]]
        return {key: put_together(each, tensors) for key, each in plain.items()}
    if isinstance(plain, list):
        return [put_together(each, tensors) for each in plain]
    return plain


def optimizer_state(optimizer: torch.optim.Optimizer) -> Tree:
    """Return what an optimizer remembers of each parameter, by the parameter's number."""
    return {str(number): held for number, held in optimizer.state_dict()["state"].items()}


def restore_optimizer(optimizer: torch.optim.Optimizer, state: Tree) -> None:
    """Put back what an optimizer over the same parameters remembered.

    Its options, the learning rate among them, are the config's and stay. Raises ValueError for what
    it would not have remembered.
    """
    held = {int(number): mapping(each) for number, each in mapping(state).items()}
    groups = optimizer.state_dict()["param_groups"]
    refuse_other_entries(optimizer, held)
    optimizer.load_state_dict({"state": held, "param_groups": groups})


def refuse_other_tensors(given: Mapping[str, Tensor], wanted: Mapping[str, Tensor]) -> None:
    """Raise ValueError unless the tensors are those wanted by name, shape and dtype."""
    for name in sorted({*given, *wanted}):
        found, expected = (form_of(each.get(name)) for each in (given, wanted))
        if found != expected:
            raise ValueError(f"{name} is {found}, expected {expected}")


def generators_state(device: torch.device) -> Tree:
    """Return the state of torch's generators, which dropout draws from.

    No other one is drawn from: batches and augmentation are functions of the seed and the epoch.
    """
    held = {"cpu": torch.get_rng_state()}
    return held | ({"cuda": torch.cuda.get_rng_state(device)} if device.type == "cuda" else {})


def restore_generators(device: torch.device, state: Tree) -> None:
    """Put back the state of torch's generators; one of a device that was not used stays."""
    torch.set_rng_state(state["cpu"])
    if device.type == "cuda" and "cuda" in state:
        torch.cuda.set_rng_state(state["cuda"], device)
