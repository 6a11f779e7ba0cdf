"""Attributes of modules that a forward pass changes, such as the state of a language model.

Where such an attribute holds tensors alone, it is an input and an output of the program: a run
reads the tensors in it, and assigns in their place those that it computed.
"""

from collections.abc import Hashable, Sequence
from typing import Any, NamedTuple

from torch import Tensor, nn
from torch.utils._pytree import tree_is_leaf, tree_leaves, tree_map_only

from bptrain.tape.calls import Value, Values
from bptrain.tape.recorder import OffTapeError

PLAIN = (bool, int, float, str, type(None))
LEAVES = (*PLAIN, Tensor, nn.Module)  # most of what modules hold: seen sooner than by tree_is_leaf
ABSENT = "no such attribute"


class Slot(NamedTuple):
    """An attribute of a module."""

    module: nn.Module
    name: str

    @property
    def value(self) -> Any:
        """What it holds."""
        return vars(self.module).get(self.name, ABSENT)

    @property
    def tensors(self) -> list[Tensor]:
        """The tensors in it."""
        value = self.value
        if is_leaf(value):
            return [value] if isinstance(value, Tensor) else []
        return [each for each in tree_leaves(value) if isinstance(each, Tensor)]


class Carried(NamedTuple):
    """An attribute as an input and an output of a program.

    reads     the numbers of the tensors in it before a run
    writes    what it holds after the run, `Value` where that is a tensor
    in_place  whether its list or dict stays the same object
    """

    slot: Slot
    reads: Sequence[int]
    writes: Any
    in_place: bool

    @property
    def written(self) -> list[int]:
        """The numbers of the tensors in it after a run."""
        return [each.number for each in tree_leaves(self.writes) if isinstance(each, Value)]

    def assign(self, values: Values) -> None:
        """Let it hold what a run computed."""
        after = tree_map_only(Value, lambda each: values[each.number], self.writes)
        if self.in_place:
            refill(self.slot.value, after)
        else:
            vars(self.slot.module)[self.slot.name] = after


def is_leaf(value: Any) -> bool:
    """Return whether a value is no list, tuple or dict."""
    return isinstance(value, LEAVES) or tree_is_leaf(value)


def refill(value: Any, contents: Any) -> None:
    """Let a list or dict hold these contents."""
    value.clear()
    (value.update if isinstance(value, dict) else value.extend)(contents)


def layout(value: Any, places: dict[int, int]) -> Hashable:
    """Return what a program depends on in a value: the layout of its tensors, all else by value.

    places  of the tensors that stand in a known place, by id; more are added on the way

    Raises OffTapeError for what is neither a tensor nor plain, nor a tuple, list or dict of such.
    """
    if isinstance(value, Tensor):
        first = places.setdefault(id(value), len(places))
        kind = (value.dtype, value.device, value.requires_grad)
        return (value.shape, value.stride(), *kind, first)
    if type(value) in (tuple, list):
        return (type(value), *(layout(each, places) for each in value))
    if type(value) is dict:
        return (dict, *((key, layout(each, places)) for key, each in value.items()))
    if isinstance(value, PLAIN):
        return (type(value), value)
    raise OffTapeError(f"an attribute that the forward pass changes holds a {type(value).__name__}")
