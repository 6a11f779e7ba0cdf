"""Runs combined by a fixed draw: each trouble on sources of other kinds, in strengths drawn.

Written down, all of them, before any was trained; judged once. The draw chooses what does not
decide whether a run is sick: widths, depths beyond what suffices, seeds and factors of a range.
"""

from random import Random
from typing import Any

import base
from bank import Case, biased, recurrent_scaled, scaled
from base import HIGH, LOW, NOTHING, Config, adam, config, sgd

DRAW = Random(20_281)
WIDTHS = (24, 40, 56, 72)

PRICE = config(base.TABLE, data={"path": "price.csv"})
PARITY = config(
    base.XOR,
    data={"kind": "parity", "length": 5, "samples": 2000, "batch_size": 50},
    model={"hidden": [48], "activation": "relu"},
)
COPY = config(
    base.ADDING,
    data={"kind": "copy", "symbols": 4, "recall": 2, "delay": 3, "samples": 2000},
    model={"kind": "rnn", "cell": "gru", "hidden": 48},
)
WORDS = config(
    base.SERIES,
    data={"kind": "text_table", "path": "opinions.csv", "batch_size": 32},
    model={"kind": "rnn", "cell": "gru", "hidden": 24},
)
LAYERS = config(
    base.DIGITS,
    model={
        "kind": "sequential",
        "layers": [
            {"Conv2d": {"out_channels": 12, "kernel_size": 3}},
            "ReLU",
            "Flatten",
            {"Linear": 48},
            "ReLU",
            {"Linear": 10},
        ],
    },
)
SOURCES: dict[str, Config] = {
    "digits": base.DIGITS,
    "images": base.IMAGES,
    "layers": LAYERS,
    "spirals": base.SPIRALS,
    "xor": base.XOR,
    "parity": PARITY,
    "table": base.TABLE,
    "price": PRICE,
    "series": base.SERIES,
    "adding": base.ADDING,
    "copy": COPY,
    "text": base.TEXT,
    "words": WORDS,
}


def stacked(depth: int, activation: str) -> Config:
    return {"kind": "mlp", "hidden": [DRAW.choice(WIDTHS)] * depth, "activation": activation}


def blocks(count: int, activation: str) -> Config:
    stages = [{"channels": DRAW.choice((6, 10)), "blocks": count}] * 2
    return {"kind": "cnn", "stages": stages, "normalization": "none", "activation": activation}


def sick(
    trouble: str, source: str, kinds: tuple[str, ...], /, layer: str = "", **changes: Any
) -> Case:
    alter = changes.pop("alter", None)
    return Case(
        f"again: {trouble}, {source}", config(SOURCES[source], **changes), kinds, layer, alter
    )


def rate_times(source: str, factor: float) -> Case:
    optimizer = SOURCES[source]["optimizer"]
    changed = {**optimizer, "lr": optimizer["lr"] * factor}
    kinds = HIGH if factor > 1 else LOW
    return sick(f"rate x {factor:g}", source, kinds, optimizer=changed)


