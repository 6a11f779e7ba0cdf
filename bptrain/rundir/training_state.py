"""The state that a checkpoint holds, and its split into tensors and plain JSON.

A state is a tree of dicts and lists. To write it, its tensors are replaced by their paths, which
leaves plain JSON:

    {"optimizer": {"0": {"step": 3, "exp_avg": tensor}}}
    {"optimizer": {"0": {"step": 3, "exp_avg": {"tensor": "optimizer/0/exp_avg"}}}}
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from torch import Tensor

from bptrain.stateful import Tree

MODEL = "model"  # the state that has its own file
TENSOR = "tensor"


@dataclass(frozen=True)
class TrainingState:
    """What a checkpoint holds.

    step     optimizer steps done
    states   what each component of the run needs to continue, by name; the model's state_dict
    metrics  of the log line of that step, by tag
    """

    step: int
    states: dict[str, Tree]
    metrics: dict[str, float] = field(default_factory=dict)

    @property
    def model(self) -> dict[str, Tensor]:
        """Parameters and buffers."""
        model: dict[str, Tensor] = self.states[MODEL]
        return model

    def rest(self) -> tuple[Tree, dict[str, Tensor]]:
        """Return all states except the model's: the plain values, and the tensors by path."""
        tensors: dict[str, Tensor] = {}
        rest = {name: state for name, state in self.states.items() if name != MODEL}
        return take_apart(rest, "", tensors), tensors


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
    """Return the tree with the tensors in their places; ValueError if one is missing."""
    if isinstance(plain, dict):
        if set(plain) == {TENSOR}:
            path = plain[TENSOR]
            if not isinstance(path, str) or path not in tensors:
                raise ValueError(f"there is no tensor {path!r}")
            return tensors[path]
        return {key: put_together(each, tensors) for key, each in plain.items()}
    if isinstance(plain, list):
        return [put_together(each, tensors) for each in plain]
    return plain
