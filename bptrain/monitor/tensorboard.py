"""TensorBoard event files of a run; the x axis is the optimizer step."""

from collections.abc import Callable, Mapping, Sequence
from math import isfinite
from pathlib import Path
from textwrap import indent
from types import TracebackType
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from tensorboard.compat.proto.graph_pb2 import GraphDef
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData
from torch.utils.tensorboard.summary import (
    custom_scalars,
    histogram_raw,
    hparams,
    image,
    scalar,
    text,
)

from bptrain import tags
from bptrain.monitor.magnitudes import SMALLEST
from bptrain.rundir.durable_files import storing
from bptrain.rundir.event_file import EventFile, event_files, next_path, truncate_events

NO_SERIES: Mapping[str, Sequence[float]] = {}


class EvaluationFigure(Protocol):
    """A picture, a table or both from an evaluation."""

    @property
    def name(self) -> str:
        """Last part of its tag."""
        ...

    @property
    def picture(self) -> NDArray[np.uint8] | None:
        """Pixels [H, W, 3]."""
        ...

    @property
    def rows(self) -> Sequence[Sequence[str]]:
        """Rows of the table, its header first; empty for none."""
        ...


class Board:
    """Writes scalars, the config's text and hyperparameters, and charts of several curves.

    hyperparameters  of the run, by config key; none for what is to have no row in the table of runs
    metrics          metrics of the validation split besides the loss, the most important one first
    position         what `position` returned, where a resumed run continues: later events are
                     removed, and the board is then the same as if the run had never stopped
    step             the last step at that position
    missing_bytes    bytes before the position that the files no longer have

    Raises CheckpointError for a position that is not one of this directory, and StorageError.
    """

    def __init__(
        self,
        directory: Path,
        config_text: str,
        hyperparameters: Mapping[str, float | str],
        metrics: Sequence[str],
        position: Mapping[str, int] | None = None,
        step: int = 0,
    ) -> None:
        self._directory = directory
        self.missing_bytes = 0
        if position is not None:
            self.missing_bytes = truncate_events(directory, position)
        continues = position is not None and any(self._sizes().values())
        main = [tags.TRAIN_LOSS, tags.VAL_LOSS, *(tags.split_tag("val", m) for m in metrics[:1])]
        self._curves = {tag: tags.curve(tag) for tag in main}
        self._file = EventFile(next_path(directory), step + 1 if continues else None)
        if not continues:
            self._file.add(text("config", f"```yaml\n{config_text}```"))
            self._file.add(custom_scalars(charts(metrics)))
            if hyperparameters:
                self._file.add(_session_start(hyperparameters))

    def write(
        self,
        step: int,
        values: Mapping[str, float],
        series: Mapping[str, Sequence[float]] = NO_SERIES,
    ) -> None:
        """Write a scalar per tag, in one record: a step is written as a whole or not at all.

        Lists become histograms: a bar for each number, at its place in the list.
        """
        copies = {curve: values[tag] for tag, curve in self._curves.items() if tag in values}
        written = [scalar(tag, value).value[0] for tag, value in {**values, **copies}.items()]
        written += [
            bars(tag, each, SMALLEST if tag.startswith(tags.MAGNITUDES) else 0).value[0]
            for tag, each in series.items()
        ]
        self._file.add(Summary(value=written), step)

    def write_figures(
        self, step: int, split: tags.Split, figures: Sequence[EvaluationFigure]
    ) -> None:
        """Write a split's pictures and tables under `<split>/<name>`."""
        for each in figures:
            tag = tags.split_tag(split, each.name)
            if each.picture is not None:
                self.write_pictures(step, {tag: each.picture})
            if each.rows:
                self._file.add(text(tag, as_markdown(each.rows)), step)

    def write_pictures(self, step: int, pictures: Mapping[str, NDArray[np.uint8]]) -> None:
        """Write pictures [H, W, 3] by tag."""
        for tag, picture in pictures.items():
            self._file.add(image(tag, picture, dataformats="HWC"), step)

    def write_graph(self, graph: GraphDef) -> None:
        """Write the graph of the model."""
        self._file.add_graph(graph)

    def write_text(self, step: int, tag: str, written: str) -> None:
        """Write a text unchanged, indented so that Markdown shows it as code."""
        self._file.add(text(tag, indent(written, " " * 4, lambda line: True)), step)

    def conclude(self, step: int) -> None:
        """Write that the run is finished, for the table of hyperparameters."""
        self._file.add(_session_end(), step)

    def position(self) -> dict[str, int]:
        """Return each event file's size, where a resumed run continues, synced to the disk."""
        self._file.position()
        return self._sizes()

    def _sizes(self) -> dict[str, int]:
        with storing(self._directory):
            return {n: path.stat().st_size for n, path in event_files(self._directory).items()}

    def __enter__(self) -> "Board":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._file.close()


def charts(metrics: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Return the charts that show several curves together.

    TensorBoard shows one chart for all runs whose chart is the same. So it names no layers: each
    network has others.
    """
    return {
        "training": {
            name: ["Multiline", [tags.split_tag("train", name), tags.split_tag("val", name)]]
            for name in ("loss", *metrics)
        },
        "gradients": {
            "norm of the whole gradient": ["Multiline", [tags.GRAD_TOTAL, tags.GRAD_TOTAL_CLIPPED]],
            "norm by layer": _all_layers(tags.layer_gradient),
            "norm by activation": _all_layers(tags.activation_gradient),
            "update relative to the weights": _all_layers(tags.update_ratio),
        },
        "activations": {
            "dead units": _all_layers(tags.dead_units),
            "saturated outputs": _all_layers(tags.saturated),
        },
    }


def _all_layers(tag: Callable[[str], str]) -> list[Any]:
    """Return a chart of one tag of every layer; TensorBoard reads a regular expression."""
    return ["Multiline", [f"^{tag('.*')}$"]]


def _session_start(hyperparameters: Mapping[str, float | str]) -> Summary:
    """Return the hyperparameters of a run.

    What torch writes besides is left out: names of hyperparameters and metrics that TensorBoard
    would take from one run for all. Without them it takes those of each run.
    """
    summary = hparams(dict(hyperparameters), {})[1]
    metadata = summary.value[0].metadata.plugin_data
    # a mapping's order is another in each process, and equal runs must write equal events
    started = HParamsPluginData.FromString(metadata.content)
    metadata.content = started.SerializeToString(deterministic=True)
    return summary


def _session_end() -> Summary:
    """Return what tells that a run is finished."""
    return hparams({}, {})[2]


def bars(tag: str, heights: Sequence[float], first: int = 0) -> Summary:
    """Return a histogram of bars of width 1, each as high as its number, that begins at `first`."""
    shown = [height if isfinite(height) else 0.0 for height in heights]
    total, end = sum(shown), first + len(shown)
    return histogram_raw(tag, first, end, total, total, total, range(first + 1, end + 1), shown)


def as_markdown(rows: Sequence[Sequence[str]]) -> str:
    """Return rows as a Markdown table, the first one its header."""
    escaped = [[cell.replace("\\", "\\\\").replace("|", "\\|") for cell in row] for row in rows]
    lines = [f"| {' | '.join(row)} |" for row in escaped]
    return "\n".join([lines[0], "|" + "---|" * len(rows[0]), *lines[1:]])
