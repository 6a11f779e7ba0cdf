"""Verdicts on real runs: told as they train, written, found again from the folder, and resumed."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from small_files import CONFIGS
from typer.testing import Result

from bptrain import tags
from bptrain.data import Batch
from bptrain.errors import CheckpointError
from bptrain.experiment.data_facts import class_shares, constant_loss, rms, valid
from bptrain.experiment.diagnosis import read_lines
from bptrain.losses import LOSSES
from bptrain.monitor.diagnosis import Diagnosis
from bptrain.monitor.verdicts import Setup
from bptrain.problem import Problem

Bptrain = Callable[..., Result]
SICK = ("model.hidden=[32,32,32,32,32,32]", "model.activation=sigmoid", "monitor.max_overhead=null")
FIT = ("fit", CONFIGS / "digits_vanishing.yaml", *SICK, "train.epochs=2", "monitor.log_every=6")
LINES = 8


def lines_of(run: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


def test_a_run_is_told_once_what_is_wrong_and_again_at_its_end(bptrain: Bptrain) -> None:
    fit = bptrain(*FIT, "--run-dir", "run")
    assert fit.exit_code == 0, fit.stderr
    assert fit.stdout.count("vanishing: at linear") == 2
    assert fit.stdout.count("  try: model.activation=relu model.normalization=batch") == 2
    lines = [line for line in lines_of(Path("run")) if "verdict/vanishing" in line]
    assert [type(line["verdict/vanishing"]) for line in lines] == [str]

    found = bptrain("diagnose", "run")
    assert found.exit_code == 0, found.stderr
    assert "vanishing: at linear" in found.stdout
    assert "  why: " in found.stdout
    as_json = json.loads(bptrain("diagnose", "run", "--json").stdout)
    (verdict,) = as_json["verdicts"]
    assert {"kind", "layer", "step", "evidence", "advice"} <= set(verdict)
    assert (verdict["kind"], verdict["step"]) == ("vanishing", 42)

    assert bptrain("diagnose", "run", "--fail-on", "dead,overfitting").exit_code == 0
    failing = bptrain("diagnose", "run", "--fail-on", "dead,vanishing")
    assert (failing.exit_code, failing.stderr.count("\n")) == (11, 2)
    unknown = bptrain("diagnose", "run", "--fail-on", "vanished")
    assert unknown.exit_code == 2
    assert "input_scale, target_scale" in unknown.stderr


def test_the_first_line_holds_the_facts_of_the_data(bptrain: Bptrain) -> None:
    assert bptrain(*FIT, "train.steps=12", "--run-dir", "run").exit_code == 0
    first, *others = lines_of(Path("run"))
    assert first[tags.CLASSES] == 10
    assert first[tags.CHANCE_LOSS] == pytest.approx(
        2.3, abs=0.01
    )  # log 10, of nearly equal classes
    assert first[tags.INPUT_RMS] == pytest.approx(1, abs=0.05)
    assert not any(tag.startswith("data/") for line in others for tag in line)


def test_a_run_that_fails_before_its_first_line_may_have_data_of_another_scale(
    bptrain: Bptrain,
) -> None:
    rows = [f"{n % 7},{n % 5},{n * 1e4 + 0.5}" for n in range(200)]
    Path("dear.csv").write_text("\n".join(["a,b,y", *rows]))
    words = (
        "data={kind: table, path: dear.csv, target: y}",
        "loss={kind: mse}",
        "optimizer={kind: sgd, lr: 1.0e+10}",
    )
    failed = bptrain("fit", CONFIGS / "digits_mlp.yaml", *words, "--run-dir", "run")
    assert failed.exit_code == 6, failed.stderr
    (verdict,) = json.loads(bptrain("diagnose", "run", "--json").stdout)["verdicts"]
    assert (verdict["kind"], verdict["advice"]) == ("target_scale", ["data.scale_target=true"])


def test_a_run_that_was_not_finite_is_diagnosed_by_its_failed_step(bptrain: Bptrain) -> None:
    failed = bptrain(
        "fit",
        CONFIGS / "digits_mlp.yaml",
        "loss={kind: mse}",
        "optimizer={kind: sgd, lr: 1.0e+10}",
        "schedule={kind: constant}",
        "--run-dir",
        "run",
    )
    assert failed.exit_code == 6
    (verdict,) = json.loads(bptrain("diagnose", "run", "--json").stdout)["verdicts"]
    assert verdict["kind"] == "divergence"
    assert verdict["advice"] == ["optimizer.lr=0.05", "train.clip_grad_norm=1.0"]


@pytest.mark.parametrize(
    "text",
    [
        "no json\n",
        '{"epoch": 1}\n',
        '{"step": true}\n',
        '{"step": -1}\n',
        "[" * 100_000 + "\n",
        "\xff\n",
    ],
)
def test_a_log_that_is_damaged_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "metrics.jsonl").write_bytes(text.encode("latin-1"))
    with pytest.raises(CheckpointError, match=r"metrics\.jsonl"):
        read_lines(tmp_path)


def test_a_line_that_a_kill_cut_off_is_left_out(tmp_path: Path) -> None:
    (tmp_path / "metrics.jsonl").write_text('{"step": 1}\n{"step": 2, "tr')
    assert read_lines(tmp_path) == [{"step": 1}]


SETUP = Setup({"optimizer": {"kind": "adam", "lr": 1e-3}})


def test_a_run_that_returns_to_a_checkpoint_is_told_the_same_again() -> None:
    diagnosis = Diagnosis(SETUP)
    found = [diagnosis.add(step, {tags.TRAIN_LOSS: 2.0**step}) for step in range(1, LINES)]
    kinds = [[each.kind for each in verdicts] for verdicts in found]
    assert kinds[3:] == [["divergence"], [], [], []]
    again = [diagnosis.add(step, {tags.TRAIN_LOSS: 2.0**step}) for step in range(3, LINES)]
    assert [[each.kind for each in verdicts] for verdicts in again] == kinds[2:]
    assert [line["step"] for line in diagnosis.lines] == [1, 2, 3, 4, 4, 5, 6, 7]
    resumed = Diagnosis(SETUP, diagnosis.lines)
    assert resumed.add(LINES, {tags.TRAIN_LOSS: 999.0}) == []


@pytest.mark.parametrize("kind", ["cross_entropy", "bce_with_logits", "mse"])
def test_no_other_constant_prediction_costs_less_than_chance(kind: str) -> None:
    class Batch:
        targets = (torch.tensor([0, 0, 0, 1, 1, 2]),)
        weight = 6

    config = LOSSES[kind]()
    loss = config.build(Problem("classification", (4,), 3))
    shares = class_shares(Batch.targets, 3)
    assert shares.tolist() == pytest.approx([1 / 2, 1 / 3, 1 / 6])
    best = config.outputs_of(shares)
    assert torch.allclose(config.probabilities(best), shares, atol=1e-6)
    chance = constant_loss(best, [Batch], loss)  # type: ignore[list-item]
    torch.manual_seed(0)
    for _ in range(20):
        other = best + 0.1 * torch.randn(3)
        assert constant_loss(other, [Batch], loss) > chance  # type: ignore[list-item]


def test_padding_does_not_count_for_the_scale_of_the_inputs() -> None:
    x = torch.full((2, 5, 3), 2.0)
    x[1, 2:] = 0
    batch = Batch((x, torch.tensor([5, 2])), (torch.zeros(2),), 2)
    assert rms([valid(batch)]) == pytest.approx(2.0)
    assert rms([valid(batch._replace(inputs=(x,)))]) == pytest.approx((4 * 21 / 30) ** 0.5)


def test_the_facts_of_numbers_are_their_scale_and_the_loss_of_their_mean(bptrain: Bptrain) -> None:
    rows = [f"{n % 7},{n % 10 + 100}" for n in range(60)]
    Path("table.csv").write_text("\n".join(["x,y", *rows]))
    Path("config.yaml").write_text(
        "data: {kind: table, path: table.csv, target: y, task: regression, batch_size: 64}\n"
        "model: {kind: mlp, hidden: [4]}\noptimizer: {kind: adam}\ntrain: {epochs: 4}\n"
    )
    result = bptrain("fit", "config.yaml", "--run-dir", "run")
    assert result.exit_code == 0, result.stderr
    first = lines_of(Path("run"))[0]
    assert first[tags.TARGET_RMS] == pytest.approx(104.5, abs=1)
    assert first[tags.CHANCE_LOSS] == pytest.approx(8.25, abs=1.5)  # the variance of 0 to 9
    assert tags.CLASSES not in first
    assert "target scale" in result.stdout
