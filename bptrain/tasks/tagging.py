"""Tagging: one class for each time step of a sequence."""

from collections.abc import Iterator

from torch import Tensor

from bptrain.problem import Problem
from bptrain.tasks.accuracy import Accuracy, confusion_of, told_steps
from bptrain.tasks.decision import BY_SOFTMAX, Decision
from bptrain.tasks.task import Described, Prediction, Task, class_names


def predictions(
    outputs: Tensor,
    lengths: Tensor,
    problem: Problem,
    decision: Decision,
) -> Iterator[Prediction]:
    """Yield for each sample the class of each of its time steps."""
    names = class_names(problem)
    for row, end in zip(outputs.argmax(-1).tolist(), lengths.tolist(), strict=True):
        yield {"classes": [names[index] for index in row[:end]]}


def describe(
    outputs: Tensor, targets: tuple[Tensor, ...], problem: Problem, decision: Decision
) -> Iterator[Described]:
    """Yield the true and the predicted class of each time step that counts."""
    yield from told_steps(outputs, targets[0], class_names(problem), " ")


TAGGING = Task(
    losses=("cross_entropy",),
    training_metric=lambda problem: Accuracy(),
    evaluation_metric=lambda problem, decision=BY_SOFTMAX: Accuracy(),
    figures=confusion_of,
    predictions=predictions,
    describe=describe,
    constant="majority_class",
)
