"""Runs that do not learn, or not what they should, each for a known reason."""

import base
from bank import Case, biased, recurrent_scaled, scaled
from base import HIGH, LOW, NOTHING, adam, config, sgd

SGD = {"kind": "sgd", "lr": 0.1, "momentum": 0.9}
DEEP_SIGMOID = {"kind": "mlp", "hidden": [32] * 30, "activation": "sigmoid"}
TALL = [{"channels": 8, "blocks": 6}, {"channels": 8, "blocks": 6}]


VANISHING = [
    Case("sigmoid x 30", config(base.DIGITS, model=DEEP_SIGMOID, optimizer=SGD), ("vanishing",)),
    Case(
        "sigmoid x 10",
        config(
            base.DIGITS,
            model={"kind": "mlp", "hidden": [64] * 10, "activation": "sigmoid"},
            optimizer=SGD,
        ),
        ("vanishing",),
    ),
    Case(
        "sigmoid x 8, adam",
        config(base.DIGITS, model={"kind": "mlp", "hidden": [64] * 8, "activation": "sigmoid"}),
        ("vanishing",),
    ),
    Case(
        "relu x 40, default initialization",
        config(base.DIGITS, model={"kind": "mlp", "hidden": [32] * 40}, optimizer=SGD),
        ("vanishing",),
    ),
    Case(
        "softsign x 25",
        config(
            base.XOR,
            model={"kind": "mlp", "hidden": [16] * 25, "activation": "softsign"},
            optimizer=sgd(0.05),
        ),
        ("vanishing",),
    ),
    Case(
        "hardsigmoid x 8",
        config(
            base.SPIRALS,
            model={"kind": "mlp", "hidden": [32] * 8, "activation": "hardsigmoid"},
            optimizer=sgd(0.05),
        ),
        ("vanishing",),
    ),
    Case(
        "sigmoid convolutions x 12",
        config(
            base.IMAGES,
            model={"stages": TALL, "activation": "sigmoid"},
            optimizer=sgd(0.05),
            train={"steps": 100},
        ),
        ("vanishing",),
    ),
    Case(
        "tanh RNN, 80 steps",
        config(
            base.SERIES,
            data={"path": "early.npz"},
            model={"kind": "rnn", "cell": "rnn", "hidden": 32},
            optimizer=adam(3e-3),
        ),
        ("vanishing",),
        "rnn",
    ),
    Case(
        "tanh RNN with small recurrent weights",
        config(
            base.SERIES,
            data={"path": "early.npz"},
            model={"kind": "rnn", "cell": "rnn", "hidden": 32, "init": "orthogonal"},
            optimizer=adam(3e-3),
        ),
        ("vanishing",),
        "rnn",
        recurrent_scaled(0.5),
    ),
    Case(
        "sigmoid x 12, a table",
        config(
            base.TABLE,
            model={"kind": "mlp", "hidden": [32] * 12, "activation": "sigmoid"},
            optimizer=sgd(0.05),
        ),
        ("vanishing",),
    ),
    Case(
        "weights / 10 x 6",
        config(base.DIGITS, model={"kind": "mlp", "hidden": [64] * 6}, optimizer=SGD),
        ("vanishing",),
        alter=scaled(0.1),
    ),
]
EXPLODING = [
    Case(
        "leaky relu x 20, weights x 5",
        config(
            base.DIGITS,
            model={"kind": "mlp", "hidden": [64] * 20, "activation": "leaky_relu"},
            optimizer=sgd(1e-3),
        ),
        ("exploding", "divergence"),  # not finite before anything is logged
        alter=scaled(5.0),
    ),
    Case(
        "relu x 12, weights x 8",
        config(base.DIGITS, model={"kind": "mlp", "hidden": [64] * 12}),
        ("exploding",),
        alter=scaled(8.0),
    ),
    Case(
        "convolutions x 12, weights x 8",
        config(base.IMAGES, model={"stages": TALL}, train={"steps": 100}),
        ("exploding",),
        alter=scaled(8.0),
    ),
    Case(
        "RNN with large recurrent weights",
        config(
            base.ADDING,
            data={"length": 60},
            model={"kind": "rnn", "cell": "rnn", "hidden": 32, "init": "orthogonal"},
            optimizer=sgd(0.01),
        ),
        ("exploding", "saturation"),
        "rnn",
        recurrent_scaled(3.0),
    ),
]
DEAD = [
    Case("bias -10 in one layer", config(base.DIGITS), ("dead",), "2", biased(-10.0, 1)),
    Case("bias -10 in all layers", config(base.DIGITS), ("dead",), "1", biased(-10.0)),
    Case("bias -10 in a convolution", config(base.IMAGES), ("dead",), "stage", biased(-10.0, 1)),
    Case("bias -20, spirals", config(base.SPIRALS), ("dead",), "", biased(-20.0, 0)),
    Case("bias -10, a table", config(base.TABLE), ("dead",), "1", biased(-10.0)),
]
SATURATED = [
    Case(
        "tanh, weights x 50",
        config(
            base.DIGITS, model={"activation": "tanh", "hidden": [64, 64, 64]}, optimizer=sgd(1e-3)
        ),
        ("saturation",),
        alter=scaled(50.0),
    ),
    Case(
        "sigmoid, weights x 200",
        config(
            base.DIGITS,
            model={"activation": "sigmoid", "hidden": [64, 64, 64]},
            optimizer=adam(1e-4),
        ),
        ("saturation",),
        alter=scaled(200.0),
    ),
    Case(
        "tanh convolutions, weights x 60",
        config(
            base.IMAGES,
            model={"activation": "tanh", "stages": [{"channels": 8, "blocks": 2}] * 2},
            optimizer=sgd(1e-3),
        ),
        ("saturation",),
        alter=scaled(60.0),
    ),
    Case(
        "tanh, spirals, weights x 100",
        config(base.SPIRALS, model={"activation": "tanh"}, optimizer=sgd(1e-3)),
        ("saturation",),
        alter=scaled(100.0),
    ),
]
RATE_TOO_HIGH = [
    Case("adam x 1000", config(base.DIGITS, optimizer=adam(1.0)), HIGH),
    Case("sgd x 1000", config(base.DIGITS, optimizer=sgd(20.0)), HIGH),
    Case("adam x 1000, images", config(base.IMAGES, optimizer=adam(1.0)), HIGH),
    Case("adam x 300, recurrent", config(base.ADDING, optimizer=adam(3.0)), HIGH),
    Case("adam x 1000, spirals", config(base.SPIRALS, optimizer=adam(5.0)), HIGH),
    Case(
        "sgd x 100, regression",
        config(base.TABLE, data={"path": "price.csv"}, optimizer=sgd(3.0)),
        HIGH,
    ),
    Case("adam x 1000, series", config(base.SERIES, optimizer=adam(10.0)), HIGH),
    Case("adam x 300, text", config(base.TEXT, optimizer=adam(3.0)), HIGH),
]
RATE_TOO_LOW = [
    Case("adam / 10^5", config(base.DIGITS, optimizer=adam(1e-8)), LOW),
    Case("sgd / 10^5", config(base.DIGITS, optimizer=sgd(1e-6)), LOW),
    Case("adam / 10^5, images", config(base.IMAGES, optimizer=adam(1e-8)), LOW),
    Case("adam / 10^5, recurrent", config(base.ADDING, optimizer=adam(1e-7)), LOW),
    Case("adam / 10^5, series", config(base.SERIES, optimizer=adam(1e-7)), LOW),
    Case("sgd / 10^5, a table", config(base.TABLE, optimizer=sgd(1e-7)), LOW),
    Case("adam / 10^5, text", config(base.TEXT, optimizer=adam(1e-7)), LOW),
]
NO_LEARNING = [
    Case("shuffled labels, a table", config(base.TABLE, data={"path": "noise.csv"}), NOTHING),
    Case("shuffled labels, series", config(base.SERIES, data={"path": "shuffled.npz"}), NOTHING),
    Case("targets unrelated", config(base.TABLE, data={"path": "unrelated.csv"}), NOTHING),
    Case("random letters", config(base.TEXT, data={"path": "letters.txt"}), NOTHING),
    Case(
        "a linear model of xor",
        config(base.XOR, model={"kind": "mlp", "hidden": []}),
        ("no_learning",),
    ),
]
OVERFITTING = [
    Case(
        "80 rows of 30 columns",
        config(
            base.TABLE,
            data={"path": "small.csv", "validation_fraction": 0.3},
            model={"hidden": [256, 256]},
        ),
        ("overfitting",),
    ),
    Case(
        "80 rows, linear layers wide",
        config(
            base.TABLE,
            data={"path": "small.csv", "validation_fraction": 0.4, "batch_size": 16},
            model={"hidden": [512]},
            optimizer=adam(1e-2),
        ),
        ("overfitting",),
    ),
    Case(
        "60 noisy series",
        config(
            base.SERIES, data={"path": "few.npz", "validation_fraction": 0.4}, model={"hidden": 64}
        ),
        ("overfitting",),
    ),
]
PLATEAU = [
    Case(
        "the rate falls too early",
        config(
            base.DIGITS,
            optimizer=sgd(0.01),
            schedule={"kind": "multistep", "milestones": [1], "gamma": 1e-4},
            train={"steps": 300},
        ),
        ("plateau",),
    ),
    Case(
        "the rate decays at once",
        config(base.SPIRALS, schedule={"kind": "exponential", "gamma": 0.3}, train={"steps": 800}),
        ("plateau",),
    ),
    Case(
        "the rate falls too early, images",
        config(
            base.IMAGES,
            schedule={"kind": "multistep", "milestones": [1], "gamma": 1e-4},
            train={"steps": 250},
        ),
        ("plateau",),
    ),
]
SCALE = [
    Case(
        "inputs around 2,000",
        config(base.SERIES, data={"path": "large.npz", "standardize": False}),
        ("input_scale",),
    ),
    Case(
        "inputs of 1e-5",
        config(base.SERIES, data={"path": "tiny.npz", "standardize": False}),
        ("input_scale",),
    ),
    Case("targets of 1e4", config(base.TABLE, data={"path": "dear.csv"}), ("target_scale",)),
    Case(
        "targets around 3,000", config(base.TABLE, data={"path": "offset.csv"}), ("target_scale",)
    ),
]
COLLAPSE = [
    Case(
        "5 % positive",
        config(base.TABLE, data={"path": "rare.csv"}, model={"hidden": [8]}, optimizer=adam(1e-3)),
        ("class_collapse",),
    ),
    Case(
        "3 % positive",
        config(base.TABLE, data={"path": "rarer.csv"}, model={"hidden": [8]}, optimizer=adam(1e-3)),
        ("class_collapse",),
    ),
    Case(
        "94 : 3 : 3",
        config(base.TABLE, data={"path": "odd.csv"}, model={"hidden": [8]}, optimizer=adam(1e-3)),
        ("class_collapse",),
    ),
]
SICK = [
    *VANISHING, *EXPLODING, *DEAD, *SATURATED, *RATE_TOO_HIGH, *RATE_TOO_LOW, *NO_LEARNING,
    *OVERFITTING, *PLATEAU, *SCALE, *COLLAPSE,
]  # fmt: skip
