"""A step by a learning rule against the rule's definition: right ones pass, wrong ones fail."""

import pytest
import torch
from torch import Tensor

from bptrain import nn
from bptrain.models import CNNConfig
from bptrain.problem import Problem
from bptrain.tape.learning_rules import sign_symmetry
from bptrain.tape.learning_rules.feedback import Feedback
from bptrain.tape.learning_rules.forward_gradient import ForwardRun
from bptrain.tape.learning_rules.rule import RuleName, learning_rule
from bptrain.verify.learning_rule_rows import learning_rule_rows
from bptrain.verify.report import Row

BACKWARD: tuple[RuleName, ...] = (
    "feedback_alignment", "direct_feedback_alignment", "sign_symmetry"
)  # fmt: skip
IMAGES = Problem("classification", (2, 8, 8), 4)


def rows_of(model: torch.nn.Module, rule: RuleName) -> tuple[list[Row], list[str]]:
    batch = (torch.randn(6, 2, 8, 8),), (torch.randint(4, (6,)),)
    return learning_rule_rows(model, nn.CrossEntropyLoss(), learning_rule(rule, 3), *batch)


def resnet() -> torch.nn.Module:
    torch.manual_seed(0)
    return CNNConfig(preset="resnet", depth=8, width=0.25).build(IMAGES, "cpu")


def upsampling() -> torch.nn.Module:
    torch.manual_seed(0)
    convolutions = [nn.Conv2d(2, 4, 3, groups=2, padding_mode="circular", padding=1), nn.Tanh()]
    transposed = [nn.ConvTranspose2d(4, 3, 3, stride=2, output_padding=1), nn.ReLU()]
    return torch.nn.Sequential(*convolutions, *transposed, nn.Flatten(), nn.Linear(972, 4))


@pytest.mark.parametrize("made", [resnet, upsampling])
@pytest.mark.parametrize("rule", [*BACKWARD, "forward_gradient"])
def test_the_step_is_what_the_rule_says(made: type, rule: RuleName) -> None:
    model = made()
    rows, notes = rows_of(model, rule)
    assert all(row.is_right for row in rows), [row for row in rows if not row.is_right]
    assert len(rows) == 2 * (1 + len(list(model.parameters())))
    assert {(row.layer, row.oracle) for row in rows} == {(f"the step by {rule}", "its definition")}
    assert notes == [
        f"the step by {rule} gives no gradients: its rows compare it with the rule's definition"
    ]


def wrong_layers(rule: RuleName) -> set[str]:
    rows, _ = rows_of(upsampling(), rule)
    return {row.tensor.partition(".")[0] for row in rows if not row.is_right}


def test_another_scale_of_the_signs_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    def signs(W: Tensor | None) -> Tensor | None:
        return None if W is None else W.sign()

    monkeypatch.setattr(sign_symmetry, "signs", signs)
    assert wrong_layers("sign_symmetry") == {"0", "2"}


@pytest.mark.parametrize("rule", BACKWARD[:2])
def test_a_matrix_that_changes_is_found(monkeypatch: pytest.MonkeyPatch, rule: RuleName) -> None:
    def redrawn(self: Feedback, name: str, like: torch.Tensor) -> Tensor:
        return torch.randn(like.shape, dtype=like.dtype)

    monkeypatch.setattr(Feedback, "matrix", redrawn)
    assert wrong_layers(rule) == {"0", "2"}


def test_a_slope_of_another_direction_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    forward = ForwardRun.forward

    def reversed_slope(self: ForwardRun) -> Tensor:
        outputs: Tensor = forward(self)
        self.slope = 1.001 * self.slope
        return outputs

    monkeypatch.setattr("bptrain.tape.learning_rules.step.refuse_wrong_slope", lambda *_: None)
    monkeypatch.setattr(ForwardRun, "forward", reversed_slope)
    assert wrong_layers("forward_gradient") == {"0", "2", "5"}


def test_what_has_no_definition_is_said() -> None:
    torch.manual_seed(0)
    attention = nn.MultiheadAttention(8, 2, batch_first=True)

    class Attentive(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.attention, self.last = attention, nn.Linear(8, 4)

        def forward(self, x: Tensor) -> Tensor:
            rows = x[:, 0]
            attended, _ = self.attention(rows, rows, rows, need_weights=False)
            output: Tensor = self.last(attended[:, 0])
            return output

    rows, notes = rows_of(Attentive(), "sign_symmetry")
    assert rows == []
    assert notes[1:] == [
        f"the step by sign_symmetry is not compared, kernels {kernels}: attention projects by "
        "weights of its own"
        for kernels in ("fused", "formula")
    ]
