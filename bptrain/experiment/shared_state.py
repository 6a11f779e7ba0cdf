"""A saved state on its way from rank 0, which reads it, to processes that share the weights.

Rank 0 has all of it in the memory of its host. The others get the plain values, and of each tensor
their part: no more than one whole tensor is on a device at once.
"""

from pathlib import Path
from typing import Any, TypeAlias

import torch
from torch import Tensor

from bptrain.experiment.build import Experiment
from bptrain.rundir.training_state import MODEL, TrainingState, put_together
from bptrain.stateful import Tree, mapping
from bptrain.train.precision import parameters_of
from bptrain.train.shards import ShardedRanks, is_shard

Described: TypeAlias = list[tuple[str, torch.Size, torch.dtype]]


def from_first(
    experiment: Experiment, run_dir: Path, saved: TrainingState | None
) -> tuple[Path, TrainingState | None]:
    """Return the folder of rank 0's run, and of the state that it has read what this rank holds."""
    ranks = experiment.ranks
    if not isinstance(ranks, ShardedRanks):
        return ranks.from_first((run_dir, saved))
    plain, tensors = (None, {}) if saved is None else taken_apart(saved)
    described: Described = [(path, each.shape, each.dtype) for path, each in tensors.items()]
    run_dir, plain, described = ranks.from_first((run_dir, plain, described))
    if plain is None:
        return run_dir, None
    divided = Divided(ranks, experiment)
    received = {
        path: divided.from_first(path, tensors.get(path), like_of(shape, dtype))
        for path, shape, dtype in described
    }
    step, states, metrics = plain
    own = received.items()
    weights = {path[len(MODEL) + 1 :]: each for path, each in own if path.startswith(f"{MODEL}/")}
    rest = mapping(put_together(states, received))
    return run_dir, TrainingState(step, {MODEL: weights, **rest}, metrics)


def like_of(shape: torch.Size, dtype: torch.dtype) -> Tensor:
    """Return a tensor of a shape and dtype, without memory."""
    return torch.empty(shape, dtype=dtype, device="meta")


def taken_apart(saved: TrainingState) -> tuple[Tree, dict[str, Tensor]]:
    """Return a state's plain values, and its tensors by path, those of the model too."""
    states, tensors = saved.rest()
    weights = {f"{MODEL}/{name}": each for name, each in saved.model.items()}
    return (saved.step, states, saved.metrics), {**weights, **tensors}


class Divided:
    """Which tensors of a state are divided among the processes, by their path."""

    def __init__(self, ranks: ShardedRanks, experiment: Experiment) -> None:
        self.ranks = ranks
        states = experiment.model.state_dict().items()
        named: dict[str, Any] = {name: each for name, each in states if is_shard(each)}
        self.by_path = {f"{MODEL}/{name}": each for name, each in named.items()}
        self.by_path |= {f"average/tensors/{name}": each for name, each in named.items()}
        trained = parameters_of(experiment.update.optimizer)
        self.by_number = [ranks.wholes[part] for part in trained]

    def from_first(self, path: str, given: Tensor | None, like: Tensor) -> Tensor:
        """Return rank 0's tensor, or this rank's part of it if it is of the shape of a weight."""
        weight = self.by_path.get(path) if "optimizer/" not in path else self._updated(path)
        if weight is None or weight.shape != like.shape:
            return self.ranks.copied_from_first(given, like, torch.device("cpu"))
        cut: Tensor = self.ranks.cut_from_first(given, weight)
        return cut

    def _updated(self, path: str) -> Tensor | None:
        """Return the weight of an entry of the optimizer, such as optimizer/3/exp_avg."""
        number = path.split("/")[1]
        is_known = number.isdecimal() and int(number) < len(self.by_number)
        return self.by_number[int(number)] if is_known else None
