"""What the lists of cases are made of: configs that learn, optimizers, and kinds of verdicts."""

from collections.abc import Mapping
from typing import Any

Config = dict[str, Any]
STEPS = {"log_every": 10, "max_overhead": None}
HIGH = ("learning_rate_too_high", "divergence", "exploding")
LOW = ("learning_rate_too_low",)
NOTHING = ("no_learning", "overfitting")


def merged(base: Mapping[str, Any], changes: Mapping[str, Any]) -> Config:
    """Return a config with sections changed key by key; a section with a `kind` is replaced."""
    result = dict(base)
    for key, value in changes.items():
        old = result.get(key)
        keeps = isinstance(value, Mapping) and isinstance(old, Mapping) and "kind" not in value
        result[key] = merged(old, value) if keeps else value
    return result


def config(base: Config, **changes: Any) -> Config:
    """Return a base with sections changed."""
    return merged(base, changes)


def adam(lr: float) -> Config:
    return {"kind": "adam", "lr": lr}


def sgd(lr: float) -> Config:
    return {"kind": "sgd", "lr": lr, "momentum": 0.9}


def mlp(width: int, depth: int, activation: str = "relu") -> Config:
    return {"kind": "mlp", "hidden": [width] * depth, "activation": activation}


def recurrent(cell: str, hidden: int, **others: Any) -> Config:
    return {"kind": "rnn", "cell": cell, "hidden": hidden, **others}


DIGITS: Config = {
    "data": {"kind": "digits", "batch_size": 64},
    "model": {"kind": "mlp", "hidden": [64, 64]},
    "optimizer": {"kind": "adam", "lr": 1e-3},
    "train": {"steps": 200},
    "monitor": STEPS,
}
IMAGES: Config = merged(
    DIGITS,
    {
        "model": {
            "kind": "cnn",
            "stages": [{"channels": 8}, {"channels": 16}],
            "normalization": "none",
        },
        "optimizer": {"kind": "adam", "lr": 3e-3},
    },
)
ADDING: Config = {
    "data": {"kind": "adding", "length": 30, "samples": 2000, "batch_size": 50},
    "model": {"kind": "rnn", "cell": "gru", "hidden": 32, "init": "orthogonal"},
    "optimizer": {"kind": "adam", "lr": 1e-2},
    "train": {"steps": 300},
    "monitor": STEPS,
}
XOR: Config = {
    "data": {"kind": "xor", "samples": 1000, "batch_size": 32},
    "model": {"kind": "mlp", "hidden": [16], "activation": "tanh"},
    "optimizer": {"kind": "adam", "lr": 1e-2},
    "train": {"steps": 300},
    "monitor": STEPS,
}
SPIRALS: Config = merged(
    XOR,
    {
        "data": {"kind": "spirals", "samples": 2000, "batch_size": 64},
        "model": {"hidden": [64, 64], "activation": "relu"},
        "train": {"steps": 600},
    },
)
TABLE: Config = {
    "data": {"kind": "table", "path": "table.csv", "target": "y", "batch_size": 32},
    "model": {"kind": "mlp", "hidden": [32]},
    "optimizer": {"kind": "adam", "lr": 3e-3},
    "train": {"steps": 300},
    "monitor": STEPS,
}
SERIES: Config = {
    "data": {"kind": "sequence", "path": "series.npz", "batch_size": 32},
    "model": {"kind": "rnn", "cell": "lstm", "hidden": 32},
    "optimizer": {"kind": "adam", "lr": 1e-2},
    "train": {"steps": 200},
    "monitor": STEPS,
}
TEXT: Config = {
    "data": {"kind": "text", "path": "verse.txt", "window": 32, "batch_size": 8},
    "model": {"kind": "rnn", "cell": "lstm", "hidden": 32},
    "optimizer": {"kind": "adam", "lr": 2e-2},
    "train": {"steps": 120},
    "monitor": STEPS,
}
