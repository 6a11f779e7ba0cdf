"""Charts of measurements, drawn by matplotlib, which is imported where something is drawn."""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from bptrain.bench.power_law import PowerLaw
from bptrain.bench.step_results import StepResults

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

FORMATS = (".pdf", ".png", ".svg")
OURS, THEIRS, SECOND = "#1f77b4", "0.6", "#ff7f0e"
MOST_OPERATIONS = 12

Curves = Mapping[str, tuple[Sequence[float], PowerLaw]]
Labels = tuple[str, str, str]  # of the panel, its horizontal and its vertical axis
Panel = tuple[Sequence[float], Curves, Labels]
BYTES_A_MB = 1e6


def draw_step(results: StepResults, path: Path) -> None:
    """Write a chart of times, memory and operations; the suffix of the path says its format."""
    figure = empty_figure(10, 7)
    times, memory, operations = figure.subplot_mosaic(
        [["times", "memory"], ["operations"] * 2]
    ).values()
    sides = results.alternatives
    names = [each.name for each in sides]
    colors = [OURS if each.is_ours else THEIRS for each in sides]
    milliseconds = [1e3 * each.step_s.median for each in sides]
    errors = [
        [1e3 * (each.step_s.median - each.step_s.low) for each in sides],
        [1e3 * (each.step_s.high - each.step_s.median) for each in sides],
    ]
    times.barh(names, milliseconds, xerr=errors, color=colors)
    times.axvline(1e3 * results.floor.seconds, color="black", linestyle=":", label="the floor")
    times.legend()
    times.set(title="a training step", xlabel="ms: median and quartiles")
    _pairs(
        memory,
        names,
        {
            "kept for the backward pass": [each.kept_bytes / BYTES_A_MB for each in sides],
            "peak": [each.peak_bytes / BYTES_A_MB for each in sides],
        },
    )
    memory.set(title="memory", xlabel="MB", yticklabels=[])
    shown = results.operations[:MOST_OPERATIONS]
    _pairs(
        operations,
        [each.operation for each in shown],
        {
            "forward": [1e3 * each.forward_s for each in shown],
            "backward": [1e3 * each.backward_s for each in shown],
        },
    )
    operations.set(title="operations of bptrain", xlabel="ms a step")
    for axes in (times, memory, operations):
        axes.invert_yaxis()
    figure.suptitle(f"{results.name}: {results.device}, {results.precision}", parse_math=False)
    figure.savefig(path)


def draw_panels(panels: Sequence[Panel], columns: int, path: Path) -> None:
    """Write a chart of costs with their fitted power laws, on logarithmic axes, in rows."""
    rows = -(-len(panels) // columns)
    figure = empty_figure(max(7, 4 * columns), max(5, 3.5 * rows))
    for number, panel in enumerate(panels, start=1):
        _draw_curves(figure.add_subplot(rows, columns, number), *panel)
    figure.savefig(path)


def _draw_curves(axes: "Axes", x: Sequence[float], curves: Curves, labels: Labels) -> None:
    """Draw points and the power law fitted to them, for each curve."""
    for number, (name, (y, law)) in enumerate(curves.items()):
        color, size = f"C{number}", 9 - 3 * number  # equal points are seen inside one another
        label = f"{name}: exponent {law.exponent:.2f}"
        axes.loglog(x, y, "o", color=color, markersize=max(3, size), fillstyle="none", label=label)
        axes.loglog(x, [law.at(each) for each in x], color=color, linewidth=1)
    axes.set_xticks(x, [f"{each:,.0f}" for each in x], rotation=45, fontsize=8)
    axes.tick_params(axis="x", which="minor", bottom=False, labelbottom=False)
    title, horizontal, vertical = labels
    axes.set(title=title, xlabel=horizontal, ylabel=vertical)
    axes.legend(fontsize=8)


def _pairs(axes: "Axes", names: Sequence[str], pairs: Mapping[str, Sequence[float]]) -> None:
    """Draw two bars a name."""
    for offset, color, (label, values) in zip(
        (-0.2, 0.2), (OURS, SECOND), pairs.items(), strict=True
    ):
        axes.barh(
            [place + offset for place in range(len(names))], values, 0.4, color=color, label=label
        )
    axes.set_yticks(range(len(names)), names, parse_math=False)
    axes.legend()


def empty_figure(width: float, height: float) -> "Figure":
    """Return an empty figure of this size in inches, without a window or any global state."""
    # its notes on font caches and configuration folders are not for users of bptrain
    logging.getLogger("matplotlib").setLevel(logging.ERROR)
    from matplotlib.figure import Figure

    return Figure((width, height), dpi=100, layout="constrained")
