"""The observer that collects the links of a step while the tape runs it."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from bptrain.monitor.explanation.derivations import derivation_of, file_of
from bptrain.monitor.explanation.links import Argument, Index, Link, Part
from bptrain.tape.calls import Call, Entry, Function, Gradients, Value, Values

MOST_ELEMENTS = 4  # of an output whose every element's part in the chain rule is shown
CONSTANT = "a constant"  # what no name is known of
LETTERS = {"bptt": ("y", "h", "c")}  # of the outputs of operations with several
Lines = Callable[[Entry], tuple[list[str], list[str]]]


@dataclass
class Seen:
    """An entry of the program as it ran.

    read       the values that it read, by number
    outputs    what it computed
    saved      what it kept for its backward pass
    upstream   the loss's gradients by its outputs
    handed_on  what it added to the gradients by the values that it read, by number
    parts      of elements of its output
    """

    entry: Entry
    read: dict[int, Tensor]
    outputs: list[Tensor | None]
    saved: Any
    upstream: list[Tensor | None] = field(default_factory=list)
    handed_on: dict[int, Tensor] = field(default_factory=dict)
    parts: tuple[Part, ...] = ()

    @property
    def place(self) -> int | None:
        """The first output that the loss reads; None if it reads none."""
        return next((n for n, each in enumerate(self.upstream) if each is not None), None)


class Collector:
    """Collects what every entry computes, the gradients that reach it, and those it hands on."""

    def __init__(self) -> None:
        self.seen: list[Seen] = []
        self.room = 0  # how many values there are
        self._by_entry: dict[int, Seen] = {}
        self._so_far: dict[int, Tensor] = {}  # the gradients by values, as far as they are added

    def after_forward(self, entry: Entry, values: Values, saved: Any) -> None:
        """Keep what the entry read and computed."""
        self.room = len(values)
        read = {n: values[n].detach().clone() for n in entry.reads}
        outputs = [None if n is None else values[n].detach().clone() for n in entry.outputs]
        self._by_entry[id(entry)] = Seen(entry, read, outputs, saved)
        self.seen.append(self._by_entry[id(entry)])

    def before_backward(self, entry: Entry, upstream: Sequence[Tensor | None], saved: Any) -> None:
        """Keep the upstream gradients, and split the first into the parts of single elements."""
        seen = self._by_entry[id(entry)]
        seen.upstream = [None if each is None else each.detach().clone() for each in upstream]
        if isinstance(entry, Call) and seen.place is not None and saved is not None:
            seen.parts = tuple(parts_of(entry, seen, self.room))

    def after_backward(self, entry: Entry, gradients: Gradients) -> None:
        """Keep what the entry has added to the gradients by the values that it read."""
        seen = self._by_entry[id(entry)]
        for number in dict.fromkeys(entry.reads):
            now, before = gradients[number], self._so_far.get(number)
            if now is not None and now is not before:
                added = now if before is None else now - before
                seen.handed_on[number] = added.detach().clone()
                self._so_far[number] = now

    def links(self, origins: Mapping[int, str], python: Lines, boundary: int) -> tuple[Link, ...]:
        """Return the links that the gradient passes through, in the order of the forward pass.

        origins   names of the parameters, the buffers and the batch's tensors, by number
        python    the lines of an entry in the tape's Python
        boundary  how many entries are the model's; the others are the loss's
        """
        known = dict(origins)
        links: list[Link] = []
        for place, seen in enumerate(self.seen):
            if seen.place is None:  # such as a view of the sample: its output is called as it is
                name = next((known[n] for n in seen.entry.reads if n in known), CONSTANT)
                if name != CONSTANT and not makes_constants(seen.entry):
                    known |= {n: name for n in seen.entry.outputs if n is not None}
                continue
            link = link_of(seen, len(links) + 1, known, python(seen.entry), place >= boundary)
            links.append(link)
            outputs = [number for number in seen.entry.outputs if number is not None]
            known |= dict.fromkeys(outputs, f"{link.letter} of {link.number} {link.title}")
        return tuple(links)


def link_of(
    seen: Seen,
    number: int,
    known: Mapping[int, str],
    python: tuple[list[str], list[str]],
    is_loss: bool,
) -> Link:
    """Return the link of an entry that the gradient passes through."""
    entry, place = seen.entry, seen.place
    assert place is not None
    output, upstream = seen.outputs[place], seen.upstream[place]
    assert output is not None
    assert upstream is not None
    arguments = [
        Argument(letter, known.get(n, CONSTANT), seen.read[n], seen.handed_on.get(n))
        for letter, n in letters_of(entry)
    ]
    return Link(
        number=number,
        layer=entry.layer,
        operation=operation_of(entry),
        derivation=derivation_of(file_of(entry.operation)) if isinstance(entry, Call) else None,
        arguments=tuple(arguments),
        options=options_of(entry),
        letter=letter_of(entry, place, output),
        output=output,
        upstream=upstream,
        parts=seen.parts,
        is_whole=len(seen.parts) == sum(u.numel() for u in seen.upstream if u is not None),
        is_loss=is_loss,
        python=python,
    )


def parts_of(entry: Call, seen: Seen, room: int) -> list[Part]:
    """Return the parts of the elements with the largest gradients, or of all if they are few."""
    place = seen.place
    assert place is not None
    upstream = seen.upstream[place]
    assert upstream is not None
    count = upstream.numel() if upstream.numel() <= MOST_ELEMENTS else 1
    parts = []
    for index in strongest(upstream, count):
        one = torch.zeros_like(upstream)
        one[index] = 1
        alone = [one if n == place else None for n in range(len(seen.upstream))]
        slopes = by_letter(entry, pulled_back(entry, alone, seen.saved, room))
        parts.append(Part(index, float(upstream[index]), slopes))
    return parts


def strongest(gradient: Tensor, count: int) -> list[Index]:
    """Return the indices of the elements with the largest gradients; of all, in their order."""
    flat = gradient.abs().nan_to_num(0.0).flatten()
    places = range(count) if count == flat.numel() else flat.topk(count).indices.tolist()
    return [index_of(place, gradient) for place in places]


def index_of(place: int, tensor: Tensor) -> Index:
    """Return the index of an element of the flattened tensor."""
    # torch.unravel_index would import sympy: 5 s
    return tuple(int(each) for each in np.unravel_index(place, tuple(tensor.shape)))


def pulled_back(entry: Call, upstream: Sequence[Tensor | None], saved: Any, room: int) -> Gradients:
    """Return what an entry's own backward pass makes of other upstream gradients, by number.

    room  how many values the program has
    """
    gradients: Gradients = [None] * room
    for number, gradient in zip(entry.outputs, upstream, strict=True):
        if number is not None:
            gradients[number] = gradient
    with torch.no_grad():
        entry.backward(gradients, saved)
    return gradients


def by_letter(entry: Call, gradients: Gradients) -> dict[str, Tensor]:
    """Return the gradients by an entry's arguments, by their letters."""
    found = {letter: gradients[number] for letter, number in letters_of(entry)}
    return {letter: each for letter, each in found.items() if each is not None}


