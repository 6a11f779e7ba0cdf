"""The state of an optimizer and of torch's random generators, taken and put back."""

from collections.abc import Mapping
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

from bptrain.rundir.training_state import Tree
from bptrain.saved_values import mapping
from bptrain.train.optimizer_entries import form_of, refuse_other_entries


@runtime_checkable
class CarriesState(Protocol):
    """A model that goes on from one batch to the next, such as one that reads a text."""

    def carried_state(self) -> dict[str, Tensor]:
        """Return what the next batch goes on from."""
        ...

    def carry_on(self, tensors: dict[str, Tensor]) -> None:
        """Go on from what was returned."""
        ...


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
