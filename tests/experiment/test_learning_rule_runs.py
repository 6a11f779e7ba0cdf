"""`backward`: runs by learning rules, what they log, resume, `check`, and what is refused."""

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
MLP = [CONFIGS / "digits_mlp.yaml", "model.hidden=[32]", "model.dropout=0.1", "optimizer.lr=0.02"]
CNN = [CONFIGS / "digits_cnn.yaml", "model.stages=[{channels: 4, blocks: 2}]"]
TINY = [CONFIGS / "digits_mlp.yaml", "model.hidden=[6]"]
RULES = ("feedback_alignment", "direct_feedback_alignment", "sign_symmetry", "forward_gradient")
SHORT = ["data.batch_size=100", "train.steps=5", "monitor.log_every=2"]
SLOW = ["optimizer.lr=0.001", "optimizer.momentum=0.9"]  # a forward gradient is long


def lines(folder: str) -> list[dict]:
    def is_timed(key: str) -> bool:
        return key == "time_s" or key.startswith("perf/")

    read = [json.loads(line) for line in Path(folder, "metrics.jsonl").read_text().splitlines()]
    numbers = [each for each in read if not any(key.startswith("verdict/") for key in each)]
    return [{k: v for k, v in each.items() if not is_timed(k)} for each in numbers]


@pytest.mark.parametrize("rule", RULES)
def test_each_rule_learns(bptrain: Bptrain, rule: str) -> None:
    more = SLOW if rule == "forward_gradient" else []
    words = [*MLP, *more, f"backward={rule}", "train.epochs=8", "--run-dir", "run"]
    result = bptrain("fit", *words)
    assert result.exit_code == 0, result.stderr
    read = lines("run")
    assert read[-1]["test/accuracy"] > (0.25 if rule == "forward_gradient" else 0.8)
    assert "grad/angle" not in read[-1]
    angles = [each["grad/angle"] for each in read[:-1]]
    if rule == "forward_gradient":  # 2,410 weights: a direction at random, by its slope within 90
        assert all(80 < angle < 90 for angle in angles)
    else:
        assert [each["grad/angle/output"] for each in read[:-1]] == [0.0] * len(angles)
        assert 0 < angles[-1] < 60
        assert angles[-1] < angles[0]
        assert read[-2]["grad/angle/linear1"] < 85


def test_a_plan_says_that_there_are_no_gradients(bptrain: Bptrain) -> None:
    said = "backward sign_symmetry: a learning rule, which gives no gradients"
    assert said in bptrain("fit", *MLP, "backward=sign_symmetry", "--dry-run").stdout
    assert "learning rule" not in bptrain("fit", *MLP, "--dry-run").stdout


def test_backpropagation_has_no_angle(bptrain: Bptrain) -> None:
    assert bptrain("fit", *MLP, *SHORT, "--run-dir", "run").exit_code == 0
    assert not any(key.startswith("grad/angle") for each in lines("run") for key in each)


@pytest.mark.parametrize("rule", ["direct_feedback_alignment", "forward_gradient"])
def test_a_resumed_run_is_exact(bptrain: Bptrain, rule: str) -> None:
    words = [*CNN, *SHORT, *SLOW, f"backward={rule}", "checkpoint.every_steps=2"]
    assert bptrain("fit", *words, "--run-dir", "whole").exit_code == 0
    assert bptrain("fit", *words, "train.steps=3", "--run-dir", "part").exit_code == 0
    resumed = bptrain("fit", *words, "--run-dir", "part", "--resume")
    assert resumed.exit_code == 0, resumed.stderr
    ours, whole = lines("part")[-2], lines("whole")[-2]  # the last one is of the best checkpoint
    assert ours == whole
    assert "grad/angle" in whole


@pytest.mark.usefixtures("verify_resume_in_this_process")
def test_a_run_that_is_stopped_between_step_and_log_line_logs_the_same(bptrain: Bptrain) -> None:
    words = [*MLP, *SHORT, "backward=feedback_alignment", "train.steps=4"]
    result = bptrain("verify-resume", *words)
    assert result.exit_code == 0, result.stderr


