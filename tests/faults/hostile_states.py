"""Forged training states whose checksums agree: what is changed in a valid one, by name."""

import json
import re
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import torch
from checkpoints import put
from safetensors.torch import load, save
from torch import Tensor

Tree = Any
Forgery = Callable[[Path], None]  # of a checkpoint's folder
Key = tuple[str, ...]

MISSING = object()
PLAIN: dict[str, Any] = {
    "missing": MISSING,
    "null": None,
    "text": "x",
    "a list": [],
    "a mapping": {},
    "true": True,
    "below zero": -1,
    "a fraction": 0.5,
    "2^70": 2**70,
    "10^300": 1e300,
    "a tensor that is not there": {"tensor": "nowhere"},
    "another tensor": {"tensor": "generators/cpu"},
}
TENSORS: dict[str, Callable[[Tensor], Tensor | None]] = {
    "missing": lambda _: None,
    "empty": lambda each: each.new_zeros(0),
    "a scalar": lambda each: each.new_zeros(()),
    "a single number": lambda each: each.new_zeros(1),
    "twice as long": lambda each: torch.cat([each.flatten()] * 2),
    "shorter by one": lambda each: each.flatten()[1:],
    "of an axis more": lambda each: each.unsqueeze(0).clone(),
    "of a long axis": lambda each: each.new_zeros(1, 1, 1, 1, 2**20),
    "flat": lambda each: each.flatten().clone(),
    "transposed": lambda each: each.transpose(0, -1).contiguous() if each.dim() > 1 else each,
    "of int64": lambda each: each.long(),
    "of bool": lambda each: each.bool(),
    "of complex64": lambda each: each.to(torch.complex64),
    "of float64": lambda each: each.double(),
    "of float16": lambda each: each.half(),
    "not a number": lambda each: full_of(each, torch.nan),
    "infinite": lambda each: full_of(each, torch.inf),
}
MODEL, OPTIMIZER, STATE = "model.safetensors", "optimizer.safetensors", "state.json"


def full_of(tensor: Tensor, value: float) -> Tensor:
    """Return the tensor filled with a value, if its dtype can represent it."""
    return torch.full_like(tensor, value) if tensor.is_floating_point() else tensor


def forgeries(valid: Path) -> dict[str, Forgery]:
    """Return the forgeries of each part of a checkpoint's state, by name.

    Of many parts of one kind, such as the moments of all parameters, one is forged.
    """
    values = json.loads((valid / STATE).read_text())
    found: dict[str, Forgery] = {}
    for key in one_of_a_kind(keys_of(values)):
        for how, value in PLAIN.items():
            if of(values, key) != value:
                found[f"{'/'.join(key)} is {how}"] = plain(key, value)
    for file, what in ((MODEL, "weight"), (OPTIMIZER, "tensor")):
        tensors = load((valid / file).read_bytes())
        names = [name for (name,) in one_of_a_kind((name,) for name in sorted(tensors))]
        for name in names[:1] if file == MODEL else names:
            for how, change in TENSORS.items():
                if not is_same(tensors[name], change(tensors[name])):
                    found[f"{what} {name} is {how}"] = forged_tensor(file, name, change)
    return found | positions_on_the_board(values)


def is_same(tensor: Tensor, changed: Tensor | None) -> bool:
    """Return whether the change left the tensor as it was."""
    if changed is None or (changed.shape, changed.dtype) != (tensor.shape, tensor.dtype):
        return False
    return changed.equal(tensor)


def one_of_a_kind(keys: Iterable[Key]) -> list[Key]:
    """Return the first key of each kind."""
    kinds: dict[str, Key] = {}
    for key in keys:
        kind = re.sub(r"optimizer/\d+", "optimizer/N", "/".join(key))
        kinds.setdefault(re.sub(r"average/tensors/.+", "average/tensors/NAME", kind), key)
    return list(kinds.values())


def keys_of(tree: Tree, above: Key = ()) -> Iterator[Key]:
    """Yield the path of each part of the plain values, except metrics that are only displayed."""
    if isinstance(tree, dict):
        for name, each in tree.items():
            if above != ("metrics",) or name == "val/loss":
                yield (*above, name)
                yield from keys_of(each, (*above, name))


def of(tree: Tree, key: Key) -> Any:
    """Return the part of a tree at a path."""
    for name in key:
        tree = tree[name]
    return tree


def plain(key: Key, value: Any) -> Forgery:
    """Replace a value, or remove it."""

    def forge(folder: Path) -> None:
        values = json.loads((folder / STATE).read_text())
        part = of(values, key[:-1])
        if value is MISSING:
            del part[key[-1]]
        else:
            part[key[-1]] = value
        put(folder, STATE, json.dumps(values, indent=2).encode())

    return forge


def forged_tensor(file: str, name: str, change: Callable[[Tensor], Tensor | None]) -> Forgery:
    """Replace a tensor, or remove it."""

    def forge(folder: Path) -> None:
        tensors = load((folder / file).read_bytes())
        changed = change(tensors.pop(name))
        put(folder, file, save(tensors if changed is None else {**tensors, name: changed}))

    return forge


def positions_on_the_board(values: Tree) -> dict[str, Forgery]:
    """Make the log's position name other event files than its own."""
    key = ("states", "log", "board")
    (own,) = of(values, key)
    names = (
        "../../outside",
        "/outside",
        f"{own}/../../../outside",
        f"../tensorboard/{own}",
        "",
        ".",
        "\0",
    )
    return {f"the board is at {name!r}": plain(key, {name: 10, own: 0}) for name in names}
