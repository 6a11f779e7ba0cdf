"""Losses: the one that each task takes by default, their values, and what they refuse."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from graphs import foreign_nodes
from small_files import CONFIGS
from torch.nn import functional

from bptrain import nn
from bptrain.data.splits import Samples
from bptrain.errors import ConfigKeyError, UsageError
from bptrain.experiment.loss_choice import balanced, choose_loss
from bptrain.losses import LOSSES, BaseLossConfig
from bptrain.losses.absolute_error import HuberConfig, L1Config, SmoothL1Config
from bptrain.losses.bce_with_logits import BCEWithLogitsConfig
from bptrain.losses.cross_entropy import CrossEntropyConfig
from bptrain.losses.ctc import CTCConfig
from bptrain.losses.squared_error import MSEConfig
from bptrain.problem import Problem, TaskName
from bptrain.tasks import TASKS

DEFAULTS: dict[TaskName, type[BaseLossConfig]] = {
    "classification": CrossEntropyConfig,
    "tagging": CrossEntropyConfig,
    "language_model": CrossEntropyConfig,
    "regression": MSEConfig,
    "transcription": CTCConfig,
}


def problem(task: TaskName, outputs: int = 3) -> Problem:
    return Problem(task, (4,), outputs)


@pytest.mark.parametrize("task", DEFAULTS)
def test_each_task_has_its_loss_where_none_is_named(task: TaskName) -> None:
    assert type(choose_loss(None, problem(task))) is DEFAULTS[task]


@pytest.mark.parametrize("task", DEFAULTS)
@pytest.mark.parametrize("kind", LOSSES)
def test_a_loss_refuses_the_tasks_it_does_not_fit(kind: str, task: TaskName) -> None:
    loss = LOSSES[kind]()
    if kind in TASKS[task].losses:
        assert choose_loss(loss, problem(task)) is loss
        return
    with pytest.raises(UsageError, match=task) as refused:
        choose_loss(loss, problem(task))
    assert kind in refused.value.what
    assert DEFAULTS[task]().kind in refused.value.hint


def test_every_loss_is_listed_under_its_own_kind_and_fits_a_task() -> None:
    assert {kind: LOSSES[kind]().kind for kind in LOSSES} == {kind: kind for kind in LOSSES}
    assert {kind for task in TASKS.values() for kind in task.losses} == set(LOSSES)


@pytest.mark.parametrize("task", ["tagging", "language_model"])
def test_cross_entropy_of_a_sequence_is_that_of_its_steps(task: TaskName) -> None:
    torch.manual_seed(0)
    outputs = torch.randn(2, 5, 3, requires_grad=True)
    labels = torch.randint(3, (2, 5))
    labels[1, 3:] = -100
    loss = CrossEntropyConfig(label_smoothing=0.1).build(problem(task))(outputs, labels)
    expected = functional.cross_entropy(outputs.transpose(1, 2), labels, label_smoothing=0.1)
    torch.testing.assert_close(loss, expected)
    assert foreign_nodes([loss]) == set()


def test_class_weights_are_those_of_torch_and_what_is_wrong_with_them_is_said() -> None:
    torch.manual_seed(0)
    outputs, classes = torch.randn(6, 3), torch.tensor([0, 1, 2, 0, 0, 1])
    config = CrossEntropyConfig(class_weights=[0.5, 2.0, 3.0], label_smoothing=0.1)
    expected = functional.cross_entropy(
        outputs, classes, torch.tensor([0.5, 2.0, 3.0]), label_smoothing=0.1
    )
    three = problem("classification")
    torch.testing.assert_close(config.build(three)(outputs, classes), expected)
    with pytest.raises(ConfigKeyError, match=r"loss\.class_weights: has 3 weights for 4 classes"):
        config.build(problem("classification", 4))
    assert not CrossEntropyConfig(class_weights=[1.0, 2.0, 3.0]).is_likelihood


def test_balanced_weights_give_each_class_the_same_part() -> None:
    targets = torch.tensor([[0, 0, 0], [0, 1, -100]])  # the last step has no class
    train, three = Samples(torch.zeros(2, 3, 1), targets), problem("tagging")
    loss = balanced(CrossEntropyConfig(class_weights="balanced"), train, three)
    assert isinstance(loss, CrossEntropyConfig)
    assert loss.class_weights == pytest.approx([5 / 12, 5 / 3, 1.0])  # none of the third
    plain = CrossEntropyConfig()
    assert balanced(plain, train, three) is plain
    with pytest.raises(ConfigKeyError, match="not known before they are read"):
        balanced(CrossEntropyConfig(class_weights="balanced"), object(), three)  # type: ignore[arg-type]


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_no_other_constant_costs_less_than_the_weighted_one(smoothing: float) -> None:
    config = CrossEntropyConfig(class_weights=[0.5, 2.0, 4.0], label_smoothing=smoothing)
    loss, classes = config.build(problem("classification")), torch.tensor([0, 0, 0, 1, 1, 2])
    best = config.outputs_of(torch.tensor([1 / 2, 1 / 3, 1 / 6]))
    assert best.exp().sum() == pytest.approx(1)
    torch.manual_seed(0)
    for _ in range(20):
        other = best + 0.1 * torch.randn(3)
        assert loss(other.expand(6, 3), classes) > loss(best.expand(6, 3), classes)


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        (MSEConfig(), functional.mse_loss),
        (L1Config(), functional.l1_loss),
        (SmoothL1Config(beta=0.5), lambda x, t: functional.smooth_l1_loss(x, t, beta=0.5)),
        (HuberConfig(delta=2.0), lambda x, t: functional.huber_loss(x, t, delta=2.0)),
    ],
    ids=lambda value: getattr(value, "kind", ""),
)
def test_regression_losses_are_torchs(config: BaseLossConfig, expected: Callable) -> None:
    torch.manual_seed(0)
    outputs, targets = torch.randn(6, 2, requires_grad=True) * 3, torch.randn(6, 2)
    loss = config.build(problem("regression", 2))
    assert type(loss).__module__.startswith("bptrain.nn")
    torch.testing.assert_close(loss(outputs, targets), expected(outputs, targets))


@pytest.mark.parametrize("kind", [CrossEntropyConfig, BCEWithLogitsConfig, MSEConfig])
def test_probabilities_as_targets_mean_the_same_as_classes(kind: type[BaseLossConfig]) -> None:
    torch.manual_seed(0)
    outputs, labels = torch.randn(6, 3), torch.randint(3, (6,))
    loss = kind().build(problem("classification"))
    one_hot = functional.one_hot(labels, 3).float()
    torch.testing.assert_close(loss(outputs, one_hot), loss(outputs, labels))


def test_bce_treats_each_class_by_itself() -> None:
    outputs, labels = torch.tensor([[0.5, -1.0, 2.0]]), torch.tensor([2])
    loss = BCEWithLogitsConfig().build(problem("classification"))
    expected = functional.binary_cross_entropy_with_logits(outputs, torch.tensor([[0.0, 0.0, 1.0]]))
    torch.testing.assert_close(loss(outputs, labels), expected)
    assert BCEWithLogitsConfig().probabilities(outputs).equal(outputs.sigmoid())


def test_probabilities_follow_the_loss_that_was_trained() -> None:
    outputs = torch.tensor([[1.2, -0.1, 0.3]])
    assert CrossEntropyConfig().probabilities(outputs).sum().item() == pytest.approx(1)
    torch.testing.assert_close(MSEConfig().probabilities(outputs), torch.tensor([[1.0, 0.0, 0.3]]))


def test_ctc_takes_batches_of_logits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nn, "CTCLoss", getattr(nn, "CTCLoss", torch.nn.CTCLoss), raising=False)
    torch.manual_seed(0)
    outputs = torch.randn(3, 6, 4, requires_grad=True)
    texts = torch.tensor([[1, 2, 0], [3, 3, 1], [1, 1, 1]])
    lengths, text_lengths = torch.tensor([6, 5, 3]), torch.tensor([2, 3, 3])
    loss = CTCConfig().build(problem("transcription", 4))(outputs, texts, lengths, text_lengths)
    expected = functional.ctc_loss(
        outputs.log_softmax(2).transpose(0, 1), texts, lengths, text_lengths, zero_infinity=True
    )
    torch.testing.assert_close(loss, expected)
    loss.backward()
    assert outputs.grad is not None
    assert not outputs.grad[2].any()  # three frames cannot hold 1 1 1: blanks must separate them


def test_the_resolved_config_names_the_loss(bptrain: Callable, tmp_path: Path) -> None:
    text = (CONFIGS / "digits_vanishing.yaml").read_text()
    assert "loss:" not in text
    (tmp_path / "mine.yaml").write_text(text)
    assert bptrain("fit", "mine.yaml", "train.steps=1", "--run-dir", "run").exit_code == 0
    resolved = (tmp_path / "run" / "config.yaml").read_text()
    assert "loss:\n  kind: cross_entropy\n  label_smoothing: 0.0\n" in resolved


def test_a_loss_of_another_task_is_refused_before_anything_is_trained(bptrain: Callable) -> None:
    result = bptrain("fit", CONFIGS / "digits_mlp.yaml", "loss={kind: huber}")
    assert result.exit_code == 2
    assert "loss.kind huber does not fit a classification problem" in result.stderr
    assert "cross_entropy" in result.stderr
    assert not Path("runs").exists()
