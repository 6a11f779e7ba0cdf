"""What a run shows: the board, the metrics file, the terminal."""

import json
from collections.abc import Callable
from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console
from small_files import CONFIGS
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from bptrain.monitor.console import TrainingConsole

DOCUMENTED = {
    "train/loss",
    "train/accuracy",
    "train/lr",
    "train/epoch",
    "val/loss",
    "val/accuracy",
    "val/top5",
    "val/macro_f1",
    "val/balanced_accuracy",
    "val/macro_precision",
    "val/macro_roc_auc",
    "val/brier_score",
    "val/ece",
    "test/loss",
    "test/accuracy",
    "test/top5",
    "test/macro_f1",
    "test/balanced_accuracy",
    "test/macro_precision",
    "test/macro_roc_auc",
    "test/brier_score",
    "test/ece",
    "baseline/majority_class/accuracy",
    "baseline/majority_class/top5",
    "baseline/majority_class/macro_f1",
    "baseline/majority_class/balanced_accuracy",
    "baseline/majority_class/macro_precision",
    "baseline/majority_class/macro_roc_auc",
    "baseline/majority_class/brier_score",
    "baseline/majority_class/ece",
    "data/chance_loss",
    "data/classes",
    "data/input_rms",
    "grad/total",
    "grad/layer/linear1",
    "grad/layer/linear2",
    "grad/layer/output",
    "grad/activation/linear1",
    "grad/activation/linear2",
    "grad/activation/output",
    "activation/dead/relu1",
    "activation/dead/relu2",
    "update_ratio/linear1",
    "update_ratio/linear2",
    "update_ratio/output",
    "weight/growth/linear1",
    "weight/growth/linear2",
    "weight/growth/output",
    "weight/norm/linear1",
    "weight/norm/linear2",
    "weight/norm/output",
    "perf/samples_per_s",
    "perf/step_ms",
    "perf/memory_mb",
    "perf/monitor_overhead",
}


COPIES = {  # on the board alone, at its top
    "Curves/train_loss": "train/loss",
    "Curves/val_loss": "val/loss",
    "Curves/val_accuracy": "val/accuracy",
}


def test_every_tag_is_explained_in_the_docs() -> None:
    rows = (CONFIGS.parent / "docs" / "tensorboard.md").read_text()
    for tag in {*DOCUMENTED, *COPIES}:
        section, _, name = tag.rpartition("/")
        assert f"`{tag}`" in rows or f"`{section}/<name>`" in rows, name


def test_the_board_holds_the_same_numbers_as_the_metrics_file(
    bptrain: Callable, tmp_path: Path
) -> None:
    result = bptrain("fit", CONFIGS / "digits_mlp.yaml", "train.epochs=2", "--run-dir", "run")
    assert result.exit_code == 0
    lines = (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()
    records = [json.loads(line) for line in lines]
    from_file = {
        (record["step"], tag): value
        for record in records
        for tag, value in record.items()
        if "/" in tag
    }
    board = EventAccumulator(str(tmp_path / "run" / "tensorboard"))
    board.Reload()
    tags = board.Tags()["scalars"]
    assert set(tags) == {*DOCUMENTED, *COPIES}
    for copy, tag in COPIES.items():
        shown, original = ([(e.step, e.value) for e in board.Scalars(t)] for t in (copy, tag))
        assert shown == original
    from_board = {(e.step, tag): e.value for tag in DOCUMENTED for e in board.Scalars(tag)}
    assert set(from_board) == set(from_file)
    for key, value in from_file.items():
        assert from_board[key] == pytest.approx(value, rel=1e-6), key
    assert "config/text_summary" in board.Tags()["tensors"]
    assert [record["step"] for record in records] == [20, 21, 40, 42, 42]


@pytest.mark.parametrize("is_terminal", [True, False], ids=["terminal", "log"])
def test_a_terminal_gets_a_bar_and_a_log_gets_lines(is_terminal: bool) -> None:
    out = StringIO()
    console = Console(file=out, force_terminal=is_terminal, width=100)
    with TrainingConsole(console, total_steps=100, steps_per_epoch=10) as shown:
        for step in range(1, 11):
            shown.advance(step, epoch=0)
        shown.show(10, {"train/loss": 0.5, "train/accuracy": 0.25})
        shown.show(10, {"train/loss": 0.5, "val/loss": 0.75, "val/accuracy": 0.5})
    text = out.getvalue()
    assert ("10/100" in text) == is_terminal or not is_terminal
    assert ("\x1b[" in text) == is_terminal
    assert text.count("epoch 1  loss" if is_terminal else "step 10/100") == (
        1 if is_terminal else 2
    )
    assert "val accuracy 50.00%" in text
    if not is_terminal:
        assert text.splitlines()[0] == "step 10/100  epoch 1.00  loss 0.5000  accuracy 25.00%"
