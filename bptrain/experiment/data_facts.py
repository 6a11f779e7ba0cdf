"""Facts of the training data that a run's losses are judged by: scales, and the loss at chance."""

from collections.abc import Sequence
from itertools import islice
from math import sqrt

import torch
from torch import Tensor, nn

from bptrain import tags
from bptrain.data import Batch
from bptrain.experiment.build import Experiment

BATCHES = 8  # that are looked at
IGNORED = -100  # the class of a time step that losses leave out
SMALLEST_SHARE = 1e-6  # of a class that these batches lack, whose logarithm would be infinite


@torch.no_grad()
def data_facts(experiment: Experiment, steps: int) -> dict[str, float]:
    """Return facts by tag, from the first batches of the first epoch: those of so many steps.

    data/input_rms    root mean square of the inputs, where they are numbers
    data/target_rms   the same of the targets, where they are numbers
    data/classes      how many classes there are
    data/time_steps   of the longest sequence in a batch, where the inputs are sequences
    data/chance_loss  the loss of the best constant prediction; none for texts to transcribe
    """
    problem, config = experiment.dataset.problem, experiment.config.loss
    count = min(BATCHES, steps * experiment.update.batches)
    assert config is not None, "a plan's config names the loss"
    batches = list(islice(experiment.batches.epoch(0), count))
    facts: dict[str, float] = {}
    inputs = [valid(batch) for batch in batches if batch.inputs[0].is_floating_point()]
    if inputs:
        facts[tags.INPUT_RMS] = rms(inputs)
    if problem.is_sequence:
        facts[tags.TIME_STEPS] = float(max(batch.inputs[0].shape[1] for batch in batches))
    kind = problem.output_kind.targets
    if kind == "texts":
        return facts
    targets = [batch.targets[0] for batch in batches]
    if kind == "numbers":
        facts[tags.TARGET_RMS] = rms(targets)
        values = torch.cat([each.reshape(len(each), -1) for each in targets])
        constants = [values.mean(0), values.median(0).values]
    else:
        facts[tags.CLASSES] = float(problem.outputs)
        constants = [config.outputs_of(class_shares(targets, problem.outputs))]
    facts[tags.CHANCE_LOSS] = min(
        constant_loss(each, batches, experiment.loss_function) for each in constants
    )
    return facts


def valid(batch: Batch) -> Tensor:
    """Return the inputs of a batch, without the padding of sequences."""
    x: Tensor = batch.inputs[0]
    lengths = batch.inputs[1] if len(batch.inputs) > 1 else None
    if not isinstance(lengths, Tensor):
        return x
    steps = torch.arange(x.shape[1], device=x.device)
    present: Tensor = x[steps < lengths.to(x.device).unsqueeze(1)]
    return present


def rms(tensors: Sequence[Tensor]) -> float:
    """Return the root mean square of all numbers."""
    squares = sum(float(each.double().square().sum()) for each in tensors)
    return sqrt(squares / max(1, sum(each.numel() for each in tensors)))


def class_shares(targets: Sequence[Tensor], classes: int) -> Tensor:
    """Return the share of each class [K], of targets that are classes or their probabilities."""
    counts = torch.zeros(classes, dtype=torch.float64)
    for each in targets:
        if each.is_floating_point():
            counts += each.double().reshape(-1, classes).sum(0).cpu()
        else:
            counts += torch.bincount(each[each != IGNORED], minlength=classes).cpu()
    return (counts / counts.sum().clamp(min=1)).clamp(SMALLEST_SHARE, 1 - SMALLEST_SHARE).float()


def constant_loss(constant: Tensor, batches: Sequence[Batch], loss: nn.Module) -> float:
    """Return the mean loss over the predictions where each has the same outputs [K]."""
    total, weight = 0.0, 0
    for batch in batches:
        targets = batch.targets[0]
        is_index = not targets.is_floating_point()
        shape = (*targets.shape, len(constant)) if is_index else targets.shape
        if batch.weight:
            outputs = constant.to(targets.device).expand(shape)
            total += batch.weight * float(loss(outputs, *batch.targets))
            weight += batch.weight
    return total / max(1, weight)
