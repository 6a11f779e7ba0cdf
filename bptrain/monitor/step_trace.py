"""What every value and gradient of a step on the tape holds, and what it was computed from."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from bptrain.monitor.finding import SHOWN_BEFORE, Finding, Place, Seen
from bptrain.monitor.ranges import Range
from bptrain.monitor.step_part import CONSTANT, Source
from bptrain.tape.calls import Call, Entry, Gradients, Value, Values


@dataclass
class Computed:
    """An entry that ran in one of the passes, with values or gradients by number.

    order  when it ran
    read   values forward, the gradients by its outputs backward
    wrote  its outputs forward, the gradients by what it read backward
    """

    entry: Entry
    order: int
    read: dict[int, Seen]
    wrote: dict[int, Seen] = field(default_factory=dict)

    @property
    def operation(self) -> str:
        """The name of the operation, or of torch's function, such as aten.view."""
        entry = self.entry
        if isinstance(entry, Call):
            return entry.operation.name
        return str(entry.structure[0]).rpartition(".")[0]


@dataclass
class StepTrace:
    """An observer of a step that keeps the range of everything it is shown."""

    forward: list[Computed] = field(default_factory=list)
    backward: list[Computed] = field(default_factory=list)
    _values: dict[int, Seen] = field(default_factory=dict)
    _given: dict[int, Source] = field(default_factory=dict)
    _makers: dict[int, Computed] = field(default_factory=dict)  # of values that are not finite
    _spoilers: dict[int, Computed] = field(default_factory=dict)  # of gradients likewise

    def begin(self, values: Sequence[Tensor | None], sources: Mapping[int, Source]) -> None:
        """Keep the ranges of what the step is given, by number; `sources` are by `id`."""
        for number, tensor in enumerate(values):
            if tensor is not None:
                source = sources.get(id(tensor), CONSTANT)
                self._given[number] = source
                self._values[number] = Seen(source.name, Range.of(tensor))

    def after_forward(self, entry: Entry, values: Values, saved: Any) -> None:
        """Keep the ranges of what an entry put out."""
        read = {number: self._values[number] for number in entry.reads}
        done = Computed(entry, len(self.forward), read)
        for place, number in enumerate(entry.outputs):
            if number is not None:
                name = self._output_name(entry, place)
                done.wrote[number] = self._values[number] = Seen(name, Range.of(values[number]))
        # what is changed in place may have been so before
        made = [n for n in _not_finite(done.wrote) if n not in _not_finite(done.read)]
        self._makers |= dict.fromkeys(made, done)
        self.forward.append(done)

    def before_backward(self, entry: Entry, upstream: Sequence[Tensor | None], saved: Any) -> None:
        """Keep the ranges of the gradients by an entry's outputs."""
        read = {
            number: Seen(f"the gradient by {self._values[number].name}", Range.of(gradient))
            for number, gradient in zip(entry.outputs, upstream, strict=True)
            if number is not None and gradient is not None
        }
        self.backward.append(Computed(entry, len(self.backward), read))

    def after_backward(self, entry: Entry, gradients: Gradients) -> None:
        """Keep the ranges of the gradients by what an entry read, its own part added."""
        done = self.backward[-1]
        if not done.read:
            return
        for number, name in zip(entry.reads, _input_names(entry), strict=True):
            gradient = gradients[number]
            if gradient is not None:
                by = f"the gradient by {name} ({self._values[number].name})"
                done.wrote[number] = Seen(by, Range.of(gradient))
        for number in _not_finite(done.wrote):
            self._spoilers.setdefault(number, done)

    def _output_name(self, entry: Entry, place: int) -> str:
        """Return what an output is called; a view or a cast of a value as that value."""
        if not isinstance(entry, Call) and entry.reads:
            name, like = self._values[entry.reads[0]].name, entry.likes[place]
            dtype = "" if like is None else str(like.dtype).removeprefix("torch.")
            return f"{name} as {dtype}" if "to_copy" in str(entry.structure[0]) else name
        of_layer = f" of {entry.layer}" if entry.layer else ""
        return f"the {f'output {place}' if place else 'output'}{of_layer}"

    def cause(self, loss: int, gradients: Iterable[int]) -> Finding | None:
        """Return what made the loss or a gradient not finite; None if they are finite.

        loss       its number
        gradients  the numbers of the values whose gradients count, those of the parameters

        Numbers that reach neither do not count: a score may be masked by minus infinity.
        """
        if not self._values[loss].range.is_finite:
            return self._forward_cause(loss)
        spoiled = [number for number in gradients if number in self._spoilers]
        return self._backward_cause(self._first_spoiled(spoiled)) if spoiled else None

    def _forward_cause(self, number: int, reader: Computed | None = None) -> Finding:
        """Return what made a value not finite, which was read by the `reader`, if any."""
        while (maker := self._makers.get(number)) is not None:
            earlier = _not_finite(maker.read)
            if not earlier:
                return self._found("forward", maker, maker.wrote[number])
            number = min(earlier, key=self._order_of)
            if reader is None or isinstance(maker.entry, Call):  # rather than a view before it
                reader = maker
        assert reader is not None, "the loss is computed"
        place, seen = self._given[number].place, self._values[number]
        return self._found(place, reader, seen)

    def _order_of(self, number: int) -> int:
        """Return when a value was made; what was given comes last, as it may be a mask."""
        maker = self._makers.get(number)
        return len(self.forward) if maker is None else maker.order

    def _backward_cause(self, number: int) -> Finding:
        """Return what made a value's gradient not finite."""
        spoiler = self._spoilers[number]
        while earlier := [n for n in _not_finite(spoiler.read) if n in self._spoilers]:
            number = self._first_spoiled(earlier)
            spoiler = self._spoilers[number]
        ran = next(each for each in self.forward if each.entry is spoiler.entry)
        hidden = _not_finite({**ran.read, **ran.wrote})
        if hidden:  # from the loss, such as by a mask, and not from this gradient
            return self._forward_cause(min(hidden, key=self._order_of), ran)
        return self._found("backward", spoiler, spoiler.wrote[number], tuple(ran.read.values()))

    def _first_spoiled(self, numbers: Iterable[int]) -> int:
        return min(numbers, key=lambda number: self._spoilers[number].order)

    def _found(
        self, place: Place, at: Computed, tensor: Seen, more: tuple[Seen, ...] = ()
    ) -> Finding:
        done = self.backward if place == "backward" else self.forward
        earlier = (each for each in reversed(done[: at.order]) if each.entry.changes is None)
        before = [seen for each in earlier for seen in each.wrote.values() if seen.range.is_finite]
        inputs = (*at.read.values(), *more)
        return Finding(
            place, at.operation, at.entry.layer, tensor, inputs, tuple(before[:SHOWN_BEFORE])
        )


def _not_finite(seen: Mapping[int, Seen]) -> list[int]:
    return [number for number, each in seen.items() if not each.range.is_finite]


def _input_names(entry: Entry) -> list[str]:
    """Return the names of what an entry reads, as in the operation's derivation."""
    if not isinstance(entry, Call):
        return ["its input"] * len(entry.reads)
    names = entry.operation.inputs
    places = [n for n, each in enumerate(entry.arguments) if isinstance(each, Value)]
    return [names[min(place, len(names) - 1)] for place in places]
