"""`engine`: the same run by the tape and by autograd, and what each says."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from small_files import CONFIGS
from typer.testing import Result

from bptrain.models.activations import ACTIVATIONS
from bptrain.nn import ReLU

Bptrain = Callable[..., Result]
RUNS = {
    "mlp": [CONFIGS / "digits_mlp.yaml", "model.dropout=0.2", "train.grad_accum_steps=2"],
    "cnn": [CONFIGS / "digits_cnn.yaml", "train.ema_decay=0.9"],
    "bf16": [CONFIGS / "digits_mlp.yaml", "precision=bf16"],
    "fp16": [CONFIGS / "digits_mlp.yaml", "precision=fp16"],
    "lbfgs": [CONFIGS / "digits_lbfgs.yaml"],
    "lstm": [CONFIGS / "adding_lstm.yaml", "model.hidden=8", "data.length=10"],
}
SHORT = ["data.batch_size=100", "train.steps=5", "monitor.log_every=1"]


def lines(folder: str) -> list[dict]:
    def is_timed(key: str) -> bool:
        return key == "time_s" or key.startswith("perf/")

    read = [json.loads(line) for line in Path(folder, "metrics.jsonl").read_text().splitlines()]
    return [{k: v for k, v in each.items() if not is_timed(k)} for each in read]


@pytest.mark.parametrize("kind", RUNS)
def test_both_engines_train_alike(bptrain: Bptrain, kind: str) -> None:
    for engine in ("tape", "autograd"):
        result = bptrain("fit", *RUNS[kind], *SHORT, f"engine={engine}", "--run-dir", engine)
        assert result.exit_code == 0, result.stderr
        assert "runs by autograd" not in result.stdout
    assert lines("tape") == lines("autograd")


@pytest.mark.parametrize("engine", ["tape", "autograd"])
def test_a_resumed_run_is_exact(bptrain: Bptrain, engine: str) -> None:
    words = [*RUNS["cnn"], *SHORT, f"engine={engine}", "checkpoint.every_steps=2"]
    assert bptrain("fit", *words, "--run-dir", "whole").exit_code == 0
    assert bptrain("fit", *words, "train.steps=3", "--run-dir", "part").exit_code == 0
    resumed = bptrain("fit", *words, "--run-dir", "part", "--resume")
    assert resumed.exit_code == 0, resumed.stderr
    ours, whole = lines("part")[-1], lines("whole")[-1]
    assert ours == whole


class Foreign(ReLU):
    """An activation of torch's, which the tape does not know."""

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        return torch.sin(input)


@pytest.mark.parametrize("engine", ["auto", "tape"])
def test_what_is_not_on_the_tape(
    bptrain: Bptrain, monkeypatch: pytest.MonkeyPatch, engine: str
) -> None:
    monkeypatch.setitem(ACTIVATIONS, "relu", Foreign)
    result = bptrain("fit", *RUNS["mlp"], *SHORT, f"engine={engine}", "--run-dir", "run")
    if engine == "auto":
        assert result.exit_code == 0, result.stderr
        assert result.stdout.count("runs by autograd: aten.sin.default is not an operation") == 1
    else:
        assert result.exit_code == 2
        assert "aten.sin.default is not an operation of bptrain" in result.stderr
        assert "engine: auto" in result.stderr
