"""The loss that an experiment minimizes: its config's, or the task's default."""

from bptrain.errors import UsageError
from bptrain.losses import LOSSES, BaseLossConfig
from bptrain.problem import Problem
from bptrain.tasks import task_of


def choose_loss(chosen: BaseLossConfig | None, problem: Problem) -> BaseLossConfig:
    """Return the chosen loss or the default one; raises UsageError if it does not fit the task."""
    fitting = task_of(problem).losses
    if chosen is None:
        return LOSSES[fitting[0]]()
    if chosen.kind not in fitting:
        raise UsageError(
            f"loss.kind {chosen.kind} does not fit a {problem.task} problem",
            hint=f"loss.kind: {' or '.join(fitting)}, or leave the loss out",
        )
    if problem.mixes and not chosen.accepts_probabilities:
        fitting = tuple(kind for kind in fitting if LOSSES[kind].accepts_probabilities)
        raise UsageError(
            f"loss.kind {chosen.kind} takes one class for each sample",
            "mixup and cutmix in data.augment make class probabilities of several samples",
            f"loss.kind: {' or '.join(fitting)}, or no mixing",
        )
    return chosen
