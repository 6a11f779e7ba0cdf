"""The states of the model, the optimizer and the random generators, each as one `Stateful`.

Every `restore` checks names, shapes and dtypes first: a fused kernel does not, and reads past the
end of a tensor that is too small.
"""

from collections.abc import Mapping
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from bptrain.stateful import Tree, mapping
from bptrain.train.optimizer_entries import describe, refuse_other_entries
from bptrain.train.ranks import ONE, Ranks

ROWS = 1  # axis of the texts in a carried state [layers, B, H]


@runtime_checkable
class CarriesState(Protocol):
    """A model that carries a state from one batch to the next, such as a language model."""

    def carried_state(self) -> dict[str, Tensor]:
        """Return the state that the next batch starts from."""
        ...

    def carry_on(self, tensors: dict[str, Tensor]) -> None:
        """Start the next batch from a state that `carried_state` returned."""
        ...


class ModelState:
    """Parameters and buffers."""

    def __init__(self, model: nn.Module) -> None:
        self.model = model

    def state(self) -> dict[str, Tensor]:
        """Return the model's state_dict."""
        return dict(self.model.state_dict())

    def restore(self, state: Tree) -> None:
        """Load a state_dict of the same names, shapes and dtypes."""
        refuse_other_tensors(state, self.model.state_dict())
        self.model.load_state_dict(state)


class OptimizerState:
    """An optimizer's entries of each parameter, by the parameter's index.

    Its options, such as the learning rate, come from the config instead.
    """

    def __init__(self, optimizer: torch.optim.Optimizer) -> None:
        self.optimizer = optimizer

    def state(self) -> Tree:
        """Return its entries."""
        return {str(n): entries for n, entries in self.optimizer.state_dict()["state"].items()}

    def restore(self, state: Tree) -> None:
        """Load the entries of an optimizer of the same kind and the same parameters."""
        entries = {int(number): each for number, each in mapping(state).items()}
        groups = self.optimizer.state_dict()["param_groups"]
        refuse_other_entries(self.optimizer, entries)
        self.optimizer.load_state_dict({"state": entries, "param_groups": groups})


class CarriedState:
    """The state that a model carries from batch to batch, for the `rows` texts of a batch.

    Each of several processes carries that of its texts.
    """

    def __init__(
        self, model: CarriesState, rows: int, device: torch.device, ranks: Ranks = ONE
    ) -> None:
        self.model, self.rows, self.device, self.ranks = model, rows, device, ranks

    def state(self) -> dict[str, Tensor]:
        """Return the carried state of all texts, for which every process has to ask."""
        return self.of_all(self.model.carried_state())

    def of_all(self, own: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return the state of all texts, from that of this process's; every one has to ask."""
        return {name: self.ranks.gathered(each, self.rows, ROWS) for name, each in own.items()}

    def restore(self, state: Tree) -> None:
        """Start the model from the carried state of all texts, with that of this process's."""
        tensors = {name: tensor(each).to(self.device) for name, each in mapping(state).items()}
        self.model.carry_on(tensors)
        if any(each.shape[ROWS] != self.rows for each in tensors.values()):
            raise ValueError(f"the carried state is not one of {self.rows} texts")
        if self.ranks.count > 1:
            rows = self.ranks.rows(self.rows)
            own = rows if rows.start < rows.stop else slice(1)  # without a text it reads the first
            self.model.carry_on({name: each[:, own].contiguous() for name, each in tensors.items()})


class Generators:
    """torch's random generators, which dropout uses.

    No others are needed: batches and augmentation are functions of the seed and the epoch.
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device

    def state(self) -> dict[str, Tensor]:
        """Return the state of the CPU's generator, and of the GPU's if one is used."""
        states = {"cpu": torch.get_rng_state()}
        if self.device.type == "cuda":
            states["cuda"] = torch.cuda.get_rng_state(self.device)
        return states

    def restore(self, state: Tree) -> None:
        """Set the generators; that of a device that was not used stays unchanged."""
        states = mapping(state)
        for name, each in states.items():
            if tensor(each).dim() != 1:  # torch reads past other shapes in silence
                raise ValueError(f"the generator's state {name} is {describe(each)}")
        torch.set_rng_state(states["cpu"])
        if self.device.type == "cuda" and "cuda" in states:
            torch.cuda.set_rng_state(states["cuda"], self.device)


def tensor(tree: Tree) -> Tensor:
    """Return a tensor, or raise ValueError."""
    if not isinstance(tree, Tensor):
        raise ValueError(f"{describe(tree)} where a tensor is needed")  # noqa: TRY004
    return tree


def refuse_other_tensors(given: Tree, expected: Mapping[str, Tensor]) -> None:
    """Raise ValueError unless the tensors are the expected ones by name, shape and dtype."""
    for name in sorted({*mapping(given), *expected}):
        found, needed = (describe(each.get(name)) for each in (given, expected))
        if found != needed:
            raise ValueError(f"{name} is {found}, expected {needed}")
