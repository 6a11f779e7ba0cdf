"""A config to start from, for data of a user's own: a model that suits it, and how it is trained.

Sizes are first guesses that train in minutes on a few cores, not the best ones.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from math import ceil, prod
from typing import Any

from bptrain.config import config_of
from bptrain.config.yaml_tree import KeyPath, comment_lines, write_lines
from bptrain.data.first_look.found import Found
from bptrain.experiment.config import ExperimentConfig
from bptrain.problem import Problem

SMALL, LARGE = 1_000, 20_000  # samples, between which a perceptron is of middle size
LEAST_SIDE = 8  # of an image or a sequence that two stages of a convolution halve twice
FEWEST_EPOCHS, MOST_EPOCHS = 3, 100


@dataclass(frozen=True)
class Choice:
    """A model and its training: sections of a config, with the reason, and the steps to train."""

    model: Mapping[str, Any]
    reason: str
    lr: float
    steps: int
    clips: bool = False


def first_config(found: Found, name: str) -> str:
    """Return a commented config that trains on what was found.

    name  of the data, which the run is called by
    """
    tree, comments = sections(found, run_name(name))
    config_of(ExperimentConfig, tree)  # every value is one that the config takes
    heading = [line for text in _heading(found) for line in comment_lines(text, "# ")]
    return "\n".join([*heading, *write_lines(tree, comments)]) + "\n"


def _heading(found: Found) -> list[str]:
    return [
        "What was seen, and what was guessed from it. Correct what is wrong:",
        *(f"- {line}" for line in found.seen),
    ]


def run_name(name: str) -> str:
    """Return a name as a run may have it."""
    return re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip("._-")[:100] or "my-data"


def sections(found: Found, name: str) -> tuple[dict[str, Any], dict[KeyPath, str]]:
    """Return the config as a tree, and the comments above its keys."""
    choice = choose(found.problem, found.samples)
    steps_each = max(1, ceil(found.samples / found.data["batch_size"]))
    epochs = min(MOST_EPOCHS, max(FEWEST_EPOCHS, round(choice.steps / steps_each)))
    tree: dict[str, Any] = {"name": name, "data": dict(found.data), "model": dict(choice.model)}
    comments: dict[KeyPath, str] = {
        ("name",): "name of the run, and of its folder under runs/",
        ("data",): "what is read, and how",
        ("model",): choice.reason,
        ("optimizer",): "bptrain lr CONFIG suggests a learning rate by a short run",
        ("train",): f"about {epochs * steps_each:,} updates in all",
    }
    if found.imbalance:
        tree["loss"] = {"kind": "cross_entropy", "class_weights": "balanced"}
        rare = f"{found.imbalance}: each class counts alike"
        comments[("loss",)] = f"{rare}, so that the rare ones are not passed over"
    tree["optimizer"] = {"kind": "adamw", "lr": choice.lr, "weight_decay": 0.01}
    tree["schedule"] = {"kind": "cosine", "warmup_steps": 20}
    tree["train"] = {"epochs": epochs} | ({"clip_grad_norm": 1.0} if choice.clips else {})
    if found.imbalance:
        tree["checkpoint"] = {"best_by": "val/balanced_accuracy"}
        comments[("checkpoint",)] = (
            "by accuracy, a model that never answers a rare class looks good"
        )
    comments |= {("data", key): reason for key, reason in found.reasons.items()}
    return tree, comments


def choose(problem: Problem, samples: int) -> Choice:
    """Return a model for a problem, by the form of its inputs and the number of samples."""
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
