"""Baselines: what they predict, by scikit-learn and by hand, and where a run shows them."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from html_pages import read
from sklearn import linear_model as reference
from torch import Tensor

from bptrain.data.splits import Samples
from bptrain.data.text.text_stream import TextStream
from bptrain.experiment.baselines import (
    Baseline,
    BaselineResult,
    BaselineWatch,
    Constant,
    constant_outputs,
    deciding_metric,
    not_beaten,
)
from bptrain.experiment.bigram_baseline import bigram_model
from bptrain.experiment.config import ExperimentConfig
from bptrain.experiment.linear_baseline import linear_model, rows_to_fit
from bptrain.experiment.stored_baselines import store_baselines, stored_baselines
from bptrain.losses import LOSSES
from bptrain.losses.cross_entropy import CrossEntropyConfig
from bptrain.problem import Problem, TaskName
from bptrain.tags import Ranking
from bptrain.tasks import task_of

TABLE = """name: table
data: {kind: table, path: table.csv, target: answer}
model: {kind: mlp, hidden: [4]}
optimizer: {kind: sgd, lr: 1.0e-9}
train: {epochs: 1}
"""


def problem(task: TaskName, outputs: int) -> Problem:
    return Problem(task, (4,), outputs)


def metrics_of(constant: Tensor, asked: Problem, targets: Tensor) -> dict[str, float]:
    """Return the metrics of a constant prediction over two batches."""
    watch = BaselineWatch(Constant("any", constant), task_of(asked).evaluation_metric(asked))
    for batch in targets.split(len(targets) - 1):
        watch.add((), torch.empty(0), (batch,))
    return watch.result().metrics


@pytest.mark.parametrize("kind", ["cross_entropy", "bce_with_logits", "mse"])
def test_the_majority_class_is_that_of_the_training_samples(kind: str) -> None:
    training, tested = torch.tensor([2, 2, 1, 2, 0]), torch.tensor([1, 1, 2, 0])
    asked = problem("classification", 3)
    constant = constant_outputs(training, asked, LOSSES[kind]())
    assert constant.argmax() == 2
    assert metrics_of(constant, asked, tested)["accuracy"] == 0.25


def test_class_weights_do_not_change_the_majority_class() -> None:
    training = torch.tensor([2, 2, 1, 2, 0])
    balanced = CrossEntropyConfig().balanced_for(training.bincount())
    assert constant_outputs(training, problem("classification", 3), balanced).argmax() == 2


def test_time_steps_without_a_label_have_no_class() -> None:
    training = torch.tensor([[1, -100, -100], [1, 0, 1]])
    asked = problem("tagging", 2)
    constant = constant_outputs(training, asked, CrossEntropyConfig())
    assert metrics_of(constant, asked, training) == {"accuracy": 0.75}


def test_the_mean_explains_nothing() -> None:
    training = torch.tensor([[1.0, 10.0], [3.0, 30.0], [5.0, 50.0]])
    asked = problem("regression", 2)
    constant = constant_outputs(training, asked, LOSSES["mse"]())
    assert constant.tolist() == [3.0, 30.0]
    metrics = metrics_of(constant, asked, training)
    assert metrics["r2"] == pytest.approx(0, abs=1e-12)
    assert metrics["mae"] == pytest.approx((4 / 3 + 40 / 3) / 2)


def test_the_frequencies_of_tokens_have_their_entropy() -> None:
    tokens = torch.tensor([[0, 0, 1, 2]])
    asked = problem("language_model", 3)
    constant = constant_outputs(tokens, asked, CrossEntropyConfig())
    found = metrics_of(constant, asked, tokens.repeat(2, 1))
    assert found["bits_per_character"] == pytest.approx(1.5)


@pytest.mark.parametrize("kind", ["cross_entropy", "bce_with_logits", "mse"])
@pytest.mark.parametrize("classes", [[0, 1], [1, 3], [0, 2, 3]])
def test_logistic_regression_is_that_of_scikit_learn(classes: list[int], kind: str) -> None:
    random = np.random.default_rng(0)
    x = random.standard_normal((120, 4)).astype(np.float32)
    y = np.array(classes)[np.argsort(x @ random.standard_normal((4, len(classes))))[:, -1]]
    train = Samples(torch.from_numpy(x), torch.from_numpy(y))
    loss = LOSSES[kind]()
    (found,) = linear_model(train, problem("classification", 4), loss)
    outputs = found.outputs((train.inputs,), (train.targets,))
    expected = reference.LogisticRegression(max_iter=200).fit(x.astype(np.float64), y)
    assert outputs.argmax(1).tolist() == expected.predict(x).tolist()
    shares = loss.probabilities(outputs)[:, classes].numpy()
    assert shares == pytest.approx(expected.predict_proba(x), abs=1e-5)


def test_ridge_regression_is_that_of_scikit_learn() -> None:
    random = np.random.default_rng(0)
    x = random.standard_normal((50, 4)).astype(np.float32)
    for columns in (1, 3):
        y = (x @ random.standard_normal((4, columns)) + 5).astype(np.float32)
        train = Samples(torch.from_numpy(x), torch.from_numpy(y))
        (found,) = linear_model(train, problem("regression", columns), LOSSES["mse"]())
        expected = reference.Ridge().fit(x.astype(np.float64), y.astype(np.float64)).predict(x)
        outputs = found.outputs((train.inputs,), (train.targets,)).numpy()
        assert outputs == pytest.approx(expected.reshape(-1, columns))


def test_one_class_has_no_logistic_regression() -> None:
    train = Samples(torch.randn(9, 4), torch.zeros(9, dtype=torch.int64))
    assert not [*linear_model(train, problem("classification", 2), CrossEntropyConfig())]


@pytest.mark.parametrize(
    ("table", "count"),
    [
        ((50, 10, 2), 50),
        ((10**6, 10, 2), 20_000),
        ((10**6, 1000, 10), 1000),
        ((50, 10_000, 20), 50),
        ((10**6, 10_000, 1000), None),
        ((50, 10_000, 1000), None),
    ],
)
def test_the_rows_of_a_linear_model_are_bounded(
    table: tuple[int, int, int], count: int | None
) -> None:
    rows = rows_to_fit(*table)
    assert (None if rows is None else len(rows)) == count
    if rows is not None:
        assert len(rows.unique()) == count
        assert rows[-1] >= table[0] - table[0] // len(rows) - 1


@pytest.mark.parametrize("larger", [True, False])
def test_a_run_beats_a_baseline_in_the_direction_of_the_metric(larger: bool) -> None:
    results = [BaselineResult(f"of_{value}", "", {"mae": value}) for value in (0.25, 0.5, 0.75)]
    lines = not_beaten({"val/mae": 0.5}, results, Ranking("val/mae", larger))
    expected = ("of 0.5", "of 0.75") if larger else ("of 0.25", "of 0.5")
    assert len(lines) == 2
    for name, line in zip(expected, lines, strict=True):
        assert line.startswith(f"the run does not beat the baseline {name}: MAE 0.5 of the valid")


def test_the_metric_that_chooses_the_best_state_decides() -> None:
    metric = task_of(problem("classification", 3)).evaluation_metric(problem("classification", 3))

    def config(**saving: str) -> ExperimentConfig:
        data = {"kind": "xor"}
        return ExperimentConfig.model_validate(
            {"data": data, "model": {"kind": "mlp"}, "checkpoint": saving}
        )

    assert deciding_metric(config(), metric, "test") == Ranking("test/accuracy", True)
    chosen = config(best_by="val/macro_f1")
    assert deciding_metric(chosen, metric, "val") == Ranking("val/macro_f1", True)


def fitted(bptrain: Callable, *words: str) -> tuple[Any, list[dict[str, Any]]]:
    """Train on a table of two classes, one of them rare, and return the result and the log."""
    random = np.random.default_rng(0)
    a, b = random.standard_normal((2, 200))
    rows = [f"{x:.4f},{y:.4f},{'yes' if x + y > 1.5 else 'no'}" for x, y in zip(a, b, strict=True)]
    Path("table.csv").write_text("\n".join(["a,b,answer", *rows]))
    Path("table.yaml").write_text(TABLE)
    result = bptrain("fit", "table.yaml", "--run-dir", "run", *words)
    assert result.exit_code == 0, result.stderr
    lines = Path("run/metrics.jsonl").read_text().splitlines()
    return result, [json.loads(line) for line in lines]


def test_fit_evaluate_and_the_report_show_the_baselines(bptrain: Callable) -> None:
    result, log = fitted(bptrain)
    logged = {tag: value for tag, value in log[-1].items() if tag.startswith("baseline/")}
    names = ("majority_class", "logistic_regression")
    metrics = (
        task_of(problem("classification", 2)).evaluation_metric(problem("classification", 2)).names
    )
    assert set(logged) == {f"baseline/{name}/{each}" for name in names for each in metrics}
    assert "\nbaseline majority class: accuracy" in result.stdout
    text = "the run does not beat the baseline logistic regression: accuracy "
    assert text in result.stdout

    evaluated = bptrain("evaluate", "run")
    assert text in evaluated.stdout
    assert "\nclass  precision  recall  " in evaluated.stdout
    values = json.loads(bptrain("evaluate", "run", "--json").stdout)
    assert {tag: values[tag] for tag in logged} == logged

    words = " ".join(" ".join(read(Path("run/report.html").read_text()).text).split())
    assert "baseline, logistic regression" in words
    assert text in words


def test_new_data_is_compared_with_the_baselines_that_the_run_stored(bptrain: Callable) -> None:
    _, log = fitted(bptrain)
    Path("new.csv").write_text("a,b,answer\n2,2,yes\n1,-1,no\n-1,0,no\n")
    Path("table.csv").unlink()  # the training samples are not read
    values = json.loads(bptrain("evaluate", "run", "new.csv", "--json").stdout)
    assert {each for each in log[-1] if each.startswith("baseline/")} <= set(values)
    assert values["baseline/majority_class/accuracy"] == pytest.approx(2 / 3)
    printed = bptrain("evaluate", "run", "new.csv").stdout
    assert "\nbaseline logistic regression: accuracy 100.00%" in printed
    assert "the run does not beat the baseline majority class: accuracy" in printed

    for content, why in ((b"{}", "cannot be used"), (None, "`fit` stores them")):
        path = Path("run/baselines.json")
        path.unlink() if content is None else path.write_bytes(content)
        result = bptrain("evaluate", "run", "new.csv")
        assert result.exit_code == 0
        (line,) = [line for line in result.stdout.splitlines() if "baseline" in line]
        assert line.startswith("no baselines: ")
        assert why in line


def test_stored_baselines_predict_what_they_did(tmp_path: Path) -> None:
    torch.manual_seed(0)
    loss = CrossEntropyConfig()
    table = torch.randn(40, 3), torch.arange(40) % 4
    asked = Problem("classification", (3,), 5)  # one of the classes is not there
    every: list[Baseline] = [
        Constant("majority_class", torch.tensor([0.1, -3.0])),
        *linear_model(Samples(*table), asked, loss),
        *linear_model(Samples(table[0], table[0][:, :2]), Problem("regression", (3,), 2), loss),
        *bigram_model(TextStream(torch.tensor([0, 1, 0, 2]), 2, "t", "token"), 3, loss),
    ]
    store_baselines(tmp_path, every)
    again, notes = stored_baselines(tmp_path, loss)
    assert notes == []
    inputs = [torch.zeros(2, 3), torch.randn(2, 3), torch.randn(2, 3), torch.tensor([[0, 2]])]
    for one, other, rows in zip(every, again, inputs, strict=True):
        assert (one.name, one.note) == (other.name, other.note)
        before, after = (each.outputs((rows,), (torch.zeros(2).long(),)) for each in (one, other))
        assert torch.equal(before.double(), after.double())


def test_a_token_is_as_likely_as_after_the_one_before_it() -> None:
    tokens = torch.tensor([0, 1, 0, 1, 0, 2])
    (model,) = bigram_model(TextStream(tokens, 5, "t", "token"), 4, CrossEntropyConfig())
    shares = model.outputs((torch.tensor([[0, 3]]),), ()).softmax(-1)
    # after 0: 1 twice and 2 once, and one token more at the tokens' own shares 3, 2, 1, 0 of 6
    torch.testing.assert_close(shares[0, 0], torch.tensor([3 / 6, 2 + 2 / 6, 1 + 1 / 6, 0]) / 4)
    torch.testing.assert_close(shares[0, 1], torch.tensor([3, 2, 1, 0]) / 6)
    assert list(bigram_model(TextStream(tokens, 5, "t", "token"), 257, CrossEntropyConfig())) == []


def test_without_a_test_split_the_validation_samples_are_compared(bptrain: Callable) -> None:
    result, log = fitted(bptrain, "data.test_fraction=0")
    assert "baseline/majority_class/accuracy" in log[-1]
    assert "of the validation samples, the baseline's accuracy" in result.stdout
    assert "of the validation samples" in " ".join(read(Path("run/report.html").read_text()).text)
