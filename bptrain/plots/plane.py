"""Plots of what a network answers all over a plane, below the samples that it is judged by."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from bptrain.plots.canvas import Picture, empty_figure, pixels_of

SIDE = 4.2  # inches
MARGIN = 0.12  # of the picture, for the ticks
COLORS = "tab10", "tab20"  # of up to ten classes, and of more

Grid = NDArray[np.float64]
Corners = tuple[float, float, float, float]  # left, right, bottom, top


def decision_boundary(
    shares: Grid, corners: Corners, points: Grid, classes: NDArray[np.int64], names: Sequence[str]
) -> Picture:
    """Draw the most probable class [H, W, K] of each place, paler where it is less probable.

    points   [N, 2] samples, each in the color of its own class [N]
    """
    from matplotlib import colormaps

    count = shares.shape[-1]
    palette = colormaps[COLORS[count > 10]](np.arange(count) % 20)[:, :3]
    likely = shares.max(-1, keepdims=True)
    strength = 0.75 * np.clip((likely - 1 / count) / (1 - 1 / count), 0, 1)
    shown = 1 - strength * (1 - palette[shares.argmax(-1)])
    with empty_figure(SIDE, SIDE, layout=None) as figure:
        axes = figure.add_axes((MARGIN, MARGIN, 1 - 1.5 * MARGIN, 1 - 1.5 * MARGIN))
        axes.imshow(shown, extent=corners, origin="lower", aspect="auto", interpolation="bilinear")
        for number in np.unique(classes):
            own = points[classes == number]
            label = names[number].replace("$", r"\$")
            style = {"color": 0.65 * palette[number], "edgecolors": "white", "linewidths": 0.4}
            axes.scatter(own[:, 0], own[:, 1], s=9, label=label, **style)
        axes.legend(fontsize=7, framealpha=0.7)
        axes.set(xlim=corners[:2], ylim=corners[2:])
        return pixels_of(figure)


def surface(values: Grid, corners: Corners, points: Grid, targets: Grid) -> Picture:
    """Draw the prediction [H, W] for each place, and points [N, 2] in their targets' colors [N]."""
    low = min(float(values.min()), float(targets.min()))
    high = max(float(values.max()), float(targets.max()))
    with empty_figure(SIDE * 1.12, SIDE, layout=None) as figure:
        axes = figure.add_axes((MARGIN, MARGIN, 0.72, 1 - 1.5 * MARGIN))
        image = axes.imshow(
            values, extent=corners, origin="lower", aspect="auto", vmin=low, vmax=high
        )
        x, y = points.T
        axes.scatter(x, y, 12, targets, vmin=low, vmax=high, edgecolors="white", linewidths=0.5)
        axes.set(xlim=corners[:2], ylim=corners[2:])
        bar = figure.add_axes((MARGIN + 0.74, MARGIN, 0.03, 1 - 1.5 * MARGIN))
        figure.colorbar(image, cax=bar)
        return pixels_of(figure)
