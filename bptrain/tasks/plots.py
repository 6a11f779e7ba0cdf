"""Plots of an evaluation's results, drawn by matplotlib: arrays [H, W, 3] of bytes."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
from numpy.typing import NDArray

from bptrain.plots.canvas import DPI, Picture, empty_figure, pixels_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Values: TypeAlias = NDArray[np.float64]

RIGHT, WRONG = np.array([31, 119, 180]), np.array([214, 39, 40])
CELL_PX = 34  # of a confusion matrix; smaller where there are many classes
LARGEST_MATRIX_PX = 900
READABLE_CELL_PX = 24  # a smaller cell has no number
MISTAKES_A_ROW = 6
PANEL_WIDTH, PANEL_HEIGHT, IMAGE_SIDE = 1.5, 1.9, 1.35  # of a mistake, in inches
PANELS_A_ROW = 3
MOST_POINTS = 4000  # in one scatter plot: more hide each other
LONGEST_NAME, LETTER_WIDTH = 20, 0.14  # letters, and inches of a wide one


@dataclass(frozen=True)
class Mistake:
    """A misclassified image; `pixels` [C, H, W] are of any scale."""

    pixels: NDArray[np.float32]
    true: str
    predicted: str
    loss: float


def confusion_plot(counts: NDArray[np.int64], names: Sequence[str]) -> Picture:
    """Draw how often each class (row) was predicted as which (column): blue right, red wrong.

    A cell is as dark as its share of the row's samples.
    """
    classes = len(counts)
    cell = max(2, min(CELL_PX, LARGEST_MATRIX_PX // classes))
    every = -(-16 // cell)  # classes from one label to the next that do not overlap
    shares = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    colors = np.where(np.eye(classes, dtype=bool)[..., None], RIGHT, WRONG)
    pixels = 255 + (colors - 255) * np.sqrt(shares)[..., None]
    side = cell * classes / DPI
    labels = [_shortened(name) for name in names[::every]]
    margin = 0.6 + LETTER_WIDTH * max(map(len, labels))
    whole = margin + side + 0.3
    # a place of its own: the constrained layout takes as long as the drawing
    with empty_figure(whole, whole, layout=None) as figure:
        axes = figure.add_axes((margin / whole, 0.3 / whole, side / whole, side / whole))
        axes.imshow(pixels.round().astype(np.uint8), interpolation="nearest")
        axes.set_xticks(range(0, classes, every), labels, rotation=90, parse_math=False)
        axes.set_yticks(range(0, classes, every), labels, parse_math=False)
        axes.tick_params(labeltop=True, labelbottom=False, top=False, bottom=False, left=False)
        axes.set(ylabel="true", title="predicted")
        if cell >= READABLE_CELL_PX:
            for row, column in np.argwhere(counts):
                color = "white" if shares[row, column] > 0.3 else "black"
                number = _shortened_count(int(counts[row, column]))
                text = axes.text(
                    column, row, number, color=color, ha="center", va="center", fontsize=7
                )
                text.set_in_layout(False)  # it is within the axes: not to be measured again
        return pixels_of(figure)


def mistakes_plot(mistakes: Sequence[Mistake]) -> Picture:
    """Draw the images in rows, each below its class, the predicted class and the loss."""
    across = min(MISTAKES_A_ROW, len(mistakes))
    down = -(-len(mistakes) // across)
    width, height = PANEL_WIDTH * across, PANEL_HEIGHT * down
    with empty_figure(width, height, layout=None) as figure:
        # in inches, for all images: two dozen axes take ten times as long to draw
        axes = figure.add_axes((0, 0, 1, 1), xlim=(0, width), ylim=(height, 0))
        axes.set_axis_off()
        for number, mistake in enumerate(mistakes):
            left, top = PANEL_WIDTH * (number % across), PANEL_HEIGHT * (number // across)
            center = left + PANEL_WIDTH / 2
            image = _as_image(mistake.pixels)
            y, x = (side / max(image.shape[:2]) * IMAGE_SIDE for side in image.shape[:2])
            start = top + PANEL_HEIGHT - IMAGE_SIDE / 2 - y / 2
            axes.imshow(
                image,
                interpolation="antialiased",
                extent=(center - x / 2, center + x / 2, start + y, start),
                aspect="auto",
            )
            lines = (
                f"true {_shortened(mistake.true)}",
                f"predicted {_shortened(mistake.predicted)}",
                f"loss {mistake.loss:.2f}",
            )
            below = (center, top + PANEL_HEIGHT - IMAGE_SIDE - 0.05)
            axes.text(
                *below, "\n".join(lines), fontsize=7, ha="center", va="bottom", parse_math=False
            )
        return pixels_of(figure)


def scatter_plot(true: Values, predicted: Values, names: Sequence[str]) -> Picture:
    """Draw predicted over true values [N, O], a panel a column; on the diagonal they agree."""
    return _panels(true, predicted, names, _predicted_over_true)


def residual_plot(true: Values, predicted: Values, names: Sequence[str]) -> Picture:
    """Draw predicted - true over predicted values [N, O], a panel a column; a line at 0."""
    return _panels(true, predicted, names, _residual_over_predicted)


def _panels(
    true: Values,
    predicted: Values,
    names: Sequence[str],
    draw: Callable[["Axes", Values, Values], None],
) -> Picture:
    columns = true.shape[1]
    across = min(PANELS_A_ROW, columns)
    down = -(-columns // across)
    every = -(-len(true) // MOST_POINTS)
    with empty_figure(3.6 * across, 3.6 * down) as figure:
        for column in range(columns):
            axes = figure.add_subplot(down, across, column + 1)
            draw(axes, true[::every, column], predicted[::every, column])
            axes.set_title(_shortened(names[column]), parse_math=False)
        return pixels_of(figure)


def _residual_over_predicted(axes: "Axes", true: Values, predicted: Values) -> None:
    axes.axhline(0, color="0.6", linewidth=1)
    _scatter(axes, predicted, predicted - true)
    axes.set(xlabel="predicted", ylabel="predicted - true", box_aspect=1)


def _scatter(axes: "Axes", x: Values, y: Values) -> None:
    axes.scatter(x, y, s=6, color=RIGHT / 255, alpha=1.0 if len(x) < 500 else 0.6)


def reliability_plot(
    samples: Sequence[float], right: Sequence[float], confidence: Sequence[float], ece: float
) -> Picture:
    """Draw the share of right predictions over their confidence, and below how many there are.

    samples, right, confidence  of equally wide bins of confidence, its sum in each
    """
    count, hits, sums = (np.asarray(each) for each in (samples, right, confidence))
    edges = np.arange(len(count)) / len(count)
    filled = count > 0
    shares, means = hits[filled] / count[filled], sums[filled] / count[filled]
    with empty_figure(4.0, 4.6) as figure:
        upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
        upper.plot((0, 1), (0, 1), color="0.6", linewidth=1)
        width = 1 / len(count)
        upper.bar(edges[filled], shares, width, align="edge", color=RIGHT / 255, edgecolor="w")
        # from the share to the mean confidence: as long as the bin's term of the ECE
        upper.vlines(means, shares, means, color=WRONG / 255, linewidth=2)
        upper.set(ylabel="share of right predictions", xlim=(0, 1), ylim=(0, 1))
        upper.set_title(f"expected calibration error {ece:.4f}")
        lower.bar(edges, count, width, align="edge", color="0.6", edgecolor="w")
        lower.set(xlabel="confidence", ylabel="samples")
        return pixels_of(figure)


def _predicted_over_true(axes: "Axes", true: Values, predicted: Values) -> None:
    low, high = float(min(true.min(), predicted.min())), float(max(true.max(), predicted.max()))
    margin = 0.04 * (high - low) or 0.5
    limits = low - margin, high + margin
    axes.plot(limits, limits, color="0.6", linewidth=1)
    _scatter(axes, true, predicted)
    axes.set(xlabel="true", ylabel="predicted", xlim=limits, ylim=limits, box_aspect=1)


def _as_image(pixels: NDArray[np.float32]) -> Picture:
    """Return [H, W, 3] bytes of [1 or 3, H, W], the least number black and the greatest white."""
    low, high = float(pixels.min()), float(pixels.max())
    scaled = ((pixels - low) / ((high - low) or 1.0) * 255).round().astype(np.uint8)
    return np.broadcast_to(scaled, (3, *pixels.shape[1:])).transpose(1, 2, 0)


def _shortened_count(count: int) -> str:
    """Return a count in at most four characters."""
    for limit, divisor, unit in ((10**4, 1, ""), (10**6, 10**3, "k"), (10**9, 10**6, "M")):
        if count < limit:
            return f"{count // divisor}{unit}"
    return f"{count // 10**9}G"


def _shortened(name: str) -> str:
    """Return the name on one line, its end left out where it is long."""
    name = " ".join(name.split())
    return name if len(name) <= LONGEST_NAME else f"{name[: LONGEST_NAME - 3]}..."
