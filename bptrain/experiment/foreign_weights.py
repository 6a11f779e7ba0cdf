"""Weights of another program matched with a model's: by name and shape."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from bptrain.errors import CheckpointError, shorten

MANY = 10  # names that a listing shows
NAME_WIDTH = 80
WRAPPER = "_orig_mod"  # the part of a name that torch.compile adds


@dataclass(frozen=True)
class Match:
    """What fits of a file's tensors, by the model's names, and what does not.

    missing     names of the model that the file lacks
    unexpected  names of the file that the model lacks
    misshaped   names of both, with their shapes
    """

    taken: dict[str, Tensor]
    missing: list[str]
    unexpected: list[str]
    misshaped: list[str]

    @property
    def fits(self) -> bool:
        """Whether every tensor has its place, and every place its tensor."""
        return not (self.missing or self.unexpected or self.misshaped)

    def lines(self) -> list[str]:
        """Return a line for each kind of misfit: the first names and how many more there are."""
        kinds = {
            "missing in the file": self.missing,
            "unexpected in the file": self.unexpected,
            "of another shape": self.misshaped,
        }
        return [f"{len(names)} {kind}: {_listed(names)}" for kind, names in kinds.items() if names]


def _listed(names: Sequence[str]) -> str:
    shown = ", ".join(shorten(name, NAME_WIDTH) for name in names[:MANY])
    return shown + f" and {len(names) - MANY:,} more" * (len(names) > MANY)


def match(given: Mapping[str, Tensor], model: nn.Module) -> Match:
    """Return what fits of given tensors, the prefixes of their names taken off."""
    expected = model.state_dict()
    named = without_prefixes(given, expected)
    taken, misshaped = {}, []
    for name in named.keys() & expected.keys():
        found, needed = named[name], expected[name]
        if found.shape != needed.shape:
            misshaped.append(f"{name} {list(found.shape)}, expected {list(needed.shape)}")
        elif found.is_floating_point() != needed.is_floating_point():
            misshaped.append(f"{name} {found.dtype}, expected {needed.dtype}")
        else:
            taken[name] = found
    # a weight that two layers share is there if one of its names is
    there = {expected[name].data_ptr() for name in taken}
    missing = [
        name
        for name in expected
        if name not in named
        and (expected[name].data_ptr() not in there or not expected[name].numel())
    ]
    unexpected = [name for name in named if name not in expected]
    return Match(taken, missing, unexpected, sorted(misshaped))


def without_prefixes(given: Mapping[str, Tensor], expected: Mapping[str, Any]) -> dict[str, Tensor]:
    """Return tensors by their names without what wrappers add: `_orig_mod.`, `module.`, `model.`.

    A first part that all names share is taken off if no name of the model begins with it.
    """
    named = {
        ".".join(part for part in name.split(".") if part != WRAPPER): each
        for name, each in given.items()
    }
    own = {name.split(".")[0] for name in expected}
    while True:
        first = {name.partition(".")[0] for name in named}
        rest = {name.partition(".")[2]: each for name, each in named.items()}
        if len(first) != 1 or first <= own or "" in rest:
            return named
        named = rest


def load_matched(model: nn.Module, matched: Match) -> None:
    """Load what fits into a model; raises CheckpointError for two values of a shared weight."""
    model.load_state_dict(matched.taken, strict=False)
    loaded = model.state_dict()
    for name, given in matched.taken.items():
        if not _is_equal(loaded[name], given):
            raise CheckpointError(
                f"{name}: the model shares this weight with another layer, the file does not",
                "its two values differ",
            )


def _is_equal(loaded: Tensor, given: Tensor) -> bool:
    same = given.to(loaded.device, loaded.dtype) == loaded
    return bool((same | loaded.isnan()).all())  # a NaN is refused where the state is saved