RATES = [
    *(
        rate_times(name, DRAW.choice((400, 1000, 2000)))
        for name in ("layers", "parity", "price", "copy", "words")
    ),
    *(rate_times(name, DRAW.choice((1e-5, 3e-6))) for name in ("images", "price", "text", "words")),
]
FLOW = [
    sick(
        "sigmoid",
        "price",
        ("vanishing",),
        optimizer=sgd(0.02),
        model=stacked(DRAW.randint(9, 13), "sigmoid"),
    ),
    sick(
        "hardsigmoid",
        "parity",
        ("vanishing",),
        model=stacked(DRAW.randint(9, 13), "hardsigmoid"),
        optimizer=adam(1e-3),
    ),
    sick(
        "sigmoid",
        "images",
        ("vanishing",),
        model=blocks(DRAW.randint(5, 6), "sigmoid"),
        train={"steps": 100},
        optimizer=adam(1e-3),
    ),
    sick(
        "sigmoid",
        "layers",
        ("vanishing",),
        optimizer=sgd(0.05),
        model={
            "kind": "sequential",
            "layers": [
                "Flatten",
                *[{"Linear": 40}, "Sigmoid"] * DRAW.randint(9, 12),
                {"Linear": 10},
            ],
        },
    ),
    sick(
        "tanh RNN",
        "series",
        ("vanishing",),
        "rnn",
        data={"path": "early.npz"},
        model={"kind": "rnn", "cell": "rnn", "hidden": DRAW.choice(WIDTHS)},
        optimizer=adam(2e-3),
    ),
    sick(
        "weights x 7",
        "table",
        ("exploding",),
        model=stacked(DRAW.randint(13, 16), "gelu"),
        optimizer=adam(3e-4),
        alter=scaled(7.0),
    ),
    sick(
        "weights x 10",
        "images",
        ("exploding",),
        model=blocks(5, "leaky_relu"),
        train={"steps": 100},
        alter=scaled(10.0),
    ),
    sick(
        "recurrent weights x 4",
        "adding",
        ("exploding", "saturation"),
        "rnn",
        data={"length": 40},
        model={"kind": "rnn", "cell": "rnn", "hidden": 32, "init": "orthogonal"},
        optimizer=sgd(0.005),
        alter=recurrent_scaled(4.0),
    ),
]
UNITS = [
    sick("dead", "price", ("dead",), "1", alter=biased(-DRAW.uniform(9, 18), 0)),
    sick("dead", "images", ("dead",), "stage", alter=biased(-DRAW.uniform(9, 18), 0)),
    sick("dead", "layers", ("dead",), "", alter=biased(-DRAW.uniform(12, 18))),
    sick(
        "flat ends",
        "table",
        ("saturation",),
        optimizer=adam(3e-4),
        model=stacked(3, "tanh"),
        alter=scaled(DRAW.uniform(60, 120)),
    ),
    sick(
        "flat ends",
        "digits",
        ("saturation",),
        optimizer=sgd(2e-3),
        model=stacked(3, "softsign"),
        alter=scaled(DRAW.uniform(120, 200)),
    ),
]
DATA = [
    sick(
        "large inputs", "series", ("input_scale",), data={"path": "large.npz", "standardize": False}
    ),
    sick(
        "small inputs",
        "series",
        ("input_scale",),
        data={"path": "tiny.npz", "standardize": False},
        model={"kind": "rnn", "cell": "gru", "hidden": 24},
    ),
    sick(
        "large targets", "price", ("target_scale",), data={"path": "dear.csv"}, optimizer=sgd(1e-3)
    ),
    sick(
        "far targets",
        "price",
        ("target_scale",),
        data={"path": "offset.csv"},
        model=stacked(2, "gelu"),
    ),
    sick("shuffled", "table", NOTHING, data={"path": "noise.csv"}, model=stacked(2, "gelu")),
    sick(
        "shuffled",
        "series",
        NOTHING,
        data={"path": "shuffled.npz"},
        model={"kind": "rnn", "cell": "lstm", "hidden": 16, "bidirectional": True},
    ),
    sick(
        "random letters",
        "text",
        NOTHING,
        data={"path": "letters.txt"},
        model={"kind": "rnn", "cell": "gru", "hidden": 24},
    ),
    sick("a linear model", "parity", ("no_learning",), model={"kind": "mlp", "hidden": []}),
]
OUTCOME = [
    sick(
        "few rows",
        "table",
        ("overfitting",),
        data={"path": "small.csv", "validation_fraction": 0.3},
        model=stacked(2, "silu"),
        train={"steps": 400},
    ),
    sick(
        "few series",
        "series",
        ("overfitting",),
        data={"path": "few.npz", "validation_fraction": 0.4},
        model={"kind": "rnn", "cell": "gru", "hidden": 48},
    ),
    sick(
        "rate gone early",
        "spirals",
        ("plateau",),
        train={"steps": 700},
        optimizer=adam(3e-3),
        schedule={"kind": "multistep", "milestones": [1], "gamma": 1e-4},
    ),
    sick(
        "rate gone early",
        "digits",
        ("plateau",),
        train={"steps": 300},
        optimizer=sgd(0.01),
        schedule={"kind": "exponential", "gamma": 1e-3},
    ),
    sick(
        "5 % positive",
        "table",
        ("class_collapse",),
        data={"path": "rare.csv"},
        model=stacked(2, "tanh"),
        optimizer=adam(1e-3),
    ),
    sick(
        "3 % positive",
        "table",
        ("class_collapse",),
        data={"path": "rarer.csv"},
        model={"hidden": [16], "dropout": 0.2},
        optimizer=sgd(0.01),
    ),
]

USUAL = [adam(2e-3), {"kind": "adamw", "lr": 2e-3}, {"kind": "rmsprop", "lr": 1e-3}, sgd(0.03)]
ACTIVATIONS = ("relu", "gelu", "silu", "elu", "tanh", "leaky_relu")
STEPS = {"series": 250, "words": 200, "text": 150, "copy": 500}


def healthy(source: str, about: str, **changes: Any) -> Case:
    return Case(f"again: healthy, {source}, {about}", config(SOURCES[source], **changes))


def usual_of_rows(source: str, number: int) -> Case:
    model = stacked(DRAW.randint(1, 3), DRAW.choice(ACTIVATIONS))
    return healthy(
        source, str(number), model=model, optimizer=DRAW.choice(USUAL), train={"steps": 400}
    )


def of_points(source: str) -> Case:
    model = stacked(2, DRAW.choice(("relu", "gelu", "tanh")))
    return healthy(
        source, "", model=model, optimizer=adam(DRAW.choice((5e-3, 1e-2))), train={"steps": 800}
    )


def of_images(normalization: str) -> Case:
    stages = [{"channels": DRAW.choice((8, 12))}, {"channels": 16}]
    model = {"kind": "cnn", "stages": stages, "normalization": normalization}
    rate = DRAW.choice((2e-3, 5e-3))
    return healthy("images", normalization, model=model, optimizer=adam(rate), train={"steps": 250})


def over_time(source: str, cell: str) -> Case:
    model = {"kind": "rnn", "cell": cell, "hidden": DRAW.choice((32, 48))}
    return healthy(source, cell, model=model, train={"steps": STEPS[source]})


HEALTHY = [
    *(usual_of_rows(each, n) for n in (1, 2) for each in ("digits", "table", "price")),
    *(of_points(each) for each in ("spirals", "xor", "parity")),
    *(of_images(each) for each in ("none", "batch", "group")),
    healthy("layers", "adam"),
    healthy("layers", "sgd", optimizer=sgd(0.05), schedule={"kind": "cosine"}),
    *(over_time(each, cell) for each in STEPS for cell in ("lstm", "gru")),
    healthy("adding", "gru", train={"steps": 600}, data={"length": 20}),
]
HELD_OUT_AGAIN = [*RATES, *FLOW, *UNITS, *DATA, *OUTCOME, *HEALTHY]
