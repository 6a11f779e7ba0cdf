"""All that a resume needs, as tensors and plain values, ready to be written, and back again.

A state is a tree of dicts and lists. For writing, its tensors are taken out by their path, and
what is left is plain JSON:

    {"optimizer": {"0": {"step": 3, "exp_avg": tensor}}}
    {"optimizer": {"0": {"step": 3, "exp_avg": {"tensor": "optimizer/0/exp_avg"}}}}
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

from torch import Tensor, nn

from bptrain.errors import CheckpointError
from bptrain.saved_values import mapping

Tree: TypeAlias = Any  # dicts by string, lists, tensors and plain values


TENSOR = "tensor"


@dataclass(frozen=True)
class TrainingState:
    """What a checkpoint holds."""

    model: dict[str, Tensor]  # parameters and buffers
    optimizer: dict[str, Tensor]  # all other tensors, by their path in the tree
    values: dict[str, Any]  # plain JSON: step, epoch, metrics, and the rest of the tree


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
