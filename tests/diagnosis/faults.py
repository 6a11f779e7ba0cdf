"""One fault each, put into a run that learns without it (controls.py)."""

from typing import Any

from bank import Alter, Case, biased, recurrent_scaled, scaled
from base import HIGH, LOW, NOTHING, Config, adam, config, mlp, recurrent, sgd
from controls import CONFIGS, listed


def sick(
    control: str, fault: str, kinds: tuple[str, ...], layer: str = "", alter: Alter | None = None,
    **changes: Any,
) -> Case:  # fmt: skip
    """Return a control's run with a fault."""
    return Case(
        f"{control}: {fault}", config(CONFIGS[control], **changes), kinds, layer, alter, control
    )


def rate_times(control: str, factor: float) -> Case:
    optimizer = CONFIGS[control]["optimizer"]
    changed = {**optimizer, "lr": optimizer["lr"] * factor}
    return sick(control, f"rate x {factor:g}", HIGH if factor > 1 else LOW, optimizer=changed)


def tall(channels: int, blocks: int, activation: str) -> Config:
    stages = [{"channels": channels, "blocks": blocks}] * 2
    return {"kind": "cnn", "stages": stages, "normalization": "none", "activation": activation}


def falls(gamma: float) -> Config:
    return {"kind": "multistep", "milestones": [1], "gamma": gamma}


FEW = {"batch_size": 10, "validation_fraction": 0.35}
ENDS, LARGE = ("saturation",), ("exploding", "saturation")
FLOW = [
    sick("digits", "sigmoid x 11", ("vanishing",), model=mlp(52, 11, "sigmoid")),
    sick("digits, sgd", "relu x 34", ("vanishing",), model=mlp(36, 34)),
    sick("rows", "sigmoid x 10", ("vanishing",), model=mlp(28, 10, "sigmoid")),
    sick("numbers", "hardsigmoid x 9", ("vanishing",), model=mlp(28, 9, "hardsigmoid")),
    sick("parity", "sigmoid x 12", ("vanishing",), model=mlp(30, 12, "sigmoid")),
    sick("stripes", "sigmoid x 10", ("vanishing",), model=tall(7, 5, "sigmoid")),
    sick(
        "layers, dense", "sigmoid x 10", ("vanishing",),
        model=listed(["Flatten", *[{"Linear": 36}, "Sigmoid"] * 10, {"Linear": 10}]),
    ),
    sick("recalled", "default weights", ("vanishing",), "rnn", model=recurrent("rnn", 28)),
    sick("copy", "default weights", ("vanishing",), "rnn", model=recurrent("rnn", 48)),
    sick(
        "digits, gelu", "x 15, weights x 6.5", ("exploding",), alter=scaled(6.5),
        model=mlp(44, 15, "gelu"),
    ),
    sick("rows", "relu x 14, weights x 7.5", ("exploding",), "", scaled(7.5), model=mlp(28, 14)),
    sick(
        "stripes", "x 10, weights x 9", ("exploding",), "", scaled(9.0),
        model=tall(7, 5, "leaky_relu"),
    ),
    sick("ramps, tanh", "recurrent weights x 3.5", LARGE, "rnn", recurrent_scaled(3.5)),
    sick(
        "recalled", "recurrent weights x 4.5, sgd", LARGE, "rnn", recurrent_scaled(4.5),
        optimizer=sgd(0.02),
    ),
]  # fmt: skip
UNITS = [
    sick("rows, sgd", "bias -13", ("dead",), "1", biased(-13.0, 0)),
    sick("spirals", "bias -11 in the second layer", ("dead",), "2", biased(-11.0, 1)),
    sick("images", "bias -12", ("dead",), "stage", biased(-12.0, 0)),
    sick("layers", "bias -14", ("dead",), "", biased(-14.0)),
    sick("rows", "tanh, weights x 90", ENDS, "", scaled(90.0), model=mlp(28, 3, "tanh")),
    sick(
        "digits", "softsign, weights x 170", ENDS, "", scaled(170.0), model=mlp(52, 3, "softsign"),
        optimizer=adam(2e-4),
    ),
    sick(
        "digits, gelu", "sigmoid, weights x 180", ENDS, "", scaled(180.0),
        model=mlp(44, 3, "sigmoid"),
    ),
]  # fmt: skip
RATES = [
    *(rate_times(control, 800.0) for control in ("digits", "rooms", "ramps, lstm")),
    *(rate_times(control, 1500.0) for control in ("parity", "numbers", "layers")),
    *(rate_times(control, 600.0) for control in ("images", "shells")),
    *(rate_times(control, 2e-6) for control in ("xor", "ramps, gru", "rooms")),
    *(
        rate_times(control, 7e-6)
        for control in ("digits, sgd", "images, batch", "numbers, rmsprop")
    ),
]
RAW = {"standardize": False}
DATA = [
    sick("ramps, lstm", "in volts", ("input_scale",), data={"path": "ramps_in_volts.npz", **RAW}),
    sick("ramps, gru", "of 1e-4", ("input_scale",), data={"path": "ramps_of_1e-4.npz", **RAW}),
    sick("numbers", "in grams", ("target_scale",), data={"path": "yield_in_grams.csv"}),
    sick("numbers, rmsprop", "from 700", ("target_scale",), data={"path": "yield_from_700.csv"}),
    sick("slopes", "in grams", ("target_scale",), data={"path": "slopes_in_grams.npz"}),
    sick("rows", "shuffled", NOTHING, data={"path": "sides_shuffled.csv"}),
    sick("ramps, tanh", "shuffled", NOTHING, data={"path": "ramps_shuffled.npz"}),
    sick("rooms", "shuffled", NOTHING, data={"path": "rooms_shuffled.csv"}),
    sick("shells", "any letters", NOTHING, data={"path": "any_letters.txt"}),
    sick("xor", "a linear model", ("no_learning",), model=mlp(20, 0)),
    sick("parity", "a linear model", ("no_learning",), model=mlp(60, 0)),
]
OUTCOME = [
    sick("many rows", "72 of them", ("overfitting",), data={"path": "few_72.csv", **FEW}),
    sick(
        "many rows", "60 of them, two layers", ("overfitting",), data={"path": "few_60.csv", **FEW},
        model=mlp(120, 2, "gelu"),
    ),
    sick("noisy series", "66 of them", ("overfitting",), data={"path": "few_series.npz", **FEW}),
    sick("digits, gelu", "rate gone early", ("plateau",), schedule=falls(3e-4)),
    sick("spirals", "rate gone early", ("plateau",), schedule=falls(1e-3)),
    sick("digits, sgd", "rate gone at once", ("plateau",), schedule=falls(1e-4),
         optimizer=sgd(0.01)),
    sick("classes as common", "4 % odd", ("class_collapse",), data={"path": "rare_4.csv"}),
    sick(
        "classes as common", "3 % odd, tanh", ("class_collapse",), data={"path": "rare_3.csv"},
        model=mlp(16, 2, "tanh"),
    ),
]  # fmt: skip
FAULTS = [*FLOW, *UNITS, *RATES, *DATA, *OUTCOME]