@pytest.mark.parametrize("rule", ["feedback_alignment", "forward_gradient"])
def test_the_rules_train_in_fp16(bptrain: Bptrain, rule: str) -> None:
    words = [*MLP, *SHORT, *SLOW, f"backward={rule}", "precision=fp16"]
    result = bptrain("fit", *words, "--run-dir", "run")
    assert result.exit_code == 0, result.stderr


def test_check_compares_a_rule_with_its_definition(bptrain: Bptrain) -> None:
    result = bptrain("check", *TINY, "backward=feedback_alignment", "--json")
    assert result.exit_code == 0, result.stderr
    report = json.loads(result.stdout)
    rows = [each for each in report["rows"] if each["against"] == "its definition"]
    assert {each["layer"] for each in rows} == {"the step by feedback_alignment"}
    assert {each["verdict"] for each in rows} == {"ok"}
    assert any("gives no gradients" in note for note in report["notes"])
    # backpropagation is what the other rows prove, as without a rule
    assert any(each["against"] == "autograd's engine" for each in report["rows"])


@pytest.mark.parametrize("rule", RULES[:3])
def test_tape_prints_the_step_by_the_rule(bptrain: Bptrain, rule: str) -> None:
    result = bptrain("tape", *CNN, f"backward={rule}")
    assert result.exit_code == 0, result.stderr
    assert f"from bptrain.tape.learning_rules.{rule} import" in result.stdout
    recorded = bptrain("tape", *CNN, f"backward={rule}", "--recorded")
    assert "learning_rules" not in recorded.stdout


def test_a_forward_gradient_has_no_text_but_the_recorded_one(bptrain: Bptrain) -> None:
    result = bptrain("tape", *CNN, "backward=forward_gradient")
    assert result.exit_code == 2
    assert "--recorded" in result.stderr
    assert bptrain("tape", *CNN, "backward=forward_gradient", "--recorded").exit_code == 0


REFUSED = {
    "by autograd": (["engine=autograd"], "engine is autograd"),
    "compiled": (["compile=auto"], "only backprop is compiled"),
    "line search": (["optimizer={kind: lbfgs}"], "its line search needs the gradient"),
    "unknown": (["backward=feedback"], "did you mean: feedback_alignment"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_no_rule_can_is_refused(bptrain: Bptrain, what: str) -> None:
    words, said = REFUSED[what]
    result = bptrain("fit", *MLP, *SHORT, "backward=feedback_alignment", *words)
    assert result.exit_code == 2
    assert said in result.stderr


def test_a_forward_gradient_has_nothing_to_compute_again(bptrain: Bptrain) -> None:
    words = ["backward=forward_gradient", "train.checkpointing=sqrt"]
    result = bptrain("fit", *MLP, *SHORT, *words)
    assert result.exit_code == 2
    assert "it has no backward pass" in result.stderr


@pytest.mark.parametrize("command", ["bench", "explain"])
def test_what_is_about_backpropagation_refuses_other_rules(bptrain: Bptrain, command: str) -> None:
    result = bptrain(command, *MLP, "backward=sign_symmetry")
    assert result.exit_code == 2
    assert "backward=backprop" in result.stderr


class Foreign(ReLU):
    """An activation of torch's, which the tape does not know."""

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        return torch.sin(input)


@pytest.mark.parametrize("command", ["fit", "tape"])
@pytest.mark.parametrize("rule", RULES[::3])
def test_a_model_off_the_tape_is_no_silent_backpropagation(
    bptrain: Bptrain, monkeypatch: pytest.MonkeyPatch, rule: str, command: str
) -> None:
    monkeypatch.setitem(ACTIVATIONS, "relu", Foreign)
    result = bptrain(command, *MLP, *SHORT, f"backward={rule}")
    assert result.exit_code == 2
    assert "aten.sin.default is not an operation of bptrain" in result.stderr


def test_a_recurrent_network_is_refused(bptrain: Bptrain) -> None:
    words = [CONFIGS / "adding_lstm.yaml", "model.hidden=8", "data.length=10"]
    result = bptrain("fit", *words, *SHORT, "backward=feedback_alignment")
    assert result.exit_code == 2
    assert "lstm (bptt) sends errors back through weights" in result.stderr
    assert "backward=backprop" in result.stderr
