"""Runs that no threshold was set on: written after the verdicts were, and judged once."""

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
from healthy import adam, sgd
from sick import HIGH, LOW, NOTHING

COPY = {"kind": "copy", "symbols": 4, "recall": 2, "delay": 4, "samples": 2000}
LSTM = {"kind": "rnn", "cell": "lstm", "hidden": 24}
TANH_RNN = {"kind": "rnn", "cell": "rnn", "hidden": 24}


def mlp(width: int, depth: int, activation: str) -> dict[str, object]:
    return {"kind": "mlp", "hidden": [width] * depth, "activation": activation}


HELD_OUT = [
    Case(
        "sigmoid x 14, spirals",
        config(SPIRALS, model=mlp(48, 14, "sigmoid"), optimizer=sgd(0.02)),
        ("vanishing",),
    ),
    Case("hardsigmoid x 10", config(DIGITS, model=mlp(40, 10, "hardsigmoid")), ("vanishing",)),
    Case(
        "sigmoid x 9, xor",
        config(XOR, model=mlp(16, 9, "sigmoid"), optimizer=sgd(0.05)),
        ("vanishing",),
    ),
    Case(
        "tanh RNN of 24, 80 steps",
        config(SERIES, data={"path": "early.npz"}, model=TANH_RNN, optimizer=adam(1e-3)),
        ("vanishing",),
        "rnn",
    ),
    Case(
        "gelu x 16, weights x 6",
        config(DIGITS, model=mlp(48, 16, "gelu"), optimizer=adam(1e-4)),
        ("exploding",),
        alter=scaled(6.0),
    ),
    Case(
        "RNN with recurrent weights x 5",
        config(ADDING, model={**TANH_RNN, "init": "orthogonal"}, optimizer=sgd(0.005)),
        ("exploding", "saturation"),
        "rnn",
        recurrent_scaled(5.0),
    ),
    Case("bias -8 in the first layer", config(DIGITS), ("dead",), "1", biased(-8.0, 0)),
    Case("bias -15 in convolutions", config(IMAGES), ("dead",), "", biased(-15.0)),
    Case(
        "softsign, weights x 150",
        config(SPIRALS, model={"activation": "softsign"}, optimizer=adam(1e-4)),
        ("saturation",),
        alter=scaled(150.0),
    ),
    Case("adam 2", config(TABLE, optimizer=adam(2.0)), HIGH),
    Case("rmsprop 1", config(DIGITS, optimizer={"kind": "rmsprop", "lr": 1.0}), HIGH),
    Case("sgd 50, series", config(SERIES, optimizer=sgd(50.0)), HIGH),
    Case("adam 1, copy", config(ADDING, data=COPY, model=LSTM, optimizer=adam(1.0)), HIGH),
    Case("rmsprop 1e-8", config(SPIRALS, optimizer={"kind": "rmsprop", "lr": 1e-8}), LOW),
    Case("adamw 1e-8, copy", config(ADDING, data=COPY, model=LSTM, optimizer=adam(1e-8)), LOW),
    Case(
        "shuffled labels, gru",
        config(
            SERIES,
            data={"path": "shuffled.npz"},
            model={"kind": "rnn", "cell": "gru", "hidden": 16},
        ),
        NOTHING,
    ),
    Case(
        "a linear model of spirals", config(SPIRALS, model={"kind": "mlp", "hidden": []}), NOTHING
    ),
    Case(
        "80 rows, three layers",
        config(
            TABLE,
            data={"path": "small.csv", "validation_fraction": 0.3},
            model={"hidden": [128, 128, 128], "activation": "gelu"},
        ),
        ("overfitting",),
    ),
    Case(
        "a step schedule too early",
        config(DIGITS, schedule={"kind": "step", "every_epochs": 1, "gamma": 1e-3}),
        ("plateau",),
    ),
    Case(
        "inputs around 2,000, gru",
        config(
            SERIES,
            data={"path": "large.npz", "standardize": False},
            model={"kind": "rnn", "cell": "gru", "hidden": 16},
        ),
        ("input_scale",),
    ),
    Case(
        "targets of 1e4, huber",
        config(TABLE, data={"path": "dear.csv"}, loss={"kind": "huber"}),
        ("target_scale",),
    ),
    Case(
        "3 % positive, a linear model",
        config(TABLE, data={"path": "rarer.csv"}, model={"hidden": []}, optimizer=adam(3e-3)),
        ("class_collapse",),
    ),
    Case("digits, silu x 4", config(DIGITS, model=mlp(48, 4, "silu"))),
    Case(
        "digits, mish, adagrad",
        config(DIGITS, model=mlp(64, 2, "mish"), optimizer={"kind": "adagrad", "lr": 0.02}),
    ),
    Case("digits, muon", config(DIGITS, optimizer={"kind": "muon"})),
    Case(
        "digits, nadam, elu", config(DIGITS, model=mlp(64, 3, "elu"), optimizer={"kind": "nadam"})
    ),
    Case("digits, mse", config(DIGITS, loss={"kind": "mse"}, train={"steps": 300})),
    Case("digits, one-cycle", config(DIGITS, schedule={"kind": "one_cycle"}, optimizer=adam(5e-3))),
    Case(
        "digits, weight decay",
        config(DIGITS, optimizer={"kind": "adamw", "lr": 2e-3, "weight_decay": 0.5}),
    ),
    Case("images, tanh", config(IMAGES, model={"activation": "tanh"})),
    Case(
        "images, mixup",
        config(IMAGES, data={"augment": [{"kind": "mixup"}]}, model={"normalization": "batch"}),
    ),
    Case("images, group norm", config(IMAGES, model={"normalization": "group"})),
    Case("images, bf16", config(IMAGES, precision="bf16", model={"normalization": "batch"})),
    Case(
        "series, two layers of gru",
        config(SERIES, model={"kind": "rnn", "cell": "gru", "hidden": 16, "layers": 2}),
    ),
    Case("series, dropout", config(SERIES, model={**LSTM, "dropout": 0.3})),
    Case(
        "copy, gru", config(ADDING, data=COPY, model={"kind": "rnn", "cell": "gru", "hidden": 48})
    ),
    Case(
        "text, tanh rnn",
        config(TEXT, model={"kind": "rnn", "cell": "rnn", "hidden": 48}, optimizer=adam(5e-3)),
    ),
    Case("spirals, batch norm", config(SPIRALS, model={"normalization": "batch"})),
    Case("xor, sgd", config(XOR, optimizer=sgd(0.1), train={"steps": 500})),
    Case(
        "parity of 5, tanh",
        config(
            XOR,
            data={"kind": "parity", "length": 5, "samples": 2000, "batch_size": 50},
            model={"hidden": [48]},
        ),
    ),
    Case(
        "a table, gelu, layer norm",
        config(TABLE, model={"hidden": [32, 32], "activation": "gelu", "normalization": "layer"}),
    ),
    Case(
        "a price, l1",
        config(TABLE, data={"path": "price.csv"}, loss={"kind": "l1"}, optimizer=adam(1e-2)),
    ),
    Case(
        "three classes, most of one",
        config(
            TABLE,
            data={"path": "odd.csv"},
            loss={"kind": "cross_entropy", "label_smoothing": 0.05},
            train={"steps": 60},
        ),
        ("class_collapse",),
    ),
]
