"""The attributes of modules around a forward pass that is recorded: which ones it changes, and how.

carried   it holds tensors alone, computed by the model: an input and an output of the program
others    such as a counter: the next step may be another one, so that each is recorded anew
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

from torch import Tensor, nn
from torch.utils._pytree import tree_leaves, tree_map_only

from bptrain.tape.calls import Value
from bptrain.tape.recorder import OffTapeError, Recorder
from bptrain.tape.slots import ABSENT, Carried, Slot, layout
from bptrain.tape.state import REFILLED, attribute_tensors, changed, state_of


class Changing(NamedTuple):
    """The attributes that forward passes were seen to change."""

    carried: frozenset[Slot] = frozenset()
    others: frozenset[Slot] = frozenset()


NONE_CHANGES = Changing()


class Attributes:
    """What the modules hold before a forward pass, and what has become of it afterwards."""

    def __init__(self, recorder: Recorder, modules: list[nn.Module]) -> None:
        self.recorder, self.modules = recorder, modules
        self.before = state_of(modules)
        self.tensors = attribute_tensors(modules)
        held = [each for tensors in self.tensors.values() for each in tensors]
        if any(each.requires_grad and not isinstance(each, nn.Parameter) for each in held):
            raise OffTapeError("a module's attribute is a tensor that requires a gradient")
        self.numbers = {
            slot: [recorder.know(each) for each in tensors]
            for slot, tensors in self.tensors.items()
        }

    def besides(self, carried: list[Carried]) -> dict[int, Tensor]:
        """Return the tensors that are held besides those that are carried, by number."""
        slots = {each.slot for each in carried}
        return {
            number: tensor
            for slot, tensors in self.tensors.items()
            if slot not in slots
            for number, tensor in zip(self.numbers[slot], tensors, strict=True)
        }

    def names(self, carried: Sequence[Carried], modules: dict[nn.Module, str]) -> dict[int, str]:
        """Return the names of the tensors that are carried, by number: attribute and place."""
        return {
            number: f"{modules[slot.module]}.{slot.name}[{place}]".lstrip(".")
            for slot, reads, *_ in carried
            for place, number in enumerate(reads)
        }

    def after(
        self, model: nn.Module, known: Changing, computed: int
    ) -> tuple[list[Carried], Changing, bool]:
        """Return what is carried, all attributes known to change, and whether the step varies.

        known     the attributes known to change before
        computed  how many values the forward pass of the model has known
        """
        self._refuse_overwritten()
        after = state_of(self.modules)
        moved = changed(self.modules, self.before, after)
        of_model = set(model.modules())
        found = {
            slot: self._carried(slot, computed) if slot.module in of_model else None
            for slot in dict.fromkeys([*known.carried, *moved])
            if slot not in known.others
        }
        others = known.others.union(slot for slot, each in found.items() if each is None)
        carried = [each for each in found.values() if each is not None]
        varies = bool(others) or self.before.generators[2] != after.generators[2]
        return carried, Changing(frozenset(each.slot for each in carried), others), varies

    def _refuse_overwritten(self) -> None:
        for slot, tensors in self.tensors.items():
            if [self.recorder.know(each) for each in tensors] != self.numbers[slot]:
                raise OffTapeError(f"an operation overwrites what the attribute {slot.name} holds")

    def _carried(self, slot: Slot, computed: int) -> Carried | None:
        """Return an attribute as an input and an output of the program, None if it is none."""
        place = self.modules.index(slot.module)
        before = self.before.contents[place].get(slot.name, ABSENT)
        after = slot.value
        if after is ABSENT or not all(map(_holds_tensors, (before, after))):
            return None
        try:
            layout((before, after), {})
            writes = tree_map_only(Tensor, lambda each: Value(self.recorder.number_of(each)), after)
        except OffTapeError:
            return None
        is_same = self.before.attributes[place].get(slot.name) is after
        carried = Carried(
            slot, self.numbers.get(slot, []), writes, is_same and type(after) in REFILLED
        )
        if any(self._has_gradient(number) for number in carried.written):
            raise OffTapeError(f"the attribute {slot.name} keeps a tensor that has a gradient")
        return carried if all(number < computed for number in carried.written) else None

    def _has_gradient(self, number: int) -> bool:
        return self.recorder.needed[number]


def _holds_tensors(value: Any) -> bool:
    return value is ABSENT or all(
        each is None or isinstance(each, Tensor) for each in tree_leaves(value)
    )
