"""A run's decision threshold: chosen by its validation, stored, and used wherever it decides."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from bptrain.errors import CheckpointError, ConfigKeyError
from bptrain.experiment.config import ExperimentConfig
from bptrain.experiment.decisions import decision_of, refuse_threshold
from bptrain.problem import Problem
from bptrain.rundir.checkpoint import best_checkpoint, read_values, write_checkpoint
from bptrain.rundir.training_state import TrainingState

TABLE = """name: table
data: {kind: table, path: table.csv, target: answer, validation_fraction: 0.3}
model: {kind: mlp, hidden: [4]}
optimizer: {kind: adam, lr: 0.05}
train: {epochs: 5}
"""
TWO = Problem("classification", (4,), 2)


def config_with(threshold: Any) -> ExperimentConfig:
    return ExperimentConfig.model_validate(
        {"data": {"kind": "xor"}, "model": {"kind": "mlp"}, "metrics": {"threshold": threshold}}
    )


def fitted(bptrain: Callable, run: str, *words: str) -> list[dict[str, Any]]:
    """Train on a table of two classes, one of them rare, and return the log."""
    random = np.random.default_rng(0)
    a, b, noise = random.standard_normal((3, 300))
    answers = np.where(a + b + 1.5 * noise > 2.2, "yes", "no")
    rows = [f"{x:.4f},{y:.4f},{z}" for x, y, z in zip(a, b, answers, strict=True)]
    Path("table.csv").write_text("\n".join(["a,b,answer", *rows]))
    Path("table.yaml").write_text(TABLE)
    result = bptrain("fit", "table.yaml", "--run-dir", run, *words)
    assert result.exit_code == 0, result.stderr
    return [json.loads(line) for line in Path(run, "metrics.jsonl").read_text().splitlines()]


def test_a_run_decides_by_the_threshold_of_its_validation(bptrain: Callable) -> None:
    plain = fitted(bptrain, "plain")
    log = fitted(bptrain, "run", "metrics.threshold=balanced_accuracy")
    names = ("train/loss", "val/loss", "train/accuracy")
    losses = [
        [[line[name] for name in names] for line in each if "val/loss" in line]
        for each in (plain, log)
    ]
    assert len(losses[0]) == 5
    assert losses[0] == losses[1]  # training is what it was

    best = best_checkpoint(Path("run/checkpoints"))
    threshold = read_values(best).metrics["val/threshold"]
    assert threshold < 0.45  # the second class is rare, and its probability small
    found = json.loads(bptrain("evaluate", "run", "--json").stdout)
    assert found["threshold"] == threshold
    last = {tag: value for tag, value in log[-1].items() if tag.startswith(("test/", "baseline/"))}
    assert {tag: found[tag] for tag in last} == last
    assert found["test/balanced_accuracy"] > plain[-1]["test/balanced_accuracy"]
    for tag, value in plain[-1].items():  # a baseline is what it is without the run's threshold
        if tag.startswith("baseline/"):
            assert log[-1][tag] == value

    told = bptrain("evaluate", "run").stdout
    assert f"threshold of the second class: {threshold:.6g}" in told
    again = json.loads(bptrain("evaluate", "run", "table.csv", "--json").stdout)
    assert again["threshold"] == threshold
    rows = json.loads(bptrain("predict", "run", "table.csv", "--json").stdout)
    chances = [{each["class"]: each["probability"] for each in row["top"]}["yes"] for row in rows]
    assert [row["class"] == "yes" for row in rows] == [each >= threshold for each in chances]
    assert any(
        each < 0.5 and row["class"] == "yes" for each, row in zip(chances, rows, strict=True)
    )
    assert bptrain("export", "run", "model.pt").exit_code == 0
    assert json.loads(Path("model.pt.json").read_text())["after"]["threshold"] == threshold


def test_a_state_that_was_never_validated_has_no_threshold(tmp_path: Path) -> None:
    saved = write_checkpoint(tmp_path, TrainingState(3, {"model": {"w": torch.zeros(1)}}, {}))
    with pytest.raises(CheckpointError, match="never validated"):
        decision_of(config_with("f1"), TWO, saved)
    assert decision_of(config_with(0.3), TWO, saved).threshold == 0.3
    assert decision_of(config_with(None), TWO, saved).threshold is None


@pytest.mark.parametrize(
    ("problem", "threshold", "message"),
    [
        (Problem("classification", (4,), 3), 0.3, "the data has 3 classes"),
        (Problem("regression", (4,), 1), "f1", "the task is regression"),
        (Problem("tagging", (4,), 2), 0.3, "the task is tagging"),
        (TWO, "f1", "no validation samples"),
    ],
)
def test_a_threshold_that_nothing_can_be_decided_by_is_refused(
    problem: Problem, threshold: Any, message: str
) -> None:
    with pytest.raises(ConfigKeyError, match=message):
        refuse_threshold(config_with(threshold), problem, is_validated=False)
    refuse_threshold(config_with(None), problem, is_validated=False)
    refuse_threshold(config_with(0.3), TWO, is_validated=False)
