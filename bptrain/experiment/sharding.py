"""What processes that share one model's weights do not support."""

from typing import TypeAlias

from bptrain.errors import ConfigKeyError
from bptrain.experiment.config import ExperimentConfig

KEY = ("train", "sharded")
Refusal: TypeAlias = tuple[bool, str, str]  # whether it is so, why, and what to do instead


def refuse_what_no_shards_can(config: ExperimentConfig) -> None:
    """Raise ConfigKeyError for settings that need all of a weight in one process."""
    if not config.train.sharded:
        return
    refused = {**what_needs_the_tape(config), **what_needs_whole_weights(config)}
    for what, (is_so, why, hint) in refused.items():
        if is_so:
            raise ConfigKeyError(KEY, f"cannot be used with {what}", why, hint)


def what_needs_the_tape(config: ExperimentConfig) -> dict[str, Refusal]:
    """Return the settings that need the tape, by name."""
    return {
        "engine=tape": (
            config.engine == "tape",
            "the tape holds its parameters in place, and cannot hold those that come and go",
            "engine=auto, which then uses autograd",
        ),
        f"backward={config.backward}": (
            config.backward != "backprop",
            "learning rules need the tape, which cannot hold parameters that come and go",
            "backward=backprop",
        ),
        "train.checkpointing": (
            config.train.checkpointing != "none",
            "it needs the tape, which cannot hold parameters that come and go",
            "train.checkpointing=none",
        ),
        f"compile={config.compile}": (
            config.compile is not False,
            "only the tape is compiled, which cannot hold parameters that come and go",
            "compile=false",
        ),
    }


def what_needs_whole_weights(config: ExperimentConfig) -> dict[str, Refusal]:
    """Return the settings that need whole weights or gradients in one process, by name."""
    return {
        "precision=fp16": (
            config.precision == "fp16",
            "the gradient scaler sees a process's own part of the gradients alone",
            "precision=bf16",
        ),
        "optimizer.kind=muon": (
            config.optimizer.kind == "muon",
            "it orthogonalizes whole matrices, of which each process has some rows",
            "optimizer.kind=adamw",
        ),
        "optimizer.kind=lbfgs": (
            config.optimizer.searches,
            "it treats all weights as one vector, of which each process has a part",
            "optimizer.kind=adamw",
        ),
        "train.on_non_finite=rollback": (
            config.train.on_non_finite == "rollback",
            "the checkpoint would have to be divided again in the middle of the run",
            "train.on_non_finite=skip",
        ),
        "monitor.level=full": (
            config.monitor.level == "full",
            "it needs whole gradients for its histograms and cosines",
            "monitor.level=standard",
        ),
    }
