"""Plots of how gradients flow: through the layers, and through the time steps.

The axes of norms are logarithmic: a gradient that vanishes shrinks by the same factor from layer to
layer. A norm of 0, or one that is not known (NaN), has no place on them and is left out; some
norm must be larger.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from bptrain.plots.canvas import Picture, empty_figure, pixels_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes

WIDTH, HEIGHT = 5.0, 3.6  # inches
MOST_LABELS = 16  # of an axis
LONGEST_NAME = 20
NO_NORM = "0.85"  # gray: where the norm is 0 or not known

Norms = NDArray[np.float64]


def flow_by_depth(norms: Norms, steps: Sequence[int], layers: Sequence[str]) -> Picture:
    """Draw norms [S, L] over the layers, from the input to the output, a line for each step."""
    with empty_figure(WIDTH, HEIGHT, layout=None) as figure:
        axes = figure.add_axes((0.16, 0.34, 0.81, 0.57))
        _lines(axes, norms, steps)
        places = _labelled(len(layers))
        names = [_name(layers[at]) for at in places]
        axes.set_xticks(places, names, rotation=45, ha="right", fontsize=7)
        axes.set(title="gradient by each layer's output", ylabel="norm")
        return pixels_of(figure)


def flow_by_time_step(norms: Norms, steps: Sequence[int], layer: str, is_whole: bool) -> Picture:
    """Draw norms [S, T] over the time steps of a sequence, a line for each training step.

    is_whole  whether all time steps are there, not only some from the first to the last one
    """
    with empty_figure(WIDTH, HEIGHT, layout=None) as figure:
        axes = figure.add_axes((0.13, 0.15, 0.84, 0.76))
        _lines(axes, norms, steps)
        axes.set(title=f"gradient by the state of {_name(layer)}", ylabel="norm")
        axes.set_xlabel("time step" if is_whole else "time step, from the first to the last one")
        if not is_whole:
            axes.set_xticks([])
        return pixels_of(figure)


def flow_over_steps(norms: Norms, steps: Sequence[int], layers: Sequence[str]) -> Picture:
    """Draw norms [S, L] as colors: a row for each layer, the first one below, by step."""
    from matplotlib.colors import LogNorm

    shown = np.ma.masked_invalid(np.where(norms > 0, norms, np.nan).T)
    low = float(shown.min())
    high = max(float(shown.max()), 1.01 * low)
    with empty_figure(WIDTH, HEIGHT, layout=None) as figure:
        axes = figure.add_axes((0.26, 0.13, 0.58, 0.78))
        axes.set_facecolor(NO_NORM)
        scale = LogNorm(low, high)
        image = axes.imshow(shown, aspect="auto", origin="lower", norm=scale, cmap="viridis")
        rows = _labelled(len(layers))
        axes.set_yticks(rows, [_name(layers[at]) for at in rows], fontsize=8)
        columns = _labelled(len(steps), most=5)
        axes.set_xticks(columns, [f"{steps[at]:,}" for at in columns])
        axes.set(title="norm of the gradient by each layer's output", xlabel="step")
        bar = figure.colorbar(image, cax=figure.add_axes((0.86, 0.13, 0.03, 0.78)))
        ticks = np.geomspace(low, high, 5).tolist()
        bar.set_ticks(ticks, labels=[f"{each:.0e}" for each in ticks], fontsize=7)
        bar.minorticks_off()
        return pixels_of(figure)


def _lines(axes: "Axes", norms: Norms, steps: Sequence[int]) -> None:
    """Draw a line for each step, the later the darker; the axis shows whole powers of ten."""
    from matplotlib import colormaps
    from matplotlib.ticker import NullFormatter

    shades = colormaps["viridis_r"](np.linspace(0.15, 1, len(steps)))
    for row, step, color in zip(norms, steps, shades, strict=True):
        values = np.where(row > 0, row, np.nan)
        axes.semilogy(values, color=color, marker=".", linewidth=1.2, label=f"step {step:,}")
    low, high = np.log10(norms[norms > 0].min()), np.log10(norms[norms > 0].max())
    bottom = np.floor(low - 0.1)
    axes.set_ylim(10**bottom, 10 ** max(np.ceil(high + 0.1), bottom + 1))
    axes.yaxis.set_minor_formatter(NullFormatter())
    axes.grid(axis="y", linewidth=0.5, color="0.85")
    axes.legend(fontsize=7, framealpha=0.6)


def _labelled(count: int, most: int = MOST_LABELS) -> list[int]:
    """Return which of so many places have a label: all, or evenly from the first to the last."""
    if count <= most:
        return list(range(count))
    return sorted({round(k * (count - 1) / (most - 1)) for k in range(most)})


def _name(layer: str) -> str:
    """Return a layer's name, its beginning left out where it is long."""
    plain = layer.replace("$", r"\$")  # which would begin a formula
    return plain if len(plain) <= LONGEST_NAME else f"...{plain[3 - LONGEST_NAME :]}"
