"""Loss and accuracy, of whole splits and of the training steps between two log lines."""

import time
from collections.abc import Iterable
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from bptrain.train.loop import StepReport


def count_correct(outputs: Tensor, targets: Tensor) -> Tensor:
    """Return how many of the outputs [N, K] have their largest value at the target, a scalar."""
    return (outputs.argmax(1) == targets).sum()


@torch.no_grad()
def evaluate(
    model: nn.Module, loss_function: nn.Module, batches: Iterable[tuple[Tensor, Tensor]]
) -> dict[str, float]:
    """Return the mean loss and accuracy over the batches; the model's mode is left as found."""
    was_training = model.training
    model.eval()
    samples = 0
    totals: Tensor | float = 0.0
    for inputs, targets in batches:
        outputs = model(inputs)
        loss = loss_function(outputs, targets)
        # float64: a sum over a large split in float32 would round off the last samples
        totals = totals + torch.stack(
            [loss.double() * len(targets), count_correct(outputs, targets).double()]
        )
        samples += len(targets)
    model.train(was_training)
    assert isinstance(totals, Tensor)  # a split holds a sample at least
    loss_sum, correct = totals.tolist()  # the one host copy of an evaluation
    return {"loss": loss_sum / samples, "accuracy": correct / samples}


@dataclass
class StepWindow:
    """The steps since the last log line, their numbers still on the device.

    The clock runs from `restart` to `read`, so that evaluation and saving between two windows
    are not counted as training.
    """

    losses: list[Tensor] = field(default_factory=list)
    correct: list[Tensor] = field(default_factory=list)
    samples: int = 0
    started_s: float = field(default_factory=time.perf_counter)

    def add(self, report: StepReport) -> None:
        """Take in a step, without waiting for the device."""
        self.losses.append(report.loss)
        self.correct.append(count_correct(report.outputs, report.targets))
        self.samples += len(report.targets)

    def read(self, extra: Tensor) -> tuple[list[float], dict[str, float], list[float]]:
        """Return the loss of each step, the window's figures and the values of `extra` [M].

        This is the one host copy, and on CUDA the one wait, of a log line.
        """
        steps = len(self.losses)
        values = torch.cat(
            [torch.stack(self.losses).double(), torch.stack(self.correct).double(), extra.double()]
        ).tolist()
        elapsed_s = time.perf_counter() - self.started_s
        losses, correct, rest = values[:steps], values[steps : 2 * steps], values[2 * steps :]
        figures = {
            "train/loss": sum(losses) / steps,
            "train/accuracy": sum(correct) / self.samples,
            "perf/samples_per_s": self.samples / elapsed_s,
            "perf/step_ms": 1e3 * elapsed_s / steps,
        }
        return losses, figures, rest

    def restart(self) -> None:
        """Begin the next window now."""
        self.losses, self.correct, self.samples = [], [], 0
        self.started_s = time.perf_counter()
