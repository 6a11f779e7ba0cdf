"""The config in a run's folder is the one that the run was trained with, or it is refused."""

from collections.abc import Callable
from pathlib import Path

import pytest

CONFIG = """data: {kind: xor, samples: 40}
model: {kind: mlp, hidden: [8], activation: relu}
train: {steps: 2}
"""
EDITS = {
    "activation": ("activation: relu", "activation: tanh", "model.activation was relu, is tanh"),
    "loss": (
        "label_smoothing: 0.0",
        "label_smoothing: 0.1",
        "loss.label_smoothing was 0.0, is 0.1",
    ),
    "precision": ("precision: fp32", "precision: bf16", "precision was fp32, is bf16"),
    "seed": ("seed: 0", "seed: 1", "seed was 0, is 1"),
    "kernels": ("kernels: fused", "kernels: formula", "kernels was fused, is formula"),
    "noise": ("noise: 0.2", "noise: 0.1", "data.noise was 0.2, is 0.1"),
    "rate": ("lr: 0.1", "lr: 0.2", "optimizer.lr was 0.1, is 0.2"),
    "stopping": (
        "early_stopping: null",
        "early_stopping: {patience: 3}",
        "train.early_stopping",
    ),
}


@pytest.fixture
def config(bptrain: Callable) -> Path:
    """Return config.yaml of a trained run."""
    Path("c.yaml").write_text(CONFIG)
    fitted = bptrain("fit", "c.yaml", "--run-dir", "run")
    assert fitted.exit_code == 0, fitted.stderr
    return Path("run/config.yaml")


@pytest.mark.parametrize("edit", EDITS)
def test_an_edit_is_refused_by_every_command_and_named(
    bptrain: Callable, config: Path, edit: str
) -> None:
    old, new, told = EDITS[edit]
    text = config.read_text()
    assert text.count(old) == 1
    config.write_text(text.replace(old, new))
    for words in (
        ["evaluate", "run"],
        ["fit", "run/config.yaml", "--resume", "--run-dir", "run"],
        ["fit", "c.yaml", "--resume", "--run-dir", "run"],
    ):
        result = bptrain(*words)
        assert result.exit_code == 4, (words, result.output)
        assert f"config.yaml: edited since the run wrote it\n  why: {told}" in result.stderr
    assert config.read_text() == text.replace(old, new)
    config.write_text(text)
    assert bptrain("evaluate", "run").exit_code == 0


def test_a_config_that_has_become_invalid_is_refused_alike(bptrain: Callable, config: Path) -> None:
    config.write_text(config.read_text().replace("activation: relu", "activation: rela"))
    for words in (["evaluate", "run"], ["fit", "c.yaml", "--resume", "--run-dir", "run"]):
        result = bptrain(*words)
        assert result.exit_code == 4, result.output
        assert "config.yaml: edited since the run wrote it" in result.stderr
        assert "model.activation" in result.stderr


def test_a_comment_is_no_edit(bptrain: Callable, config: Path) -> None:
    config.write_text(f"# of last week\n{config.read_text()}")
    assert bptrain("evaluate", "run").exit_code == 0


def test_the_config_of_another_run_is_refused(bptrain: Callable, config: Path) -> None:
    other = bptrain("fit", "c.yaml", "--run-dir", "other", "model.activation=tanh", "train.steps=3")
    assert other.exit_code == 0
    config.write_text(Path("other/config.yaml").read_text())
    result = bptrain("evaluate", "run")
    assert result.exit_code == 4
    assert "model.activation was relu, is tanh" in result.stderr
    assert "train.steps" not in result.stderr  # a resumed run may have changed it


def test_a_resume_may_change_what_may_change_and_stores_it(bptrain: Callable, config: Path) -> None:
    words = ["--run-dir", "run", "--resume", "optimizer.lr=0.05", "train.steps=4"]
    assert bptrain("fit", "run/config.yaml", *words).exit_code == 0
    assert "lr: 0.05" in config.read_text()
    assert bptrain("evaluate", "run").exit_code == 0
    assert bptrain("fit", "run/config.yaml", "--run-dir", "run", "--resume").exit_code == 0


def test_a_resume_killed_between_the_two_files_is_no_edit(bptrain: Callable, config: Path) -> None:
    before = config.read_text()
    words = ["--run-dir", "run", "--resume", "train.steps=4"]
    assert bptrain("fit", "c.yaml", *words).exit_code == 0
    config.write_text(before)  # prepared.json is of the resumed run, config.yaml of the one before
    assert bptrain("evaluate", "run").exit_code == 0
    assert bptrain("fit", "c.yaml", *words).exit_code == 0


def test_a_new_run_of_an_edited_config_is_as_good_as_any(bptrain: Callable, config: Path) -> None:
    config.write_text(config.read_text().replace("activation: relu", "activation: tanh"))
    assert bptrain("fit", "run/config.yaml", "--run-dir", "new").exit_code == 0
