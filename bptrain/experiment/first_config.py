"""A config to start from, for data of a user's own: a model that suits it, and how it is trained.

Sizes are first guesses that train in minutes on a few cores, not the best ones.
"""

import re
from math import ceil
from typing import Any

from bptrain.config import config_of
from bptrain.config.yaml_tree import KeyPath, comment_lines, write_lines
from bptrain.data.first_look.found import Found
from bptrain.experiment.config import ExperimentConfig
from bptrain.experiment.first_model import choose, others_than

FEWEST_EPOCHS, MOST_EPOCHS = 3, 100


def first_config(found: Found, name: str, model: str | None = None) -> str:
    """Return a commented config that trains on what was found.

    name   of the data, which the run is called by
    model  the kind of model that is asked for; None for what suits the data

    Raises UsageError for a model that cannot read it.
    """
    tree, comments = sections(found, run_name(name), model)
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


def sections(
    found: Found, name: str, model: str | None
) -> tuple[dict[str, Any], dict[KeyPath, str]]:
    """Return the config as a tree, and the comments above its keys."""
    choice = choose(found.problem, found.samples, model)
    data = {**found.data, **choice.data}
    steps_each = max(1, ceil(found.samples / data["batch_size"]))
    epochs = min(MOST_EPOCHS, max(FEWEST_EPOCHS, round(choice.steps / steps_each)))
    tree: dict[str, Any] = {"name": name, "data": data, "model": dict(choice.model)}
    others = others_than(choice.model["kind"], found.problem)
    propose = f"; bptrain init with --model {' or '.join(others)} proposes another" * bool(others)
    comments: dict[KeyPath, str] = {
        ("name",): "name of the run, and of its folder under runs/",
        ("data",): "what is read, and how",
        ("model",): choice.reason + propose,
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
    reasons = {**found.reasons, **dict.fromkeys(choice.data, choice.data_reason)}
    comments |= {("data", key): reason for key, reason in reasons.items()}
    return tree, comments
