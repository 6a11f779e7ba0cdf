"""What an optimizer remembers of each parameter, looked at before it goes on from a file's word.

A fused kernel takes names and sizes on trust, and reads beyond the end of a smaller tensor.
"""

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from copy import copy
from functools import partial
from typing import Any

import torch
from torch import Tensor

from bptrain.saved_values import mapping, number, whole

Entries = Mapping[str, Any]  # of one parameter, by name

STARTED = ("func_evals", "n_iter")  # all that LBFGS remembers where the gradient was 0 at once


def refuse_other_entries(optimizer: torch.optim.Optimizer, state: Mapping[int, Entries]) -> None:
    """Raise ValueError for entries that the optimizer would not have made itself."""
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    if isinstance(optimizer, torch.optim.LBFGS):
        history = optimizer.param_groups[0]["history_size"]
        for entries in state.values():  # one, in which all parameters are one vector
            _refuse_other_search(entries, sum(p.numel() for p in parameters), history)
        return
    first = dict(enumerate(entries_of_a_first_step(optimizer)))
    for index, entries in state.items():
        _refuse_other_names(entries, first[index])
        for name, own in first[index].items():
            parameter = parameters[index]
            shape = parameter.shape if own.dim() == parameter.dim() else own.shape
            if form_of(entries[name]) != form_of(own.expand(shape)):
                raise ValueError(f"{name} of parameter {index} is {form_of(entries[name])}")


def entries_of_a_first_step(optimizer: torch.optim.Optimizer) -> Iterator[dict[str, Tensor]]:
    """Yield what an optimizer remembers of each parameter, but of parameters of one number each.

    They are made and stepped beside the real ones: no table of all optimizers' entries is kept.
    """
    for each in getattr(optimizer, "optimizers", [optimizer]):
        twin = copy(each)
        twin.state = defaultdict(dict)
        twin.param_groups = [
            {**group, "params": [_small(p) for p in group["params"]]} for group in each.param_groups
        ]
        twin.step()
        for group in twin.param_groups:
            yield from (twin.state[small] for small in group["params"])


def form_of(value: Any) -> str:
    """Return what a tensor is like, in words."""
    if not isinstance(value, Tensor):
        return "none" if value is None else f"a {type(value).__name__}"
    return f"{tuple(value.shape)} of {value.dtype}"


def _small(parameter: Tensor) -> Tensor:
    """Return a parameter of one number with as many axes, and a gradient of 0."""
    small = parameter.new_zeros((1,) * parameter.dim()).requires_grad_()
    small.grad = torch.zeros_like(small)
    return small


def _refuse_other_names(entries: Entries, wanted: Mapping[str, Any]) -> None:
    if set(mapping(entries)) != set(wanted):
        raise ValueError(f"it remembers {sorted(entries)}, not {sorted(wanted)}")


def _refuse_other_search(entries: Entries, count: int, history: int) -> None:
    """Raise ValueError for what a search over `count` numbers does not remember."""
    vector = partial(_of_size, (count,))
    scalar = partial(_of_size, ())
    wanted: dict[str, Callable[[Any], object]] = {
        **dict.fromkeys(STARTED, whole),
        **dict.fromkeys(("d", "prev_flat_grad"), vector),
        **dict.fromkeys(("t", "H_diag", "prev_loss"), scalar),
        **dict.fromkeys(("old_dirs", "old_stps"), partial(_all, vector)),
        "ro": partial(_all, scalar),
    }
    if set(mapping(entries)) == set(STARTED) and entries["n_iter"] == 0:
        wanted = dict.fromkeys(STARTED, whole)
    scratch = entries.get("al", [None] * history)  # written anew in every step
    _refuse_other_names({name: each for name, each in entries.items() if name != "al"}, wanted)
    for name, check in wanted.items():
        check(entries[name])
    lengths = {len(entries.get(name, ())) for name in ("old_dirs", "old_stps", "ro")}
    if not isinstance(scratch, list) or len(scratch) != history or len(lengths) > 1:
        raise ValueError(f"its history is of {lengths} directions, at most {history} are kept")


def _all(check: Callable[[Any], object], held: Any) -> None:
    """Raise ValueError for what is no list of what passes a check."""
    if not isinstance(held, list):
        raise ValueError(f"{form_of(held)} where the search has a list")  # noqa: TRY004
    for each in held:
        check(each)


def _of_size(shape: tuple[int, ...], value: Any) -> None:
    """Raise ValueError for what is no float32 tensor of a shape; a scalar may be a number too."""
    if shape == () and not isinstance(value, Tensor):
        number(value)
    elif not isinstance(value, Tensor) or (value.shape, value.dtype) != (shape, torch.float32):
        raise ValueError(f"{form_of(value)} where the search has {shape}")
