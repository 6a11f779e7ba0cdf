"""The worst samples of an evaluation, over batches; and what each task tells of them."""

import pytest
import torch
from torch import Tensor

from bptrain.problem import Problem
from bptrain.tasks import task_of
from bptrain.tasks.decision import BY_SOFTMAX
from bptrain.tasks.task import IGNORED
from bptrain.tasks.worst_samples import WorstSamples


def absolute(outputs: Tensor, targets: tuple[Tensor, ...]) -> Tensor:
    return (outputs[:, 0] - targets[0][:, 0]).abs()


def test_the_worst_of_all_batches_are_kept_with_their_numbers() -> None:
    torch.manual_seed(0)
    outputs, targets, inputs = torch.randn(50, 1), torch.randn(50, 1), torch.randn(50, 3)
    watch = WorstSamples(absolute, most=7)
    for first in range(0, 50, 8):
        row = slice(first, first + 8)
        watch.add((inputs[row],), outputs[row], (targets[row],))
    losses, numbers = absolute(outputs, (targets,)).sort(descending=True)
    worst = watch.worst
    assert worst is not None
    assert worst.numbers.tolist() == numbers[:7].tolist()
    assert torch.equal(worst.losses, losses[:7])
    assert torch.equal(worst.inputs[0], inputs[numbers[:7]])
    assert torch.equal(worst.outputs, outputs[numbers[:7]])
    assert torch.equal(worst.targets[0], targets[numbers[:7]])


def test_a_loss_that_is_not_finite_is_the_worst() -> None:
    watch = WorstSamples(absolute, most=2)
    outputs = torch.tensor([[1.0], [torch.nan], [3.0], [torch.inf]])
    watch.add((outputs,), outputs, (torch.zeros(4, 1),))
    assert watch.worst is not None
    assert sorted(watch.worst.numbers.tolist()) == [1, 3]
    assert watch.worst.losses.tolist() == [torch.inf, torch.inf]


def test_a_shorter_last_window_is_padded_by_steps_that_do_not_count() -> None:
    def mean_token(outputs: Tensor, targets: tuple[Tensor, ...]) -> Tensor:
        return targets[0].float().mean(1)

    watch = WorstSamples(mean_token, most=2)
    watch.add((torch.ones(1, 5).long(), True), torch.randn(1, 5, 9), (torch.full((1, 5), 7),))
    watch.add((torch.ones(1, 2).long(), False), torch.randn(1, 2, 9), (torch.full((1, 2), 8),))
    worst = watch.worst
    assert worst is not None
    assert worst.targets[0].tolist() == [[8, 8, *[IGNORED] * 3], [7] * 5]
    assert worst.outputs.shape == (2, 5, 9)


TOLD: dict[str, tuple[Problem, Tensor, tuple[Tensor, ...], tuple[str, str]]] = {
    "classification": (
        Problem("classification", (2,), 2, names=("cat", "dog")),
        torch.tensor([[0.0, 2.0]]),
        (torch.tensor([0]),),
        ("cat (11.9%)", "dog (88.1%)"),
    ),
    "regression in the target's unit": (
        Problem("regression", (2,), 1, names=("age",), center=40.0, spread=10.0),
        torch.tensor([[0.5]]),
        (torch.tensor([[-1.0]]),),
        ("30", "45"),
    ),
    "regression of two columns": (
        Problem("regression", (2,), 2, names=("x", "y")),
        torch.tensor([[0.5, 1.0]]),
        (torch.tensor([[-1.0, 2.0]]),),
        ("x -1, y 2", "x 0.5, y 1"),
    ),
    "tagging": (
        Problem("tagging", (3, 2), 2, names=("in", "out")),
        torch.tensor([[[1.0, 0.0], [0.0, 1.0], [1.0, 0.0]]]),
        (torch.tensor([[0, IGNORED, 1]]),),
        ("in out", "in in"),
    ),
    "language model": (
        Problem("language_model", (2,), 3, vocabulary=3, is_sequence=True, names=("a", "\n", "c")),
        torch.tensor([[[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]]]),
        (torch.tensor([[1, 2]]),),
        (
            "\N{DOWNWARDS ARROW WITH CORNER LEFTWARDS}c",
            "a\N{DOWNWARDS ARROW WITH CORNER LEFTWARDS}",
        ),
    ),
    "transcription": (
        Problem("transcription", (3, 2), 3, is_sequence=True, varies=True, names=("", "a", "b")),
        torch.tensor([[[0.0, 1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 1.0]]]),
        (torch.tensor([[2, 2]]), torch.tensor([3]), torch.tensor([1])),
        ("b", "ab"),
    ),
}


@pytest.mark.parametrize("name", TOLD)
def test_a_task_tells_what_is_true_and_what_is_predicted(name: str) -> None:
    problem, outputs, targets, expected = TOLD[name]
    assert list(task_of(problem).describe(outputs, targets, problem, BY_SOFTMAX)) == [expected]
