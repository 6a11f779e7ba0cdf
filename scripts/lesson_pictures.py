"""Pictures of the lessons: the losses of two runs, and the numbers that show what was wrong."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import matplotlib as mpl

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Lines = Sequence[dict[str, Any]]
Panel = Callable[["Axes", Lines, dict[str, Any]], None]  # draws a run with the style of its curve
STYLES = {
    "as it is": {"color": "tab:orange"},
    "with the proposed change": {"color": "tab:blue"},
}


def by_layer(tag: str, label: str, scale: str = "log") -> Panel:
    """Return what draws a quantity of each layer, from the first line that has it."""

    def panel(axes: "Axes", lines: Lines, style: dict[str, Any]) -> None:
        has_it = (each for each in lines if any(name.startswith(tag) for name in each))
        line = next(has_it, {})  # leaky ReLUs are never dead: nothing is logged, or drawn
        values = [value for name, value in line.items() if name.startswith(tag)]
        if values:
            axes.plot(range(1, len(values) + 1), values, ".-", **style)
        axes.set(xlabel="layer, from the input to the output", ylabel=label, yscale=scale)

    return panel


def by_time(axes: "Axes", lines: Lines, style: dict[str, Any]) -> None:
    """Draw the gradient at each time step, from the last line that has it."""
    series = [value for each in lines for tag, value in each.items() if tag.startswith("grad/time")]
    axes.plot(range(1, len(series[-1]) + 1), series[-1], ".-", **style)
    axes.set(xlabel="time step", ylabel="gradient at the state", yscale="log")


def over_steps(tag: str, label: str, scale: str = "linear") -> Panel:
    """Return what draws a quantity over the steps; of those of all layers the largest."""

    def panel(axes: "Axes", lines: Lines, style: dict[str, Any]) -> None:
        found = [
            (each["step"], max(value for name, value in each.items() if name.startswith(tag)))
            for each in lines
            if any(name.startswith(tag) and value is not None for name, value in each.items())
        ]
        axes.plot(*zip(*found, strict=True), ".-", **style)
        axes.set(xlabel="step", ylabel=label, yscale=scale)

    return panel


GRADIENT = by_layer("grad/activation/", "gradient at the layer's output")
UPDATE = over_steps("update_ratio/", "largest update of a layer / its weights", "log")
PANELS: dict[str, Panel] = {
    "vanishing": GRADIENT,
    "vanishing_over_time": by_time,
    "exploding": GRADIENT,
    "divergence": over_steps("grad/total", "norm of the gradient, before clipping", "log"),
    "dead": by_layer("activation/dead/", "units that are 0 for the batch", "linear"),
    "learning_rate_too_high": UPDATE,
    "learning_rate_too_low": UPDATE,
    "plateau": over_steps("train/lr", "learning rate", "log"),
    "overfitting": over_steps("val/accuracy", "validation accuracy"),
    "input_scale": over_steps("activation/saturated/", "share of the gates that are saturated"),
    "target_scale": over_steps("val/r2", "validation R2"),
    "class_collapse": over_steps("val/macro_f1", "validation macro F1"),
    "no_learning": over_steps("val/accuracy", "validation accuracy"),
}


def draw(name: str, sick: Lines, cured: Lines, path: Path) -> None:
    """Draw the losses of both runs, and what shows the trouble."""
    mpl.use("agg")
    from matplotlib import pyplot

    figure, (losses, evidence) = pyplot.subplots(1, 2, figsize=(10, 3.6), layout="constrained")
    for (label, style), lines in zip(STYLES.items(), (sick, cured), strict=True):
        for tag, dashes in (("train/loss", ".-"), ("val/loss", "--")):
            points = [(each["step"], each[tag]) for each in lines if each.get(tag) is not None]
            if points:
                text = f"{label}: {tag.replace('/', ' ')}"
                losses.plot(*zip(*points, strict=True), dashes, markersize=4, label=text, **style)
        PANELS[name](evidence, lines, {**style, "label": label})
    losses.set(xlabel="step", ylabel="loss", yscale="log")
    losses.legend(fontsize=8)
    evidence.legend(fontsize=8)
    figure.savefig(path, dpi=110)
    pyplot.close(figure)
