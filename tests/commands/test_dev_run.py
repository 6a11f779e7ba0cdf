"""Dev runs and overfitting one batch: they work for all kinds of data and leave no files."""

import signal
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from kinds_of_data import KINDS, kinds_with_few_alike
from small_files import CONFIGS

from bptrain.experiment.config import ExperimentConfig
from bptrain.experiment.plan import plan

DIGITS = CONFIGS / "digits_mlp.yaml"
MODELS = {
    "mlp": DIGITS,
    "cnn": CONFIGS / "digits_cnn.yaml",
    "transformer": CONFIGS / "digits_transformer.yaml",
    "sequential": CONFIGS / "digits_sequential.yaml",
    "augmented": CONFIGS / "digits_augmented.yaml",
    "lbfgs": CONFIGS / "digits_lbfgs.yaml",
    "muon": CONFIGS / "digits_muon.yaml",
}


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the folder in which this test makes its temporary files."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


@pytest.mark.parametrize("name", [*kinds_with_few_alike(), *MODELS])
def test_a_dev_run_works_for_all_and_leaves_nothing(
    bptrain: Callable, tmp_path: Path, temporary: Path, name: str
) -> None:
    config = MODELS.get(name, tmp_path / "c.yaml")
    if name in KINDS:
        kind = KINDS[name]
        kind.write()
        config.write_text(f"data: {{{kind.data}, batch_size: 8}}\nmodel: {kind.model}\n")
    before = sorted(tmp_path.rglob("*"))
    result = bptrain("fit", config, "train.grad_accum_steps=2", "--fast-dev-run")
    assert result.exit_code == 0, result.stderr
    assert "all of it works: 3 steps" in result.stdout
    assert sorted(tmp_path.rglob("*")) == before


def test_a_dev_run_that_fails_has_the_codes_of_a_run_and_leaves_nothing(
    bptrain: Callable, tmp_path: Path, temporary: Path
) -> None:
    result = bptrain(
        "fit", DIGITS, "optimizer.lr=1e30", "schedule.warmup_steps=0", "--fast-dev-run"
    )
    assert result.exit_code == 6
    assert list(tmp_path.rglob("*")) == [temporary]


@pytest.mark.parametrize("option", ["--fast-dev-run", "--overfit-one-batch"])
def test_a_stopped_dev_run_promises_no_checkpoint(
    bptrain: Callable,
    tmp_path: Path,
    temporary: Path,
    monkeypatch: pytest.MonkeyPatch,
    option: str,
) -> None:
    forward = torch.nn.Module.__call__

    def stopping(self: Any, *arguments: Any, **named: Any) -> Any:
        monkeypatch.setattr(torch.nn.Module, "__call__", forward)
        if not any(parameter.is_meta for parameter in self.parameters()):
            signal.raise_signal(signal.SIGTERM)
        return forward(self, *arguments, **named)

    def plan_then_stop(config: ExperimentConfig) -> Any:
        made = plan(config)
        monkeypatch.setattr(torch.nn.Module, "__call__", stopping)
        return made

    monkeypatch.setattr("bptrain.commands.fit.plan_for_training", plan_then_stop)
    result = bptrain("fit", DIGITS, option)
    assert result.exit_code == 143
    assert result.stderr == "stopped; nothing was left to save\n"
    assert list(tmp_path.rglob("*")) == [temporary]


def test_a_batch_that_is_overfitted_is_reported_so(
    bptrain: Callable, tmp_path: Path, temporary: Path
) -> None:
    result = bptrain("fit", DIGITS, "train.steps=40", "--overfit-one-batch")
    assert result.exit_code == 0
    assert result.stdout.strip().endswith("in 40 steps. Overfitted.")
    steps = [line for line in result.stdout.splitlines() if line.startswith("step ")]
    losses = [float(line.split("loss ")[1].split()[0]) for line in steps]
    assert losses[0] > 4 > 1 > losses[-1]
    assert list(tmp_path.rglob("*")) == [temporary]


def test_a_batch_that_is_not_overfitted_gets_advice(bptrain: Callable) -> None:
    words = ["train.steps=10", "optimizer.lr=1e-6"]
    result = bptrain("fit", DIGITS, *words, "--overfit-one-batch")
    assert result.exit_code == 0
    assert "Not overfitted: try another optimizer.lr" in result.stdout


def test_the_schedule_of_a_batch_by_overfitting_spans_its_steps(bptrain: Callable) -> None:
    # of the 2 steps that the run itself would have, the second has a rate of 0
    words = ["data.samples=40", "data.batch_size=40", "train.epochs=2"]
    words.append("schedule={kind: cosine, warmup_steps: 1}")
    result = bptrain("fit", CONFIGS / "xor_mlp.yaml", *words, "--overfit-one-batch")
    assert "in 200 steps. Overfitted." in result.stdout


def test_a_batch_of_regression_targets_can_be_overfitted_too(bptrain: Callable) -> None:
    Path("c.yaml").write_text(
        "data: {kind: adding, samples: 80, length: 3, batch_size: 16}\n"
        "model: {kind: rnn, cell: gru, hidden: 16}\noptimizer: {kind: adam, lr: 0.01}\n"
    )
    stdout = bptrain("fit", "c.yaml", "--overfit-one-batch").stdout
    assert "one batch of 16" in stdout
    assert "Overfitted." in stdout
    stdout = bptrain("fit", "c.yaml", "optimizer.lr=1e-7", "--overfit-one-batch").stdout
    assert "Not overfitted" in stdout


@pytest.mark.parametrize(
    "options",
    [
        ["--fast-dev-run", "--resume"],
        ["--overfit-one-batch", "--dry-run"],
        ["--fast-dev-run", "--overfit-one-batch"],
    ],
)
def test_modes_of_fit_exclude_each_other(bptrain: Callable, options: list[str]) -> None:
    result = bptrain("fit", DIGITS, *options)
    assert result.exit_code == 2
    assert "exclude each other" in result.stderr


@pytest.mark.parametrize("option", ["--dry-run", "--fast-dev-run", "--overfit-one-batch"])
def test_what_leaves_no_run_takes_no_folder_for_one(bptrain: Callable, option: str) -> None:
    result = bptrain("fit", DIGITS, option, "--run-dir", "run")
    assert result.exit_code == 2
    assert f"{option} leaves no run behind" in result.stderr
    assert not Path("run").exists()
