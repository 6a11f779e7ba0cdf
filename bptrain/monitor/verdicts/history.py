"""What a run logged, line by line, as its verdicts read it."""

from collections.abc import Iterable, Mapping, Sequence
from statistics import median
from sys import float_info
from typing import Any, NamedTuple

from bptrain import tags

Line = Mapping[str, Any]  # of metrics.jsonl: step, epoch, and a number or a list of them by tag
LARGEST = float_info.max
RECENT = 3  # lines whose median stands for now: one batch alone may be odd


class Point(NamedTuple):
    """A number at a step."""

    step: int
    value: float


class History:
    """The lines of a run, in order."""

    def __init__(self, lines: Sequence[Line]) -> None:
        self.lines = lines

    @property
    def step(self) -> int:
        """The step of the last line, 0 without lines."""
        return int(self.lines[-1]["step"]) if self.lines else 0

    def points(self, tag: str) -> list[Point]:
        """Return the finite numbers of a tag."""
        return [Point(each["step"], each[tag]) for each in self.lines if is_number(each.get(tag))]

    def values(self, tag: str) -> list[float]:
        """Return the finite numbers of a tag, without their steps."""
        return [value for _, value in self.points(tag)]

    def first(self, tag: str) -> float | None:
        """Return the first finite number of a tag, None if there is none."""
        return next(iter(self.values(tag)), None)

    def recent(self, tag: str) -> float | None:
        """Return the median of the last few finite numbers of a tag, None if there is none."""
        values = self.values(tag)[-RECENT:]
        return median(values) if values else None

    def layers(self, tag_of: Any) -> list[str]:
        """Return the names of the layers that have a tag, in the order of the forward pass.

        tag_of  the tag of a layer, a function of bptrain.tags
        """
        prefix = tag_of("")
        return list(dict.fromkeys(name for line in self.lines for name in _under(prefix, line)))

    def early(self, share: float) -> "History":
        """Return the lines of the first part of the run, at least one."""
        last = self.lines[0]["step"] + share * (self.step - self.lines[0]["step"])
        return History([line for line in self.lines if line["step"] <= last])

    def late(self, share: float) -> "History":
        """Return the lines of the last part of the run."""
        first = self.step - share * self.step
        return History([line for line in self.lines if line["step"] >= first])

    def observed(self) -> list[Line]:
        """Return the lines of the steps that were observed layer by layer."""
        prefix = tags.activation_gradient("")
        return [line for line in self.lines if any(True for _ in _under(prefix, line))]


def is_number(value: object) -> bool:
    """Tell whether a value is a finite number, and no integer beyond those of float64."""
    return isinstance(value, int | float) and -LARGEST <= value <= LARGEST


def _under(prefix: str, line: Line) -> Iterable[str]:
    return (tag.removeprefix(prefix) for tag in line if tag.startswith(prefix))
