"""A model to start with, for the samples of a data set, and how it is trained."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import prod
from typing import Any

from bptrain.errors import UsageError
from bptrain.problem import Problem

SMALL, LARGE = 1_000, 20_000  # samples, between which a perceptron is of middle size
LEAST_SIDE = 8  # of an image or a sequence that two stages of a convolution halve twice
TRANSFORMER, PRETRAINED = "transformer", "pretrained"
READS = {
    TRANSFORMER: "texts, images, sequences and recordings",
    PRETRAINED: "images, and has an output for each",
}
PATCHES, FEWEST_PATCHES = (8, 4, 2, 1), 16
LARGE_SIDE, OF_IMAGENET, OF_SMALL_IMAGES = 96, 224, 64  # pixels of an image's side


@dataclass(frozen=True)
class Choice:
    """A model and its training: sections of a config, with the reason, and the steps to train.

    data  keys of the data section that the model needs otherwise, and why
    """

    model: Mapping[str, Any]
    reason: str
    lr: float
    steps: int
    clips: bool = False
    data: Mapping[str, Any] = field(default_factory=dict)
    data_reason: str = ""


def choose(problem: Problem, samples: int, kind: str | None = None) -> Choice:
    """Return a model for a problem, by the form of its inputs and the number of samples.

    kind  that is asked for; UsageError where it cannot read such samples
    """
    if kind is not None:
        refuse_unless_it_fits(kind, problem)
        return transformer_for(problem) if kind == TRANSFORMER else pretrained_for(problem)
    model: dict[str, Any]
    if problem.task == "language_model":
        model = {"kind": "rnn", "cell": "lstm", "hidden": 256, "embedding": 64, "dropout": 0.1}
        return Choice(model, "an lstm reads a text of any length", 3e-3, 1_500, clips=True)
    if problem.vocabulary:
        model = {"kind": "rnn", "cell": "lstm", "hidden": 64, "embedding": 64, "pool": "max"}
        model |= {"bidirectional": True, "dropout": 0.3}
        return Choice(model, "texts are read in both directions", 2e-3, 1_000, clips=True)
    per_step = problem.output_kind.per != "sample"
    if per_step or problem.varies:
        model = {"kind": "rnn", "cell": "gru", "hidden": 96, "bidirectional": True}
        why = "an output for each step" if per_step else "sequences of different lengths"
        return Choice(model, f"{why}: a recurrent network", 3e-3, 1_500, clips=True)
    if convolves(problem):
        reason = "the same patterns are looked for everywhere: a convolutional network"
        return Choice({"kind": "cnn", "init": "kaiming"}, reason, 2e-3, 1_000)
    hidden = [64] if samples < SMALL else [128, 64] if samples < LARGE else [256, 128]
    model = {"kind": "mlp", "hidden": hidden, "init": "kaiming"}
    reason = f"a perceptron for {prod(problem.input_shape):,} inputs and {samples:,} samples"
    return Choice(model, reason, 1e-3, 3_000)


def convolves(problem: Problem) -> bool:
    """Return whether the samples are images, or sequences, large enough for two stages."""
    if problem.is_sequence:
        return problem.input_shape[0] >= 4 * LEAST_SIDE
    return len(problem.input_shape) == 3 and min(problem.input_shape[1:]) >= LEAST_SIDE


def others_than(kind: str, problem: Problem) -> list[str]:
    """Return the kinds of models that could read a problem's samples too, and can be asked for."""
    return [each for each in READS if each != kind and fits(each, problem)]


def fits(model: str, problem: Problem) -> bool:
    """Tell whether a kind of model that can be asked for reads a problem's samples."""
    if model == PRETRAINED:
        return is_image(problem) and problem.output_kind.per == "sample"
    is_sequence = bool(problem.vocabulary) or problem.is_sequence
    return is_image(problem) or (is_sequence and len(problem.input_shape) <= 2)


def is_image(problem: Problem) -> bool:
    """Tell whether the samples are images [channels, height, width]."""
    return len(problem.input_shape) == 3 and not problem.is_sequence and not problem.vocabulary


def refuse_unless_it_fits(model: str, problem: Problem) -> None:
    """Raise UsageError where a kind of model that is asked for cannot read a problem's samples."""
    if not fits(model, problem):
        others = [each for each in READS if fits(each, problem)]
        raise UsageError(
            f"--model {model} does not fit this data",
            f"a {model} network reads {READS[model]}",
            f"--model {others[0]}, or leave it out" if others else "leave --model out",
        )


def transformer_for(problem: Problem) -> Choice:
    """Return a transformer for a problem."""
    if problem.task == "language_model":
        model = {"kind": TRANSFORMER, "width": 128, "depth": 4, "heads": 4, "dropout": 0.1}
        reason = "a transformer that looks at all letters of the window before it"
        return Choice(model | {"tied": True}, reason, 1e-3, 1_500, clips=True)
    model = {"kind": TRANSFORMER, "width": 64, "depth": 2, "heads": 4, "dropout": 0.1}
    if not is_image(problem):
        reason = "a transformer: each step looks at all others"
        return Choice(model, reason, 1e-3, 1_000, clips=True)
    sides = problem.input_shape[1:]
    patches = (each for each in PATCHES if cut(sides, each) >= FEWEST_PATCHES)
    patch = next(patches, PATCHES[-1])
    reason = f"a transformer that reads an image as {cut(sides, patch):,} patches"
    return Choice(model | {"patch": patch}, reason, 1e-3, 1_500, clips=True)


def cut(sides: Sequence[int], patch: int) -> int:
    """Return the number of patches in an image of these sides, 0 if they do not divide it."""
    return 0 if any(side % patch for side in sides) else prod(side // patch for side in sides)


def pretrained_for(problem: Problem) -> Choice:
    """Return a network whose weights were trained on ImageNet, for images."""
    size = OF_IMAGENET if min(problem.input_shape[1:]) >= LARGE_SIDE else OF_SMALL_IMAGES
    return Choice(
        {"kind": PRETRAINED, "preset": "resnet18", "weights": "imagenet", "freeze": "all but head"},
        "a network that was trained on ImageNet, of which a new output layer is trained. Its "
        "weights, 45 MB, are downloaded once; weights: FILE reads them from a file. Then freeze a "
        "number of blocks alone, or none, with a smaller learning rate",
        1e-3,
        500,
        data={"size": size},
        data_reason="the images are scaled to it: the network was trained on images of 224",
    )
