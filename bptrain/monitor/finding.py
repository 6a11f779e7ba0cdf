"""The first number of a step that is not finite, in words and as plain values."""

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any, Literal

from bptrain.errors import WIDTH
from bptrain.monitor.ranges import Range

Place = Literal["batch", "state", "forward", "backward"]
SHOWN_BEFORE = 3  # tensors that were still finite
SENTENCE = WIDTH - len("  why: ")


@dataclass(frozen=True)
class Seen:
    """A tensor of a step: its name, and what it holds."""

    name: str
    range: Range

    def __str__(self) -> str:
        """Describe it, as in "0.weight in [-0.5, 0.5]" or "0.weight holds 3 nan of 64"."""
        return f"{self.name} {'in' if self.range.is_finite else 'holds'} {self.range}"


def not_finite(seen: Iterable[Seen]) -> list[Seen]:
    """Return the tensors that hold a NaN or an infinity."""
    return [each for each in seen if not each.range.is_finite]


@dataclass(frozen=True)
class Finding:
    """The first number of a step that is not finite.

    place      forward or backward: an operation of that pass computed it; batch: it is in the data;
               state: it was there before the step, in a weight, a buffer or a carried state
    operation  that computed it, or was the first to read it; "" where only the layer is known
    layer      the name of the module that called the operation; "" outside of any
    tensor     that holds it
    inputs     what the operation read
    before     what the operations before it put out, which was finite, the latest first
    part       the number of the batch, of a step of several
    sample     what else is known of where it is in the data
    """

    place: Place
    operation: str
    layer: str
    tensor: Seen
    inputs: tuple[Seen, ...] = ()
    before: tuple[Seen, ...] = ()
    part: int = 0
    sample: str = ""

    @property
    def headline(self) -> str:
        """What was found, in one line."""
        by = f"layer {self.layer}" if self.layer else "between the layers"
        by += f" ({self.operation})" * bool(self.operation)
        where = {"batch": "the data", "state": f"there before the step, read by {by}"}
        more = f" ({self.sample})" if self.sample else ""
        return f"{where.get(self.place, f'{self.place} pass, {by}')}: {self.tensor}{more}"

    @property
    def sentence(self) -> str:
        """What was found and what the operation read, as much of it as an error's line holds."""
        said = self.headline
        for each in self.inputs:
            more = f"{', ' if said != self.headline else '; it read '}{each}"
            if each != self.tensor and len(said + more) <= SENTENCE:
                said += more
        return said

    @property
    def lines(self) -> list[str]:
        """All of it, line by line."""
        read = [f"  it read {each}" for each in self.inputs if each != self.tensor]
        before = [f"  before it, {each}" for each in self.before if each not in self.inputs]
        return [self.headline, *read, *before]

    def plain(self) -> dict[str, Any]:
        """Return it as plain values."""
        return asdict(self)
