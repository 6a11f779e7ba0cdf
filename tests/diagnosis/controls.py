"""Runs that learn, and beside them the same runs with one fault each, for which they are judged.

Written down, all of them, before any was trained. Whether a run is sick is measured: what a run
with a fault reaches is compared with what its control, the run without it, reaches (reached.py).
"""

from typing import Any

import base
from bank import Case
from base import Config, adam, config, mlp, recurrent, sgd

HELD = {"validation_fraction": 0.2}
ROWS: Config = {
    "data": {"kind": "table", "path": "sides.csv", "target": "y", "batch_size": 30, **HELD},
    "monitor": base.STEPS,
}
RAMPS: Config = {
    "data": {"kind": "sequence", "path": "ramps.npz", "batch_size": 30, **HELD},
    "monitor": base.STEPS,
}
PARITY: Config = {"kind": "parity", "length": 4, "samples": 1500, "batch_size": 50}
COPY: Config = {
    "kind": "copy", "symbols": 3, "recall": 1, "delay": 24, "samples": 1500, "batch_size": 50,
}  # fmt: skip
STRIPES: Config = {"kind": "image_folder", "root": "stripes", "size": 12, "batch_size": 24}
ROOMS: Config = {"kind": "text_table", "path": "rooms.csv", "batch_size": 24}
SHELLS: Config = {"kind": "text", "path": "shells.txt", "window": 24, "batch_size": 8}
DENSE = ["Flatten", {"Linear": 60}, "Tanh", {"Linear": 10}]
LAYERS = [
    {"Conv2d": {"out_channels": 10, "kernel_size": 3}},
    "ReLU",
    "Flatten",
    {"Linear": 44},
    "ReLU",
    {"Linear": 10},
]


def two_stages(first: int, second: int, normalization: str = "none") -> Config:
    stages = [{"channels": first}, {"channels": second}]
    return {"kind": "cnn", "stages": stages, "normalization": normalization}


def listed(layers: list[Any]) -> Config:
    return {"kind": "sequential", "layers": layers}


def run(source: Config, model: Config, optimizer: Config, steps: int, **changes: Any) -> Config:
    """Return the config of a run of so many steps."""
    whole = {"model": model, "optimizer": optimizer, "train": {"steps": steps}, "seed": 23}
    return config(config({**source, **whole}), **changes)


def rmsprop(lr: float) -> Config:
    return {"kind": "rmsprop", "lr": lr}


def adamw(lr: float) -> Config:
    return {"kind": "adamw", "lr": lr}


CONFIGS: dict[str, Config] = {
    "digits": run(base.DIGITS, mlp(52, 2), adam(2.5e-3), 120),
    "digits, gelu": run(base.DIGITS, mlp(44, 3, "gelu"), adamw(3e-3), 120),
    "digits, sgd": run(base.DIGITS, mlp(88, 2), sgd(0.08), 120),
    "xor": run(base.XOR, mlp(20, 1, "tanh"), adam(0.02), 240),
    "spirals": run(base.SPIRALS, mlp(80, 2), adam(8e-3), 500),
    "parity": run(base.XOR, mlp(60, 1), adam(0.012), 300, data=PARITY),
    "rows": run(ROWS, mlp(28, 2, "silu"), adam(5e-3), 200),
    "rows, sgd": run(ROWS, mlp(36, 1), sgd(0.04), 240),
    "numbers": run(ROWS, mlp(28, 2, "elu"), adam(5e-3), 200, data={"path": "yield.csv"}),
    "numbers, rmsprop": run(
        ROWS, mlp(44, 1, "leaky_relu"), rmsprop(2e-3), 240, data={"path": "yield.csv"}
    ),
    "classes as common": run(ROWS, mlp(12, 1), adam(2e-3), 160, data={"path": "common.csv"}),
    "many rows": run(ROWS, mlp(160, 1), adam(3e-3), 120, data={"path": "many.csv"}),
    "images": run(base.IMAGES, two_stages(10, 20), adam(4e-3), 120),
    "images, batch": run(base.IMAGES, two_stages(6, 14, "batch"), sgd(0.06), 100),
    "stripes": run(base.IMAGES, two_stages(6, 10), adam(6e-3), 100, data=STRIPES),
    "layers": run(base.DIGITS, listed(LAYERS), adam(2e-3), 120),
    "layers, dense": run(base.DIGITS, listed(DENSE), sgd(0.05), 120),
    "ramps, lstm": run(RAMPS, recurrent("lstm", 28), adam(0.01), 120),
    "ramps, gru": run(RAMPS, recurrent("gru", 20), adam(0.015), 120),
    "ramps, tanh": run(RAMPS, recurrent("rnn", 36, init="orthogonal"), adam(4e-3), 150),
    "ramps, dense": run(RAMPS, mlp(48, 1), adam(4e-3), 120),
    "slopes": run(RAMPS, recurrent("lstm", 20), adam(0.012), 150, data={"path": "slopes.npz"}),
    "noisy series": run(RAMPS, recurrent("gru", 26), adam(0.01), 120, data={"path": "noisy.npz"}),
    "recalled": run(
        RAMPS, recurrent("rnn", 28, init="orthogonal"), adam(4e-3), 150,
        data={"path": "recalled.npz"},
    ),
    "copy": run(base.ADDING, recurrent("rnn", 48, init="orthogonal"), adam(4e-3), 250, data=COPY),
    "rooms": run(ROWS, recurrent("gru", 28), adam(0.01), 140, data=ROOMS),
    "shells": run(ROWS, recurrent("lstm", 40), adam(0.02), 90, data=SHELLS),
}  # fmt: skip
CONTROLS = {name: Case(f"control: {name}", each) for name, each in CONFIGS.items()}
