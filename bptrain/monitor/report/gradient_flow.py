"""How far the gradient reaches: a heat map of layers and steps, and the norm by depth or time."""

from collections.abc import Iterable, Mapping, Sequence
from math import log10
from typing import Any, NamedTuple, TypeAlias

from bptrain import tags
from bptrain.monitor.explanation.numbers import number
from bptrain.monitor.report.axis import Axis, Tick, axis_of
from bptrain.monitor.report.curves import Chart, Line, place
from bptrain.monitor.verdicts import History
from bptrain.monitor.verdicts.history import is_number

MOST_COLUMNS, MOST_ROWS = 48, 32  # of a heat map
MOST_STEPS = 5  # whose norms by depth are drawn
MOST_LAYERS = 40  # of norms by depth
MOST_LABELS, MOST_STEP_LABELS = 14, 10  # of layers and of steps along an axis
COLORS = (  # from small to large, of equal steps to the eye: matplotlib's viridis
    *((68, 1, 84), (71, 39, 119), (62, 73, 137), (48, 103, 141), (37, 130, 142), (30, 157, 136)),
    *((53, 183, 120), (109, 206, 88), (181, 221, 43), (253, 231, 36)),
)
Limits: TypeAlias = tuple[float, float]  # exponents of ten
Rows: TypeAlias = Mapping[int, Sequence[Any]]  # what was logged, by step


class Cell(NamedTuple):
    """A cell of the heat map: its color and what a pointer over it says."""

    color: str
    says: str


class HeatMap(NamedTuple):
    """Layers from above to below in the order of the forward pass, steps from left to right."""

    layers: list[str]
    steps: list[Tick]
    rows: list[list[Cell]]
    legend: list[Tick]
    note: str


def limits_of(histories: Iterable[History]) -> Limits | None:
    """Return the range of the logarithms of all norms; None where there are none above 0."""
    prefix = tags.activation_gradient("")
    logs = [
        log10(value)
        for history in histories
        for line in history.observed()
        for tag, value in line.items()
        if tag.startswith(prefix) and is_number(value) and value > 0
    ]
    if not logs:
        return None
    low, high = min(logs), max(logs)
    return (low, high) if high - low > 0.1 else (low - 0.5, high + 0.5)


def heat_map(history: History, limits: Limits | None) -> HeatMap | None:
    """Return the norms of the activations' gradients; None where none were observed."""
    lines, layers = history.observed(), history.layers(tags.activation_gradient)
    if not lines or limits is None:
        return None
    shown_lines, shown_layers = spread(lines, MOST_COLUMNS), spread(layers, MOST_ROWS)
    notes = [
        f"{len(shown)} of {len(every):,} {what}"
        for shown, every, what in (
            (shown_layers, layers, "layers"),
            (shown_lines, lines, "observed steps"),
        )
        if len(shown) < len(every)
    ]
    rows = [[_cell(layer, line, limits) for line in shown_lines] for layer in shown_layers]
    axis = Axis(*limits, is_log=True)
    every = -(-len(shown_lines) // MOST_STEP_LABELS)
    steps = [
        Tick((n + 0.5) / len(shown_lines), f"{line['step']:,}")
        for n, line in enumerate(shown_lines)
        if n % every == 0
    ]
    return HeatMap(shown_layers, steps, rows, axis.ticks(), ", ".join(notes))


def _cell(layer: str, line: Any, limits: Limits) -> Cell:
    tag = tags.activation_gradient(layer)
    where = f"{layer}, step {line['step']:,}"
    if tag not in line:
        return Cell("", f"{where}: not observed")
    value = line[tag]
    if not is_number(value):
        return Cell("lost", f"{where}: not finite")
    if value <= 0:
        return Cell("zero", f"{where}: 0")
    part = (log10(value) - limits[0]) / (limits[1] - limits[0])
    return Cell(color_at(part), f"{where}: {number(value)}")


def color_at(part: float) -> str:
    """Return the color of a place between 0 and 1."""
    scaled = min(max(part, 0.0), 1.0) * (len(COLORS) - 1)
    first = min(int(scaled), len(COLORS) - 2)
    share = scaled - first
    pairs = zip(COLORS[first], COLORS[first + 1], strict=True)
    return "#{:02x}{:02x}{:02x}".format(*(round(a + (b - a) * share) for a, b in pairs))


def by_depth(history: History) -> Chart | None:
    """Return the gradient norm of each layer at several steps; None without any."""
    layers = spread(history.layers(tags.layer_gradient), MOST_LAYERS)
    own = [tags.layer_gradient(layer) for layer in layers]
    lines = [line for line in history.lines if any(is_number(line.get(tag)) for tag in own)]
    rows: Rows = {
        line["step"]: [line.get(tag) for tag in own] for line in spread(lines, MOST_STEPS)
    }
    every = -(-len(layers) // MOST_LABELS)
    ends = max(1, len(layers) - 1)
    ticks = [Tick(n / ends, layer) for n, layer in enumerate(layers) if n % every == 0]
    return _profile("Gradient norm by depth", rows, ticks, "layer, the first one on the left")


def by_time(history: History) -> list[Chart]:
    """Return for each recurrent layer the gradient norm by time step, at several steps."""
    charts = []
    for layer in history.layers(tags.time_gradient):
        tag = tags.time_gradient(layer)
        lines = [line for line in history.lines if isinstance(line.get(tag), list)]
        rows = {line["step"]: line[tag] for line in spread(lines, MOST_STEPS)}
        longest = max((len(row) for row in rows.values()), default=0)
        axis = Axis(0, max(1, longest - 1), is_log=False)
        title = f"Gradient norm by time step: {layer}"
        found = _profile(title, rows, axis.whole_ticks(), "time step of the sequence")
        charts += [found] if found is not None else []
    return charts


def _profile(title: str, rows: Rows, ticks: list[Tick], label: str) -> Chart | None:
    values = [value for row in rows.values() for value in row if is_number(value)]
    if not values:
        return None
    y = axis_of(values, is_log=True)
    lines = []
    for number_of_line, (step, row) in enumerate(rows.items()):
        ends = max(1, len(row) - 1)
        places = [place(n / ends, y.at(value)) for n, value in enumerate(row) if is_number(value)]
        style = f"age{number_of_line * (MOST_STEPS - 1) // max(1, len(rows) - 1)}"
        points = " ".join(f"{px},{py}" for px, py in places)
        dots = places if len(row) <= MOST_LAYERS else []
        lines.append(Line(f"step {step:,}", style, [points], dots))
    notes = ["logarithmic axis"] * y.is_log + ["0 lies at the lower edge"] * (min(values) <= 0)
    return Chart(title, lines, ticks, y.ticks(), [], [], ", ".join(notes), label)


def spread(items: Sequence[Any], most: int) -> list[Any]:
    """Return at most that many items, evenly chosen, the first and the last one among them."""
    if len(items) <= most:
        return list(items)
    return [items[round(n * (len(items) - 1) / (most - 1))] for n in range(most)]
