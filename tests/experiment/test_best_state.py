"""The best state and early stopping by any validation metric, in the direction it has."""

import json
from collections.abc import Callable
from itertools import product
from pathlib import Path
from typing import Any, get_args

import pytest

from bptrain import tags
from bptrain.errors import ConfigKeyError
from bptrain.experiment import session
from bptrain.experiment.best_state import refuse_unknown_metrics
from bptrain.experiment.config import ExperimentConfig
from bptrain.problem import Problem, TaskName
from bptrain.tasks import task_of
from bptrain.train.early_stopping import EarlyStoppingConfig

CONFIG = """data: {kind: xor, samples: 40, batch_size: 40}
model: {kind: mlp, hidden: [8]}
train: {epochs: 5}
checkpoint: {keep_last: 2}
"""
LOSSES = [0.5, 0.4, 0.3, 0.2, 0.1]
SCORES = [0.5, 0.9, 0.6, 0.6, 0.6]  # the best is of the second epoch


@pytest.fixture
def fit(bptrain: Callable, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """Train with validation metrics that are made up, an evaluation after each step."""

    def made_up(*_: object, **__: object) -> dict[str, float]:
        epoch = len(seen)
        seen.append(epoch)
        score = SCORES[epoch]
        return {"val/loss": LOSSES[epoch], "val/accuracy": 0.5, "val/macro_f1": score}

    seen: list[int] = []
    monkeypatch.setattr(session, "evaluate_split", made_up)
    Path("c.yaml").write_text(CONFIG)
    return lambda *words: bptrain("fit", "c.yaml", *words, "--run-dir", "run")


def best(bptrain: Callable) -> str:
    found: str = json.loads(bptrain("evaluate", "run", "--json").stdout)["checkpoint"]
    return found


def test_the_best_state_is_that_of_the_metric_and_is_never_removed(
    fit: Callable, bptrain: Callable
) -> None:
    result = fit("checkpoint.best_by=val/macro_f1")
    assert result.exit_code == 0, result.output
    kept = sorted(path.name for path in Path("run/checkpoints").iterdir())
    assert kept == ["step-000002", "step-000004", "step-000005"]
    assert best(bptrain) == "step-000002"
    assert "(step-000002, " in result.stdout  # the test at the end is of the best state


def test_the_loss_decides_by_default(fit: Callable, bptrain: Callable) -> None:
    assert fit().exit_code == 0
    assert best(bptrain) == "step-000005"


def test_early_stopping_watches_the_metric(fit: Callable) -> None:
    result = fit("train.early_stopping={patience: 2, metric: val/macro_f1}")
    assert result.exit_code == 0, result.output
    text = "stopped early: no larger val/macro_f1 for 2 evaluations, the largest was 0.9"
    assert text in result.stdout
    assert (Path("run/checkpoints") / "step-000004").is_dir()
    assert not (Path("run/checkpoints") / "step-000005").is_dir()


def test_another_metric_on_resume_begins_to_wait_anew(fit: Callable) -> None:
    assert fit("train.early_stopping={patience: 2, metric: val/macro_f1}").exit_code == 0
    result = fit("--resume", "train.early_stopping={patience: 2, metric: val/loss}")
    assert result.exit_code == 0, result.output
    assert "results may differ: train.early_stopping.metric was val/macro_f1, is val/loss" in (
        result.stdout
    )
    assert (Path("run/checkpoints") / "step-000005").is_dir()


@pytest.mark.parametrize("key", ["checkpoint.best_by", "train.early_stopping.metric"])
def test_a_metric_that_the_task_does_not_have_is_refused_with_those_it_has(
    bptrain: Callable, key: str
) -> None:
    Path("c.yaml").write_text(CONFIG)
    result = bptrain("fit", "c.yaml", f"{key}=val/r2")
    assert result.exit_code == 2
    assert f"{key}: classification has no val/r2" in result.stderr
    assert "val/loss, val/accuracy, val/macro_f1" in result.stderr
    words = [f"{key}=val/accuracy", "data.validation_fraction=0"]
    assert bptrain("fit", "c.yaml", *words).exit_code == 2
    assert bptrain("fit", "c.yaml", f"{key}=accuracy").exit_code == 2


def test_the_direction_of_every_metric_is_known() -> None:
    larger = {"accuracy", "top5", "macro_f1", "balanced_accuracy", "macro_precision", "r2"}
    larger |= {"roc_auc", "average_precision", "macro_roc_auc"}
    for task, outputs in product(get_args(TaskName), (2, 9)):
        problem = Problem(task, (4,), outputs, names=tuple("abcdefghi"))
        metric = task_of(problem).evaluation_metric(problem)
        assert set(metric.larger_is_better) == larger & set(metric.names)


@pytest.mark.parametrize(
    ("written", "meant"), [("eec", "ece"), ("brier", "brier_score"), ("rocauc", "roc_auc")]
)
def test_a_misspelled_metric_is_answered_with_the_nearest(written: str, meant: str) -> None:
    fields = {"data": {"kind": "xor"}, "model": {"kind": "mlp"}}
    config = ExperimentConfig.model_validate(
        {**fields, "checkpoint": {"best_by": f"val/{written}"}}
    )
    with pytest.raises(ConfigKeyError) as error:
        refuse_unknown_metrics(config, Problem("classification", (2,), 2), is_validated=True)
    assert error.value.hint == f"did you mean val/{meant}"


def test_a_gain_within_min_delta_is_none_in_either_direction() -> None:
    config = EarlyStoppingConfig(patience=1, min_delta=0.25, metric="val/accuracy")
    for larger, values in ((True, [0.5, 1.0]), (False, [1.0, 0.5])):
        rule = config.build(larger)
        assert not any(map(rule.observe, values))
        assert rule.observe(values[-1] + (0.25 if larger else -0.25))  # exactly min_delta


def test_a_checkpoint_without_the_metric_is_the_worst() -> None:
    for larger in (True, False):
        ranking = tags.Ranking("val/r2", larger)
        costs = [ranking.cost(each) for each in ({}, {"val/r2": -1e9}, {"val/r2": 1e9})]
        assert min(costs) == costs[2 if larger else 1]
        assert max(costs) == costs[0]
