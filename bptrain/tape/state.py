"""What a step depends on besides its batch, and what it changes: the modules' state.

watched    plain attributes, hooks, parameters and buffers of every module. A record holds as
           long as they are the same
changed    buffers, attributes and random generators, as a forward pass leaves them: two ways to
           run a step must leave them alike
"""

import random
from collections import OrderedDict, defaultdict, deque
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager
from operator import attrgetter, is_
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_flatten, tree_leaves, tree_map

from bptrain.tape.slots import ABSENT, PLAIN, Slot, is_leaf, refill

HOOKS = (
    "_forward_hooks",
    "_forward_pre_hooks",
    "_backward_hooks",
    "_backward_pre_hooks",
)
HOOKS_OF = attrgetter("_backward_hooks", "_post_accumulate_grad_hooks")  # of a parameter
IS_TRAINED = attrgetter("requires_grad")
HELD = ("_parameters", "_buffers", "_modules")
OF_TORCH = {name for name in vars(nn.Module()) if name.startswith("_")}
BY_VALUE = (*PLAIN, torch.dtype, torch.device)
REFILLED = (list, dict, OrderedDict, defaultdict, deque)  # others may hold the same object


class Watched:
    """The attributes of modules that a record depends on, as they were when it was made.

    Numbers and strings are compared by value, all else by identity; of lists, tuples and dicts also
    what they hold. Left out are the attributes that the forward pass itself changes.
    """

    def __init__(self, modules: Iterable[nn.Module], left_out: Collection[Slot] = ()) -> None:
        self.modules = list(modules)
        self.containers: list[dict[str, Any]] = []  # one for each name
        self.names: list[str] = []
        self.values: list[Any] = []
        self.contents: list[tuple[Any, list[Any]]] = []
        self.sized: list[dict[str, Any]] = []
        for module in self.modules:
            own = vars(module)
            fixed = {k: v for k, v in public(module).items() if Slot(module, k) not in left_out}
            held = [own[name] for name in HELD]
            self.sized += [own, *held, *(own[name] for name in HOOKS)]
            for container, values in ((own, fixed), *((each, each) for each in held)):
                self.containers += [container] * len(values)
                self.names += values
                self.values += values.values()
            self.contents += [
                (value, tree_leaves(value)) for value in fixed.values() if may_be_refilled(value)
            ]
        self.parameters = list(
            dict.fromkeys(p for m in self.modules for p in m.parameters(recurse=False))
        )
        self.trained = list(map(IS_TRAINED, self.parameters))
        self.sizes = list(map(len, self.sized))
        self.kinds = list(map(type, self.modules))  # bptrain.convert sets a module's class

    @property
    def hold(self) -> bool:
        """Whether everything is as it was. This runs in every step: the loops are C's."""
        if list(map(len, self.sized)) != self.sizes or list(map(type, self.modules)) != self.kinds:
            return False
        if not all(map(is_, map(dict.get, self.containers, self.names), self.values)):
            now = list(map(dict.get, self.containers, self.names))
            if not _are_same(now, self.values):
                return False
        if list(map(IS_TRAINED, self.parameters)) != self.trained:
            return False
        if any(map(has_hooks, self.parameters)):
            return False
        return all(_are_same(tree_leaves(value), leaves) for value, leaves in self.contents)


def may_be_refilled(value: Any) -> bool:
    """Return whether a value may hold something else while it is the same object."""
    if type(value) is tuple:
        return any(map(may_be_refilled, value))
    return not is_leaf(value)


def has_hooks(parameter: nn.Parameter) -> bool:
    """Return whether a parameter's gradient is told to somebody."""
    return any(HOOKS_OF(parameter))


def _are_same(now: list[Any], before: list[Any]) -> bool:
    return len(now) == len(before) and all(
        a is b or (isinstance(b, BY_VALUE) and _equal(a, b))
        for a, b in zip(now, before, strict=True)
    )


def _equal(now: object, value: object) -> bool:
    return type(now) is type(value) and now == value


def hooked(names: dict[nn.Module, str]) -> str | None:
    """Return the name of a module or parameter with hooks, which a tape would not call; or None."""
    for module, name in names.items():
        if any(getattr(module, hooks) for hooks in HOOKS):
            return name or type(module).__name__
        for own, parameter in module.named_parameters(recurse=False):
            if has_hooks(parameter):
                return f"{name}.{own}".lstrip(".")
    return None