def letters_of(entry: Entry) -> list[tuple[str, int]]:
    """Return the letter and the number of each tensor that an entry reads."""
    if not isinstance(entry, Call):
        return [("x", number) for number in entry.reads]
    names = list(entry.operation.inputs)
    if entry.operation.is_variadic:
        tensors = len(entry.arguments) - len(names) + 1
        names[-1:] = [f"x_{number}" for number in range(1, tensors + 1)]
    given = zip(names, entry.arguments, strict=True)
    return [(name, each.number) for name, each in given if isinstance(each, Value)]


def letter_of(entry: Entry, place: int, output: Tensor) -> str:
    """Return the letter of an output."""
    if not isinstance(entry, Call):
        return "y"
    if entry.operation.precision.is_loss and output.dim() == 0:
        return "L"
    return LETTERS.get(entry.operation.name, ("y",) * (place + 1))[place]


def operation_of(entry: Entry) -> str:
    """Return the name of what an entry computes."""
    if isinstance(entry, Call):
        return entry.operation.name
    assert isinstance(entry, Function), "a step that is explained has no segments"
    return str(entry.function).split(".")[1].strip("_")


def makes_constants(entry: Entry) -> bool:
    """Return whether an entry reads a value for its dtype and device alone, as new_zeros does."""
    name = operation_of(entry)
    return name.startswith("new_") or name.endswith("_like")


def options_of(entry: Entry) -> dict[str, str]:
    """Return the plain arguments of an operation as text, without those that are None."""
    if not isinstance(entry, Call) or entry.operation.is_variadic:
        return {}
    given = zip(entry.operation.inputs, entry.arguments, strict=True)
    plain = {name: each for name, each in given if isinstance(each, bool | int | float | str)}
    for each in entry.arguments:
        if hasattr(each, "stride") and hasattr(each, "_asdict"):  # a convolution's geometry
            plain |= each._asdict()
    return {name: str(each) for name, each in plain.items()}
