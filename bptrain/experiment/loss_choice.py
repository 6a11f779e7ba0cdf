"""The loss that an experiment minimizes: its config's, or the task's default."""

import torch

from bptrain.data import Split
from bptrain.data.images.image_splits import ImagesInMemory, ImagesOnDisk
from bptrain.data.splits import Samples
from bptrain.errors import ConfigKeyError, UsageError
from bptrain.losses import LOSSES, BaseLossConfig
from bptrain.losses.cross_entropy import CrossEntropyConfig
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


def balanced(loss: BaseLossConfig, train: Split, problem: Problem) -> BaseLossConfig:
    """Return the loss; with the class weights that balance the training samples, if it asks.

    Raises ConfigKeyError for samples whose classes are not held in memory.
    """
    if not isinstance(loss, CrossEntropyConfig) or loss.class_weights != "balanced":
        return loss
    if not isinstance(train, (Samples, ImagesInMemory, ImagesOnDisk)):
        raise ConfigKeyError(
            ("loss", "class_weights"),
            "is balanced, and the classes of this data set are not known before they are read",
            hint="loss.class_weights: a list of numbers, one for each class",
        )
    classes = train.targets[train.targets >= 0]  # without the time steps that have none
    return loss.balanced_for(torch.bincount(classes, minlength=problem.outputs))
