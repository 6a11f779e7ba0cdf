"""The loss of each sample is what the loss is of a batch of that sample alone."""

from typing import Any

import pytest
import torch
from torch import Tensor

from bptrain.losses import LOSSES
from bptrain.losses.each_sample import IGNORED, EachSample
from bptrain.problem import Problem, TaskName


def case(task: TaskName) -> tuple[Tensor, tuple[Tensor, ...]]:
    """Return outputs and targets of five samples, of which the padding differs."""
    classes = torch.randint(4, (5,))
    if task == "classification":
        return torch.randn(5, 4), (classes,)
    if task == "regression":
        return torch.randn(5, 4), (torch.randn(5, 4),)
    if task == "transcription":
        texts = torch.randint(1, 4, (5, 3))
        return torch.randn(5, 9, 4), (texts, torch.tensor([9, 8, 9, 7, 9]), classes.clamp(1, 3))
    steps = torch.randint(4, (5, 6))
    if task == "tagging":
        steps[1, 2:] = IGNORED
        steps[2] = IGNORED
    return torch.randn(5, 6, 4), (steps,)


CASES = [
    ("cross_entropy", "classification", {}),
    ("cross_entropy", "classification", {"label_smoothing": 0.2}),
    ("bce_with_logits", "classification", {}),
    ("mse", "classification", {}),
    ("mse", "regression", {}),
    ("l1", "regression", {}),
    ("smooth_l1", "regression", {}),
    ("huber", "regression", {}),
    ("cross_entropy", "tagging", {}),
    ("cross_entropy", "language_model", {}),
    ("ctc", "transcription", {}),
]


@pytest.mark.parametrize(("kind", "task", "options"), CASES)
def test_each_samples_loss_is_that_of_a_batch_of_it(
    kind: str, task: TaskName, options: dict[str, Any]
) -> None:
    torch.manual_seed(0)
    outputs, targets = case(task)
    loss = LOSSES[kind](**options).build(Problem(task, (3,), 4))
    found = EachSample(loss)(outputs, targets)
    assert found.shape == (5,)
    for n in range(5):
        row = slice(n, n + 1)
        counts = bool((targets[0][row] != IGNORED).any())
        alone = loss(outputs[row], *(each[row] for each in targets)) if counts else 0.0
        assert float(found[n]) == pytest.approx(float(alone), rel=1e-5, abs=1e-6)


def test_probabilities_as_targets_count_once_a_sample() -> None:
    torch.manual_seed(0)
    outputs, shares = torch.randn(5, 4), torch.rand(5, 4).softmax(1)
    for kind in ("cross_entropy", "bce_with_logits", "mse"):
        loss = LOSSES[kind]().build(Problem("classification", (3,), 4))
        assert EachSample(loss)(outputs, (shares,)).mean() == pytest.approx(
            float(loss(outputs, shares)), rel=1e-5
        )


def test_the_loss_itself_stays_a_mean() -> None:
    loss = LOSSES["mse"]().build(Problem("regression", (3,), 4))
    EachSample(loss)
    assert loss(torch.ones(2, 4), torch.zeros(2, 4)).dim() == 0
