"""Check a saved optimizer state against what the optimizer itself would hold.

A fused kernel does not check names or sizes: it reads past the end of a tensor that is too small.
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping
from copy import copy
from typing import Any

import torch
from pydantic import Field
from torch import Tensor

from bptrain.stateful import PlainState, mapping

LARGEST = 2.0**63  # of a number of a search, in absolute value
Entries = Mapping[str, Any]  # of one parameter, by name


def refuse_other_entries(optimizer: torch.optim.Optimizer, state: Mapping[int, Entries]) -> None:
    """Raise ValueError for entries that this optimizer would not have created."""
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    if isinstance(optimizer, torch.optim.LBFGS):
        history = optimizer.param_groups[0]["history_size"]
        for entries in state.values():  # one entry: L-BFGS treats all parameters as one vector
            refuse_other_search(entries, sum(p.numel() for p in parameters), history)
        return
    first = dict(enumerate(entries_of_a_first_step(optimizer)))
    for index, entries in state.items():
        if set(mapping(entries)) != set(first[index]):
            raise ValueError(f"its entries are {sorted(entries)}, not {sorted(first[index])}")
        for name, own in first[index].items():
            parameter = parameters[index]
            shape = parameter.shape if own.dim() == parameter.dim() else own.shape
            if describe(entries[name]) != describe(own.expand(shape)):
                raise ValueError(f"{name} of parameter {index} is {describe(entries[name])}")


def entries_of_a_first_step(optimizer: torch.optim.Optimizer) -> Iterator[dict[str, Tensor]]:
    """Yield each parameter's entries, made for a placeholder of one element with as many axes.

    A copy of the optimizer takes a step on them, so that no table of every optimizer's entries
    is needed here.
    """
    for each in getattr(optimizer, "optimizers", [optimizer]):
        small = copy(each)
        small.state = defaultdict(dict)
        small.param_groups = [
            {**group, "params": [_small(p) for p in group["params"]]} for group in each.param_groups
        ]
        small.step()
        for group in small.param_groups:
            yield from (small.state[parameter] for parameter in group["params"])


def describe(value: Any) -> str:
    """Return shape and dtype of a tensor, or the type of anything else."""
    if not isinstance(value, Tensor):
        return "none" if value is None else f"a {type(value).__name__}"
    return f"{tuple(value.shape)} of {value.dtype}"


def _small(parameter: Tensor) -> Tensor:
    """Return a parameter of one element with as many axes, and a gradient of 0."""
    small = parameter.new_zeros((1,) * parameter.dim()).requires_grad_()
    small.grad = torch.zeros_like(small)
    return small


class StartedSearch(PlainState):
    """The state of L-BFGS if the first gradient was 0."""

    func_evals: int = Field(ge=0)
    n_iter: int = Field(ge=0)


class Search(StartedSearch):
    """The state of L-BFGS: vectors over all parameters, each with its scalars."""

    d: Any
    prev_flat_grad: Any
    t: Any
    H_diag: Any
    prev_loss: Any
    old_dirs: list[Any]
    old_stps: list[Any]
    ro: list[Any]


def refuse_other_search(entries: Entries, count: int, history: int) -> None:
    """Raise ValueError for a state that L-BFGS over `count` numbers would not hold."""
    held = dict(mapping(entries))
    scratch = held.pop("al", [None] * history)  # written anew in every step
    if not isinstance(scratch, list) or len(scratch) != history:
        raise ValueError(f"al is {describe(scratch)}, not a list of {history}")
    if held.get("n_iter") == 0 and len(held) == len(StartedSearch.model_fields):
        StartedSearch.read(held)
        return
    search = Search.read(held)
    for vector in (search.d, search.prev_flat_grad, *search.old_dirs, *search.old_stps):
        _refuse_other_size(vector, (count,))
    for scalar in (search.t, search.H_diag, search.prev_loss, *search.ro):
        if type(scalar) not in (int, float) or not (abs(scalar) < LARGEST):
            _refuse_other_size(scalar, ())
    lengths = {len(search.old_dirs), len(search.old_stps), len(search.ro)}
    if len(lengths) > 1 or max(lengths) > history:
        raise ValueError(f"its history has {lengths} directions, at most {history} are allowed")


def _refuse_other_size(value: Any, shape: tuple[int, ...]) -> None:
    """Raise ValueError unless the value is a float32 tensor of the shape, and finite."""
    if not isinstance(value, Tensor) or (value.shape, value.dtype) != (shape, torch.float32):
        raise ValueError(f"{describe(value)} where the search has {shape} of torch.float32")
    if not value.isfinite().all():
        raise ValueError("a number of the search is not finite")
