"""What several processes can train together, and what they compare before they begin."""

import json
from collections.abc import Mapping
from hashlib import sha256
from typing import Any, TypeAlias

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm, _NormBase

from bptrain import __version__
from bptrain.errors import ConfigKeyError
from bptrain.experiment.config import ExperimentConfig
from bptrain.experiment.plan import Plan
from bptrain.experiment.stored_config import plain

DIGITS = 12  # of a hash, in a message
Refusal: TypeAlias = tuple[bool, str, str]  # whether it is so, why, and what to do instead


def facts_of(plan: Plan) -> dict[str, str]:
    """Return what must be the same in all processes of a job, by name; contents as hashes."""
    data = plan.dataset
    return {
        "version of bptrain": __version__,
        "version of torch": torch.__version__,
        "config": digest(plain(plan.config)),
        "data": digest([repr(data.problem), data.prepared, data.contents]),
    }


def digest(values: Any) -> str:
    """Return the first digits of a hash of plain values."""
    text = json.dumps(values, sort_keys=True, default=as_plain)
    return sha256(text.encode()).hexdigest()[:DIGITS]


def as_plain(value: Any) -> Any:
    """Return a mapping or a sequence as JSON has it."""
    return dict(value) if isinstance(value, Mapping) else list(value)


def refuse_what_needs_one_process(plan: Plan) -> None:
    """Raise ConfigKeyError for what several processes would do differently from one."""
    config = plan.config
    for key, (is_so, why, hint) in unlike_one_process(config).items():
        if is_so:
            raise ConfigKeyError(key, f"{value_at(config, key)} trains in one process", why, hint)
    refuse_own_statistics(plan)


def unlike_one_process(config: ExperimentConfig) -> dict[tuple[str, ...], Refusal]:
    """Return what several processes do not have, by key."""
    return {
        ("optimizer", "kind"): (
            config.optimizer.searches,
            "its line search evaluates the loss as often as it needs to",
            "optimizer.kind=adamw",
        ),
        ("backward",): (
            config.backward != "backprop",
            "what a learning rule gives is not a sum over samples for each of them",
            "backward=backprop",
        ),
        ("compile",): (config.compile is not False, "it is not tested with it", "compile=false"),
        ("monitor", "level"): (
            config.monitor.level == "full",
            "it shows the gradients of single samples, of which each process has some",
            "monitor.level=standard",
        ),
        ("train", "sync_batch_norm"): (
            config.train.sync_batch_norm and config.monitor.level != "basic",
            "a step that rank 0 shows its layers of could exchange more than the others do",
            "monitor.level=basic",
        ),
        ("device",): (
            ":" in config.device,
            "each process takes the GPU of its own number",
            "device=cuda",
        ),
        ("loss", "class_weights"): (
            getattr(config.loss, "class_weights", None) is not None,
            "its mean is over the weights of a batch's classes, which each process has others of",
            "data.sampling=balanced",
        ),
    }


def value_at(config: ExperimentConfig, key: tuple[str, ...]) -> str:
    """Return the value of a key, in words."""
    found: Any = config
    for name in key:
        found = getattr(found, name)
    return f"{key[-1]}={found}" if isinstance(found, (str, int, float, bool)) else key[-1]


def refuse_own_statistics(plan: Plan) -> None:
    """Raise ConfigKeyError for layers whose statistics would be those of a process's rows."""
    config = plan.config
    with torch.random.fork_rng(devices=[]):
        model = config.model.build(plan.dataset.problem, torch.device("meta"))
    found = {name: each for name, each in model.named_modules() if has_own_statistics(each)}
    if not found:
        return
    name, layer = next(iter(found.items()))
    if not (config.train.sync_batch_norm and isinstance(layer, _BatchNorm)):
        raise ConfigKeyError(
            ("model",),
            f"the layer {name} trains in one process",
            "it normalizes by the mean and variance of a batch, of which each process has a part",
            "train.sync_batch_norm=true monitor.level=basic, or layer normalization",
        )
    samples, size = len(plan.dataset.train), config.batch_size
    drops_last = getattr(config.data, "drop_last", False)
    smallest = size if drops_last else samples % size or min(samples, size)
    if smallest < plan.ranks.count:
        raise ConfigKeyError(
            ("data", "batch_size"),
            f"the last batch of an epoch has {smallest} of {samples:,} samples, and there are "
            f"{plan.ranks.count} processes",
            "batch normalization over all of them needs a sample in each",
            "another batch_size, or data.drop_last=true",
        )


def has_own_statistics(module: nn.Module) -> bool:
    """Return whether a layer computes statistics over samples, or keeps running ones."""
    return isinstance(module, _NormBase) and (
        isinstance(module, _BatchNorm) or module.track_running_stats
    )