class State(NamedTuple):
    """What a forward pass may change, as it is at one time."""

    buffers: list[Tensor]
    attributes: list[dict[str, Any]]  # of each module
    contents: list[dict[str, Any]]  # the same, with copies of lists and dicts
    generators: list[Any]

    @property
    def tensors(self) -> list[Tensor]:
        """Buffers, and the tensors within attributes that are no parameters."""
        leaves = tree_leaves((self.buffers, self.contents))
        return [each for each in leaves if is_tensor(each) and not isinstance(each, nn.Parameter)]

    @property
    def plain(self) -> list[Any]:
        """All else within attributes."""
        return [each for each in tree_leaves(self.contents) if not is_tensor(each)]


def is_tensor(value: object) -> bool:
    """Return whether a value is a tensor."""
    return isinstance(value, Tensor)


def state_of(modules: list[nn.Module]) -> State:
    """Return copies of all that a forward pass may change."""
    attributes = [public(module) for module in modules]
    buffers = {id(each): each for module in modules for each in module.buffers(recurse=False)}
    return State(
        [each.clone() for each in buffers.values()],
        attributes,
        [{name: copied(value) for name, value in each.items()} for each in attributes],
        generators(),
    )


def restore_numbers(modules: list[nn.Module], state: State) -> None:
    """Set buffers and torch's generators as they were."""
    buffers = {id(each): each for module in modules for each in module.buffers(recurse=False)}
    for buffer, value in zip(buffers.values(), state.buffers, strict=True):
        buffer.copy_(value)
    set_generators(state.generators)


def restore(modules: list[nn.Module], state: State) -> None:
    """Undo what a forward pass changed since."""
    restore_numbers(modules, state)
    for module, attributes, contents in zip(modules, state.attributes, state.contents, strict=True):
        for name in public(module).keys() - attributes.keys():
            del vars(module)[name]
        for name, value in attributes.items():
            if type(value) in REFILLED:
                refill(value, copied(contents[name]))
            vars(module)[name] = value
    random.setstate(state.generators[2])


@contextmanager
def undone_after_errors(modules: list[nn.Module], before: State) -> Iterator[None]:
    """Restore the modules if the block raises."""
    try:
        yield
    except Exception:
        restore(modules, before)
        raise


def changed(modules: list[nn.Module], before: State, after: State) -> list[Slot]:
    """Return the attributes that are others than before."""
    return [
        Slot(module, name)
        for module, one, other in zip(modules, before.contents, after.contents, strict=True)
        for name in {**one, **other}
        if not _alike(one.get(name, ABSENT), other.get(name, ABSENT))
    ]


def _alike(one: Any, other: Any) -> bool:
    if one is other:
        return True
    (leaves, spec), (other_leaves, other_spec) = tree_flatten(one), tree_flatten(other)
    return spec == other_spec and _are_same(leaves, other_leaves)


def attribute_tensors(modules: list[nn.Module]) -> dict[Slot, list[Tensor]]:
    """Return the tensors that modules hold as attributes, also within lists, tuples and dicts."""
    slots = (Slot(module, name) for module in modules for name in public(module))
    return {slot: tensors for slot in slots if (tensors := slot.tensors)}


def places_of(modules: list[nn.Module], changing: Collection[Slot]) -> dict[int, int]:
    """Return a place for each tensor that modules hold, by id, besides those that change."""
    held = [
        tensor
        for slot, tensors in attribute_tensors(modules).items()
        if slot not in changing
        for tensor in tensors
    ]
    of_torch = [t for m in modules for t in (*m.parameters(False), *m.buffers(False))]
    return {id(each): place for place, each in enumerate([*of_torch, *held])}


def generators() -> list[Any]:
    """Return the states of the random generators."""
    on_gpu = torch.cuda.is_initialized() and torch.cuda.is_available()
    return [
        torch.get_rng_state(),
        torch.cuda.get_rng_state_all() if on_gpu else [],
        random.getstate(),
    ]


def set_generators(states: list[Any]) -> None:
    """Set torch's generators to what `generators` returned."""
    torch.set_rng_state(states[0])
    if states[1]:
        torch.cuda.set_rng_state_all(states[1])


def public(module: nn.Module) -> dict[str, Any]:
    """Return the attributes of a module that are its own, not torch's."""
    return {name: value for name, value in vars(module).items() if name not in OF_TORCH}


def copied(value: Any) -> Any:
    """Return a copy of a list, tuple or dict, and of those in it; another value itself."""
    return value if is_leaf(value) else tree_map(lambda leaf: leaf, value)
