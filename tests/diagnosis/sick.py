"""Runs that do not learn, or not what they should, each for a known reason."""

from bank import (
    ADDING,
    DIGITS,
    IMAGES,
    SERIES,
    SPIRALS,
    TABLE,
    TEXT,
    XOR,
    Case,
    biased,
    config,
    recurrent_scaled,
    scaled,
)

SGD = {"kind": "sgd", "lr": 0.1, "momentum": 0.9}
DEEP_SIGMOID = {"kind": "mlp", "hidden": [32] * 30, "activation": "sigmoid"}
TALL = [{"channels": 8, "blocks": 6}, {"channels": 8, "blocks": 6}]


def adam(lr: float) -> dict[str, object]:
    return {"kind": "adam", "lr": lr}


def sgd(lr: float) -> dict[str, object]:
    return {"kind": "sgd", "lr": lr, "momentum": 0.9}


VANISHING = [
    Case("sigmoid x 30", config(DIGITS, model=DEEP_SIGMOID, optimizer=SGD), ("vanishing",)),
    Case(
        "sigmoid x 10",
        config(
            DIGITS,
            model={"kind": "mlp", "hidden": [64] * 10, "activation": "sigmoid"},
            optimizer=SGD,
        ),
        ("vanishing",),
    ),
    Case(
        "sigmoid x 8, adam",
        config(DIGITS, model={"kind": "mlp", "hidden": [64] * 8, "activation": "sigmoid"}),
        ("vanishing",),
    ),
    Case(
        "relu x 40, default initialization",
        config(DIGITS, model={"kind": "mlp", "hidden": [32] * 40}, optimizer=SGD),
        ("vanishing",),
    ),
    Case(
        "softsign x 25",
        config(
            XOR,
            model={"kind": "mlp", "hidden": [16] * 25, "activation": "softsign"},
            optimizer=sgd(0.05),
        ),
        ("vanishing",),
    ),
    Case(
        "hardsigmoid x 8",
        config(
            SPIRALS,
            model={"kind": "mlp", "hidden": [32] * 8, "activation": "hardsigmoid"},
            optimizer=sgd(0.05),
        ),
        ("vanishing",),
    ),
    Case(
        "sigmoid convolutions x 12",
        config(
            IMAGES,
            model={"stages": TALL, "activation": "sigmoid"},
            optimizer=sgd(0.05),
            train={"steps": 100},
        ),
        ("vanishing",),
    ),
    Case(
        "tanh RNN, 80 steps",
        config(
            SERIES,
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
            SERIES,
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
            TABLE,
            model={"kind": "mlp", "hidden": [32] * 12, "activation": "sigmoid"},
            optimizer=sgd(0.05),
        ),
        ("vanishing",),
    ),
    Case(
        "weights / 10 x 6",
        config(DIGITS, model={"kind": "mlp", "hidden": [64] * 6}, optimizer=SGD),
        ("vanishing",),
        alter=scaled(0.1),
    ),
]
EXPLODING = [
    Case(
        "leaky relu x 20, weights x 5",
        config(
            DIGITS,
            model={"kind": "mlp", "hidden": [64] * 20, "activation": "leaky_relu"},
            optimizer=sgd(1e-3),
        ),
        ("exploding", "divergence"),  # not finite before anything is logged
        alter=scaled(5.0),
    ),
    Case(
        "relu x 12, weights x 8",
        config(DIGITS, model={"kind": "mlp", "hidden": [64] * 12}),
        ("exploding",),
        alter=scaled(8.0),
    ),
    Case(
        "convolutions x 12, weights x 8",
        config(IMAGES, model={"stages": TALL}, train={"steps": 100}),
        ("exploding",),
        alter=scaled(8.0),
    ),
    Case(
        "RNN with large recurrent weights",
        config(
            ADDING,
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
    Case("bias -10 in one layer", config(DIGITS), ("dead",), "2", biased(-10.0, 1)),
    Case("bias -10 in all layers", config(DIGITS), ("dead",), "1", biased(-10.0)),
    Case("bias -10 in a convolution", config(IMAGES), ("dead",), "stage", biased(-10.0, 1)),
    Case("bias -20, spirals", config(SPIRALS), ("dead",), "", biased(-20.0, 0)),
    Case("bias -10, a table", config(TABLE), ("dead",), "1", biased(-10.0)),
]
SATURATED = [
    Case(
        "tanh, weights x 50",
        config(DIGITS, model={"activation": "tanh", "hidden": [64, 64, 64]}, optimizer=sgd(1e-3)),
        ("saturation",),
        alter=scaled(50.0),
    ),
    Case(
        "sigmoid, weights x 200",
        config(
            DIGITS, model={"activation": "sigmoid", "hidden": [64, 64, 64]}, optimizer=adam(1e-4)
        ),
        ("saturation",),
        alter=scaled(200.0),
    ),
    Case(
        "tanh convolutions, weights x 60",
        config(
            IMAGES,
            model={"activation": "tanh", "stages": [{"channels": 8, "blocks": 2}] * 2},
            optimizer=sgd(1e-3),
        ),
        ("saturation",),
        alter=scaled(60.0),
    ),
    Case(
        "tanh, spirals, weights x 100",
        config(SPIRALS, model={"activation": "tanh"}, optimizer=sgd(1e-3)),
        ("saturation",),
        alter=scaled(100.0),
    ),
]
HIGH = ("learning_rate_too_high", "divergence", "exploding")
RATE_TOO_HIGH = [
    Case("adam x 1000", config(DIGITS, optimizer=adam(1.0)), HIGH),
    Case("sgd x 1000", config(DIGITS, optimizer=sgd(20.0)), HIGH),
    Case("adam x 1000, images", config(IMAGES, optimizer=adam(1.0)), HIGH),
    Case("adam x 300, recurrent", config(ADDING, optimizer=adam(3.0)), HIGH),
    Case("adam x 1000, spirals", config(SPIRALS, optimizer=adam(5.0)), HIGH),
    Case(
        "sgd x 100, regression", config(TABLE, data={"path": "price.csv"}, optimizer=sgd(3.0)), HIGH
    ),
    Case("adam x 1000, series", config(SERIES, optimizer=adam(10.0)), HIGH),
    Case("adam x 300, text", config(TEXT, optimizer=adam(3.0)), HIGH),
]
LOW = ("learning_rate_too_low",)
RATE_TOO_LOW = [
    Case("adam / 10^5", config(DIGITS, optimizer=adam(1e-8)), LOW),
    Case("sgd / 10^5", config(DIGITS, optimizer=sgd(1e-6)), LOW),
    Case("adam / 10^5, images", config(IMAGES, optimizer=adam(1e-8)), LOW),
    Case("adam / 10^5, recurrent", config(ADDING, optimizer=adam(1e-7)), LOW),
    Case("adam / 10^5, series", config(SERIES, optimizer=adam(1e-7)), LOW),
    Case("sgd / 10^5, a table", config(TABLE, optimizer=sgd(1e-7)), LOW),
    Case("adam / 10^5, text", config(TEXT, optimizer=adam(1e-7)), LOW),
]
NOTHING = ("no_learning", "overfitting")
NO_LEARNING = [
    Case("shuffled labels, a table", config(TABLE, data={"path": "noise.csv"}), NOTHING),
    Case("shuffled labels, series", config(SERIES, data={"path": "shuffled.npz"}), NOTHING),
    Case("targets unrelated", config(TABLE, data={"path": "unrelated.csv"}), NOTHING),
    Case("random letters", config(TEXT, data={"path": "letters.txt"}), NOTHING),
    Case(
        "a linear model of xor",
        config(XOR, model={"kind": "mlp", "hidden": []}),
        ("no_learning",),
    ),
]
OVERFITTING = [
    Case(
        "80 rows of 30 columns",
        config(
            TABLE,
            data={"path": "small.csv", "validation_fraction": 0.3},
            model={"hidden": [256, 256]},
        ),
        ("overfitting",),
    ),
    Case(
        "80 rows, linear layers wide",
        config(
            TABLE,
            data={"path": "small.csv", "validation_fraction": 0.4, "batch_size": 16},
            model={"hidden": [512]},
            optimizer=adam(1e-2),
        ),
        ("overfitting",),
    ),
    Case(
        "60 noisy series",
        config(SERIES, data={"path": "few.npz", "validation_fraction": 0.4}, model={"hidden": 64}),
        ("overfitting",),
    ),
]
PLATEAU = [
    Case(
        "the rate falls too early",
        config(
            DIGITS,
            optimizer=sgd(0.01),
            schedule={"kind": "multistep", "milestones": [1], "gamma": 1e-4},
            train={"steps": 300},
        ),
        ("plateau",),
    ),
    Case(
        "the rate decays at once",
        config(SPIRALS, schedule={"kind": "exponential", "gamma": 0.3}, train={"steps": 800}),
        ("plateau",),
    ),
    Case(
        "the rate falls too early, images",
        config(
            IMAGES,
            schedule={"kind": "multistep", "milestones": [1], "gamma": 1e-4},
            train={"steps": 250},
        ),
        ("plateau",),
    ),
]
SCALE = [
    Case(
        "inputs around 2,000",
        config(SERIES, data={"path": "large.npz", "standardize": False}),
        ("input_scale",),
    ),
    Case(
        "inputs of 1e-5",
        config(SERIES, data={"path": "tiny.npz", "standardize": False}),
        ("input_scale",),
    ),
    Case("targets of 1e4", config(TABLE, data={"path": "dear.csv"}), ("target_scale",)),
    Case("targets around 3,000", config(TABLE, data={"path": "offset.csv"}), ("target_scale",)),
]
COLLAPSE = [
    Case(
        "5 % positive",
        config(TABLE, data={"path": "rare.csv"}, model={"hidden": [8]}, optimizer=adam(1e-3)),
        ("class_collapse",),
    ),
    Case(
        "3 % positive",
        config(TABLE, data={"path": "rarer.csv"}, model={"hidden": [8]}, optimizer=adam(1e-3)),
        ("class_collapse",),
    ),
    Case(
        "94 : 3 : 3",
        config(TABLE, data={"path": "odd.csv"}, model={"hidden": [8]}, optimizer=adam(1e-3)),
        ("class_collapse",),
    ),
]
SICK = [
    *VANISHING, *EXPLODING, *DEAD, *SATURATED, *RATE_TOO_HIGH, *RATE_TOO_LOW, *NO_LEARNING,
    *OVERFITTING, *PLATEAU, *SCALE, *COLLAPSE,
]  # fmt: skip
