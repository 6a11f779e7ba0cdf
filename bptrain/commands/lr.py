"""`lr`: which learning rate? A short run tries them all (the learning-rate range test)."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from rich.console import Console

from bptrain import tags
from bptrain.bench.chart import empty_figure
from bptrain.commands.output_files import refuse_unwritable
from bptrain.config import to_yaml
from bptrain.errors import UsageError
from bptrain.experiment.batch_size import plan_for_training
from bptrain.experiment.build import build
from bptrain.experiment.config import ExperimentConfig
from bptrain.experiment.rate_range import RateRange, try_rates
from bptrain.experiment.starting_weights import starting_weights
from bptrain.monitor.tensorboard import Board
from bptrain.plots.canvas import pixels_of
from bptrain.rundir.durable_files import make_directory, storing
from bptrain.train.memory import allocating

if TYPE_CHECKING:
    from matplotlib.figure import Figure

LINES = 12  # of the table
HIGHEST_SHOWN = 1.5  # times the first loss: the divergence would flatten all else


@dataclass(frozen=True)
class RateOptions:
    """Options of the command.

    lowest, highest  rates
    json, chart      files to write
    board            a folder for TensorBoard
    """

    lowest: float
    highest: float
    steps: int
    json: Path | None
    chart: Path | None
    board: Path | None


@dataclass(frozen=True)
class RateFigure:
    """The curve, as a board shows it."""

    picture: NDArray[np.uint8]
    name: str = "loss_over_rate"
    rows: tuple[()] = ()


def suggest_rate(config: ExperimentConfig, options: RateOptions, console: Console) -> None:
    """Try learning rates on a config, and print, draw and store the losses and a suggestion."""
    refuse_unwritable(options.json, options.chart)
    if options.lowest >= options.highest:
        raise UsageError(f"--from {options.lowest:g} is not below --to {options.highest:g}")
    with allocating():
        planned = plan_for_training(config)
        experiment = build(planned, starting_weights(planned))
        tried = try_rates(experiment, options.lowest, options.highest, options.steps)
    for line in lines_of(tried, config.optimizer.lr):
        console.print(line, highlight=False, soft_wrap=True)
    if options.json is not None:
        with storing(options.json, "choose another file with --json"):
            options.json.write_text(as_json(tried), encoding="utf-8")
    if options.chart is not None:
        with storing(options.chart, "choose another file with --chart"):
            drawn(tried, config.name).savefig(options.chart)
    if options.board is not None:
        write_board(options.board, config, tried)


def lines_of(tried: RateRange, current: float) -> list[str]:
    """Return the table and the suggestion."""
    every = -(-len(tried.rates) // LINES)
    rows = list(zip(tried.rates, tried.smoothed, strict=True))[::every]
    lines = ["      rate       loss", *(f"{rate:10.3g} {loss:10.4g}" for rate, loss in rows)]
    if tried.suggestion is None:
        return [
            *lines,
            f"no rate from {tried.rates[0]:.3g} to {tried.rates[-1]:.3g} lowers the loss by more "
            "than it varies between batches: more --steps, or another --from and --to",
        ]
    return [*lines, f"suggestion: optimizer.lr={tried.suggestion:.2g}   (now {current:g})"]


def as_json(tried: RateRange) -> str:
    """Return the curve and the suggestion as JSON."""
    content = {"rates": tried.rates, "losses": tried.losses, "suggestion": tried.suggestion}
    return json.dumps(content) + "\n"


def drawn(tried: RateRange, name: str) -> "Figure":
    """Return the losses over the rates, as a chart."""
    figure = empty_figure(7, 4.5)
    axes = figure.add_subplot()
    axes.semilogx(tried.rates, tried.losses, color="0.8", label="a step")
    axes.semilogx(tried.rates, tried.smoothed, label="running mean")
    if tried.suggestion is not None:
        axes.axvline(
            tried.suggestion,
            color="black",
            linestyle=":",
            label=f"suggestion: {tried.suggestion:.2g}",
        )
    lowest, first = min(tried.losses), tried.losses[0]
    margin = 0.05 * abs(first - lowest)
    axes.set(xlabel="learning rate", ylabel="loss", ylim=(lowest - margin, HIGHEST_SHOWN * first))
    axes.set_title(name, parse_math=False)
    axes.legend()
    return figure


def write_board(folder: Path, config: ExperimentConfig, tried: RateRange) -> None:
    """Write the curve for TensorBoard: loss and rate by step, and the loss over the rate."""
    make_directory(folder)
    with Board(folder, to_yaml(config), {}, ()) as board:
        for step, (rate, loss) in enumerate(zip(tried.rates, tried.losses, strict=True), start=1):
            board.write(step, {tags.LEARNING_RATE: rate, tags.TRAIN_LOSS: loss})
        figure = RateFigure(pixels_of(drawn(tried, config.name)))
        board.write_figures(len(tried.rates), "train", [figure])
