"""Slips on the command line are answered with the form that was meant."""

from collections.abc import Callable
from pathlib import Path

import pytest

CONFIG = "data: {kind: digits}\nmodel: {kind: mlp}\n"


@pytest.mark.parametrize(
    ("words", "meant"),
    [
        (["--optimizer.lr=0.05"], "optimizer.lr=0.05"),
        (["--optimizer.lr", "0.05"], "optimizer.lr=0.05"),
        (["--seed=3"], "seed=3"),
        (["optimizer.lr", "=", "0.05"], "did you mean: optimizer.lr=0.05"),
        (["optimizer.lr=", "0.05"], "did you mean: optimizer.lr=0.05"),
        (["optimizer.lr", "=0.05"], "did you mean: optimizer.lr=0.05"),
        (["seed=1", "optimizer.lr = 0.05"], "unknown key"),
        (["optimizer=adam"], "did you mean: optimizer.kind=adam"),
        (["data=tabel"], "did you mean: data.kind=table"),
        (["model=cnn"], "model: {kind: cnn}"),
    ],
)
@pytest.mark.parametrize("command", ["fit", "validate"])
def test_a_slip_is_answered_with_what_was_meant(
    bptrain: Callable, tmp_path: Path, command: str, words: list[str], meant: str
) -> None:
    (tmp_path / "c.yaml").write_text(CONFIG)
    result = bptrain(command, "c.yaml", *words)
    assert result.exit_code == 2
    assert meant in " ".join(result.stderr.replace("│", " ").split())


def test_a_misspelt_option_is_still_one(bptrain: Callable, tmp_path: Path) -> None:
    (tmp_path / "c.yaml").write_text(CONFIG)
    result = bptrain("fit", "c.yaml", "--run-dirr=x")
    assert result.exit_code == 2
    assert "--run-dir" in result.stderr
    assert "run-dirr=x" not in result.stderr
