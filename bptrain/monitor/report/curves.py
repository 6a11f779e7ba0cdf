"""Line charts of what a run logged, as coordinates that the page's template draws as SVG."""

from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

from bptrain.monitor.report.axis import Axis, Tick, axis_of, steps_axis
from bptrain.monitor.verdicts import History
from bptrain.monitor.verdicts.history import is_number

WIDTH, HEIGHT = 400, 190  # of the area that holds the lines
MOST_POINTS = 400  # of a line: more are as close as the pixels


class Series(NamedTuple):
    """Numbers by step; None where one was not finite.

    style  classes of the style sheet: a color, and dashed or dot
    """

    name: str
    points: Sequence[tuple[int, float | None]]
    style: str


class Line(NamedTuple):
    """A line as drawn: parts between which numbers are missing, and numbers that stand alone."""

    name: str
    style: str
    parts: list[str]
    dots: list[tuple[float, float]]


class Chart(NamedTuple):
    """A chart as drawn.

    lost   where a number was not finite
    marks  steps that are pointed out, as a place and a label
    note   what the picture does not say itself
    """

    title: str
    lines: list[Line]
    x_ticks: list[Tick]
    y_ticks: list[Tick]
    lost: list[float]
    marks: list[tuple[float, str]]
    note: str
    x_label: str = "step"


def logged(history: History, tag: str, name: str, style: str) -> Series:
    """Return what a run logged under a tag; a number that was not finite is null there."""
    return Series(
        name,
        [
            (line["step"], float(line[tag]) if is_number(line[tag]) else None)
            for line in history.lines
            if tag in line
        ],
        style,
    )


def chart(
    title: str,
    series: Sequence[Series],
    is_log: bool | None = None,
    marks: Sequence[tuple[int, str]] = (),
) -> Chart | None:
    """Return the chart of some series; None where no number is finite."""
    values = [value for each in series for _, value in each.points if value is not None]
    if not values:
        return None
    y = axis_of(values, is_log)
    x = steps_axis(step for each in series for step, _ in each.points)
    lost = {step for each in series for step, value in each.points if value is None}
    zeros = y.is_log and min(values) <= 0
    notes = ["logarithmic axis"] * y.is_log + ["0 lies at the lower edge"] * zeros
    notes += ["a cross marks a step whose number was not finite"] * bool(lost)
    return Chart(
        title,
        [_line(each, x, y) for each in series if any(v is not None for _, v in each.points)],
        x.whole_ticks(),
        y.ticks(),
        [_rounded(x.at(step) * WIDTH) for step in sorted(lost)[:MOST_POINTS]],
        [(_rounded(x.at(step) * WIDTH), label) for step, label in marks],
        ", ".join(notes),
    )


def _line(series: Series, x: Axis, y: Axis) -> Line:
    parts: list[list[tuple[int, float]]] = [[]]
    for step, value in series.points:
        if value is None:
            parts.append([])
        else:
            parts[-1].append((step, value))
    drawn = [[place(x.at(s), y.at(v)) for s, v in thinned(part)] for part in parts if part]
    return Line(
        series.name,
        series.style,
        [" ".join(f"{px},{py}" for px, py in part) for part in drawn if len(part) > 1],
        [part[0] for part in drawn if len(part) == 1],
    )


def thinned(points: Sequence[tuple[int, float]]) -> list[tuple[int, float]]:
    """Return at most MOST_POINTS points: of neighbors the lowest and the highest one."""
    if len(points) <= MOST_POINTS:
        return list(points)
    groups = MOST_POINTS // 2
    ends = [len(points) * n // groups for n in range(groups + 1)]
    kept: list[tuple[int, float]] = []
    for start, end in pairwise(ends):
        group = points[start:end]
        extremes = {min(group, key=lambda p: p[1]), max(group, key=lambda p: p[1])}
        kept += sorted(extremes)
    return kept


def place(x: float, y: float) -> tuple[float, float]:
    """Return pixels of a place given by numbers between 0 and 1; y points upwards."""
    return _rounded(x * WIDTH), _rounded((1 - y) * HEIGHT)


def _rounded(pixels: float) -> float:
    return round(pixels, 1)
