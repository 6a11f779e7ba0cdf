"""Runs that no threshold was set on: written after the verdicts were, and judged once."""

import base
from bank import Case, biased, recurrent_scaled, scaled
from base import HIGH, LOW, NOTHING, adam, config, mlp, sgd

COPY = {"kind": "copy", "symbols": 4, "recall": 2, "delay": 4, "samples": 2000}
LSTM = {"kind": "rnn", "cell": "lstm", "hidden": 24}
TANH_RNN = {"kind": "rnn", "cell": "rnn", "hidden": 24}


HELD_OUT = [
    Case(
        "sigmoid x 14, spirals",
        config(base.SPIRALS, model=mlp(48, 14, "sigmoid"), optimizer=sgd(0.02)),
        ("vanishing",),
    ),
    Case("hardsigmoid x 10", config(base.DIGITS, model=mlp(40, 10, "hardsigmoid")), ("vanishing",)),
    Case(
        "sigmoid x 9, xor",
        config(base.XOR, model=mlp(16, 9, "sigmoid"), optimizer=sgd(0.05)),
        ("vanishing",),
    ),
    Case(
        "tanh RNN of 24, 80 steps",
        config(base.SERIES, data={"path": "early.npz"}, model=TANH_RNN, optimizer=adam(1e-3)),
        ("vanishing",),
        "rnn",
    ),
    Case(
        "gelu x 16, weights x 6",
        config(base.DIGITS, model=mlp(48, 16, "gelu"), optimizer=adam(1e-4)),
        ("exploding",),
        alter=scaled(6.0),
    ),
    Case(
        "RNN with recurrent weights x 5",
        config(base.ADDING, model={**TANH_RNN, "init": "orthogonal"}, optimizer=sgd(0.005)),
        ("exploding", "saturation"),
        "rnn",
        recurrent_scaled(5.0),
    ),
    Case("bias -8 in the first layer", config(base.DIGITS), ("dead",), "1", biased(-8.0, 0)),
    Case("bias -15 in convolutions", config(base.IMAGES), ("dead",), "", biased(-15.0)),
    Case(
        "softsign, weights x 150",
        config(base.SPIRALS, model={"activation": "softsign"}, optimizer=adam(1e-4)),
        ("saturation",),
        alter=scaled(150.0),
    ),
    Case("adam 2", config(base.TABLE, optimizer=adam(2.0)), HIGH),
    Case("rmsprop 1", config(base.DIGITS, optimizer={"kind": "rmsprop", "lr": 1.0}), HIGH),
    Case("sgd 50, series", config(base.SERIES, optimizer=sgd(50.0)), HIGH),
    Case("adam 1, copy", config(base.ADDING, data=COPY, model=LSTM, optimizer=adam(1.0)), HIGH),
    Case("rmsprop 1e-8", config(base.SPIRALS, optimizer={"kind": "rmsprop", "lr": 1e-8}), LOW),
    Case("adamw 1e-8, copy", config(base.ADDING, data=COPY, model=LSTM, optimizer=adam(1e-8)), LOW),
    Case(
        "shuffled labels, gru",
        config(
            base.SERIES,
            data={"path": "shuffled.npz"},
            model={"kind": "rnn", "cell": "gru", "hidden": 16},
        ),
        NOTHING,
    ),
    Case(
        "a linear model of spirals",
        config(base.SPIRALS, model={"kind": "mlp", "hidden": []}),
        NOTHING,
    ),
    Case(
        "80 rows, three layers",
        config(
            base.TABLE,
            data={"path": "small.csv", "validation_fraction": 0.3},
            model={"hidden": [128, 128, 128], "activation": "gelu"},
        ),
        ("overfitting",),
    ),
    Case(
        "a step schedule too early",
        config(base.DIGITS, schedule={"kind": "step", "every_epochs": 1, "gamma": 1e-3}),
        ("plateau",),
    ),
    Case(
        "inputs around 2,000, gru",
        config(
            base.SERIES,
            data={"path": "large.npz", "standardize": False},
            model={"kind": "rnn", "cell": "gru", "hidden": 16},
        ),
        ("input_scale",),
    ),
    Case(
        "targets of 1e4, huber",
        config(base.TABLE, data={"path": "dear.csv"}, loss={"kind": "huber"}),
        ("target_scale",),
    ),
    Case(
        "3 % positive, a linear model",
        config(base.TABLE, data={"path": "rarer.csv"}, model={"hidden": []}, optimizer=adam(3e-3)),
        ("class_collapse",),
    ),
    Case("digits, silu x 4", config(base.DIGITS, model=mlp(48, 4, "silu"))),
    Case(
        "digits, mish, adagrad",
        config(base.DIGITS, model=mlp(64, 2, "mish"), optimizer={"kind": "adagrad", "lr": 0.02}),
    ),
    Case("digits, muon", config(base.DIGITS, optimizer={"kind": "muon"})),
    Case(
        "digits, nadam, elu",
        config(base.DIGITS, model=mlp(64, 3, "elu"), optimizer={"kind": "nadam"}),
    ),
    Case("digits, mse", config(base.DIGITS, loss={"kind": "mse"}, train={"steps": 300})),
    Case(
        "digits, one-cycle",
        config(base.DIGITS, schedule={"kind": "one_cycle"}, optimizer=adam(5e-3)),
    ),
    Case(
        "digits, weight decay",
        config(base.DIGITS, optimizer={"kind": "adamw", "lr": 2e-3, "weight_decay": 0.5}),
    ),
    Case("images, tanh", config(base.IMAGES, model={"activation": "tanh"})),
    Case(
        "images, mixup",
        config(
            base.IMAGES, data={"augment": [{"kind": "mixup"}]}, model={"normalization": "batch"}
        ),
    ),
    Case("images, group norm", config(base.IMAGES, model={"normalization": "group"})),
    Case("images, bf16", config(base.IMAGES, precision="bf16", model={"normalization": "batch"})),
    Case(
        "series, two layers of gru",
        config(base.SERIES, model={"kind": "rnn", "cell": "gru", "hidden": 16, "layers": 2}),
    ),
    Case("series, dropout", config(base.SERIES, model={**LSTM, "dropout": 0.3})),
    Case(
        "copy, gru",
        config(base.ADDING, data=COPY, model={"kind": "rnn", "cell": "gru", "hidden": 48}),
    ),
    Case(
        "text, tanh rnn",
        config(base.TEXT, model={"kind": "rnn", "cell": "rnn", "hidden": 48}, optimizer=adam(5e-3)),
    ),
    Case("spirals, batch norm", config(base.SPIRALS, model={"normalization": "batch"})),
    Case("xor, sgd", config(base.XOR, optimizer=sgd(0.1), train={"steps": 500})),
    Case(
        "parity of 5, tanh",
        config(
            base.XOR,
            data={"kind": "parity", "length": 5, "samples": 2000, "batch_size": 50},
            model={"hidden": [48]},
        ),
    ),
    Case(
        "a table, gelu, layer norm",
        config(
            base.TABLE, model={"hidden": [32, 32], "activation": "gelu", "normalization": "layer"}
        ),
    ),
    Case(
        "a price, l1",
        config(base.TABLE, data={"path": "price.csv"}, loss={"kind": "l1"}, optimizer=adam(1e-2)),
    ),
    Case(
        "three classes, most of one",
        config(
            base.TABLE,
            data={"path": "odd.csv"},
            loss={"kind": "cross_entropy", "label_smoothing": 0.05},
            train={"steps": 60},
        ),
        ("class_collapse",),
    ),
]
