"""Baselines in a run's folder, for evaluations that do not read the training samples."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from bptrain.errors import CheckpointError
from bptrain.experiment.baselines import Baseline, Constant
from bptrain.experiment.bigram_baseline import Bigram
from bptrain.experiment.linear_baseline import Linear
from bptrain.losses import BaseLossConfig
from bptrain.rundir.baselines_file import BASELINES, read_baselines, write_baselines


def store_baselines(run_dir: Path, baselines: Sequence[Baseline]) -> None:
    """Write the baselines into a run's folder."""
    write_baselines(run_dir, [as_plain(each) for each in baselines])


def stored_baselines(run_dir: Path, loss: BaseLossConfig) -> tuple[list[Baseline], list[str]]:
    """Return the baselines of a run, and in a line why there are none.

    loss  of the run, by which outputs mean probabilities
    """
    if not (run_dir / BASELINES).exists():
        return [], [f"no baselines: `fit` stores them as {BASELINES} at the end of a run"]
    try:
        return [from_plain(each, loss) for each in read_baselines(run_dir)], []
    except CheckpointError as error:
        why = f": {error.why}" if error.why else ""
        return [], [f"no baselines: {error.what}{why}"]


def as_plain(baseline: Baseline) -> dict[str, Any]:
    """Return a baseline as values of JSON."""
    named = {"name": baseline.name, "note": baseline.note}
    if isinstance(baseline, Linear):
        numbers = {"weights": baseline.weights.tolist(), "bias": baseline.bias.tolist()}
        return {**named, **numbers, "classes": baseline.loss is not None}
    if isinstance(baseline, Bigram):
        return {**named, "table": baseline.table.tolist()}
    assert isinstance(baseline, Constant)
    return {**named, "constant": baseline.constant.tolist()}


def from_plain(entry: dict[str, Any], loss: BaseLossConfig) -> Baseline:
    """Return the baseline that `as_plain` wrote."""
    if "constant" in entry:
        constant = torch.tensor(entry["constant"], dtype=torch.float64)
        return Constant(entry["name"], constant, entry["note"])
    if "table" in entry:
        return Bigram(entry["name"], torch.tensor(entry["table"]), entry["note"])
    weights, bias = (torch.tensor(entry[key], dtype=torch.float64) for key in ("weights", "bias"))
    meaning = loss if entry["classes"] else None
    return Linear(entry["name"], weights, bias, meaning, entry["note"])
