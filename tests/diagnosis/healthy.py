"""Runs that learn what can be learnt, some of which look odd at first sight."""

import base
from bank import Case
from base import adam, config, sgd

COSINE = {"kind": "cosine", "warmup_steps": 20}
LSTM = {"kind": "rnn", "cell": "lstm", "hidden": 32}
RESIDUAL = {"kind": "mlp", "hidden": [64] * 20, "normalization": "batch", "residual": True}

DENSE = [
    Case("digits", config(base.DIGITS)),
    Case("digits, sgd", config(base.DIGITS, optimizer=sgd(0.05))),
    Case("digits, cosine to 0", config(base.DIGITS, schedule=COSINE, train={"steps": 300})),
    Case(
        "digits, one sigmoid layer",
        config(base.DIGITS, model={"activation": "sigmoid", "hidden": [64]}),
    ),
    Case("digits, tanh", config(base.DIGITS, model={"activation": "tanh"})),
    Case(
        "digits, gelu, layer norm",
        config(base.DIGITS, model={"activation": "gelu", "normalization": "layer"}),
    ),
    Case(
        "digits, batch norm",
        config(base.DIGITS, model={"normalization": "batch"}, optimizer=sgd(0.1)),
    ),
    Case(
        "digits, dropout",
        config(base.DIGITS, model={"hidden": [128], "dropout": 0.5}, train={"steps": 300}),
    ),
    Case(
        "digits, label smoothing",
        config(base.DIGITS, loss={"kind": "cross_entropy", "label_smoothing": 0.1}),
    ),
    Case("digits, 20 residual layers", config(base.DIGITS, model=RESIDUAL, train={"steps": 60})),
    Case(
        "digits, selu x 8",
        config(
            base.DIGITS,
            model={"kind": "mlp", "hidden": [64] * 8, "activation": "selu", "init": "lecun_normal"},
        ),
    ),
    Case(
        "digits, relu x 8, kaiming",
        config(base.DIGITS, model={"kind": "mlp", "hidden": [64] * 8, "init": "kaiming"}),
    ),
    Case(
        "digits, a linear model",
        config(base.DIGITS, model={"kind": "mlp", "hidden": []}, optimizer=adam(1e-2)),
    ),
    Case(
        "digits, long after it has converged",
        config(base.DIGITS, optimizer=adam(3e-3), train={"steps": 600}),
    ),
    Case(
        "digits, clipped",
        config(base.DIGITS, optimizer=sgd(0.1), train={"steps": 200, "clip_grad_norm": 1.0}),
    ),
    Case("xor", config(base.XOR)),
    Case("xor, relu", config(base.XOR, model={"activation": "relu", "hidden": [32]})),
    Case("spirals", config(base.SPIRALS)),
    Case("spirals, tanh", config(base.SPIRALS, model={"activation": "tanh"}, train={"steps": 900})),
    Case(
        "parity of 6",
        config(
            base.XOR,
            data={"kind": "parity", "length": 6, "samples": 3000, "batch_size": 50},
            model={"hidden": [64], "activation": "relu"},
        ),
    ),
]
PICTURES = [
    Case("images", config(base.IMAGES)),
    Case(
        "images, batch norm",
        config(base.IMAGES, model={"normalization": "batch"}, optimizer=sgd(0.05)),
    ),
    Case(
        "images, augmented", config(base.IMAGES, data={"augment": [{"kind": "crop", "padding": 1}]})
    ),
    Case(
        "images, resnet",
        config(
            base.IMAGES,
            model={"kind": "cnn", "preset": "resnet", "depth": 8, "width": 0.5},
            optimizer=sgd(0.05),
            train={"steps": 120},
        ),
    ),
    Case(
        "images, a hidden layer",
        config(base.IMAGES, model={"hidden": [32], "activation": "gelu"}),
    ),
    Case(
        "images, deep with batch norm",
        config(
            base.IMAGES,
            model={"kind": "cnn", "stages": [{"channels": 8, "blocks": 4}] * 2},
            train={"steps": 120},
        ),
    ),
    Case("images, averaged weights", config(base.IMAGES, train={"steps": 200, "ema_decay": 0.95})),
]
OVER_TIME = [
    Case("adding, gru", config(base.ADDING, train={"steps": 500})),
    Case(
        "adding, lstm", config(base.ADDING, model=LSTM, data={"length": 20}, train={"steps": 450})
    ),
    Case("series, lstm", config(base.SERIES)),
    Case(
        "series, gru, bidirectional",
        config(
            base.SERIES, model={"kind": "rnn", "cell": "gru", "hidden": 16, "bidirectional": True}
        ),
    ),
    Case(
        "series, tanh rnn",
        config(
            base.SERIES,
            model={"kind": "rnn", "cell": "rnn", "hidden": 32, "init": "orthogonal"},
            optimizer=adam(3e-3),
        ),
    ),
    Case(
        "series, mlp",
        config(base.SERIES, model={"kind": "mlp", "hidden": [64]}, optimizer=adam(3e-3)),
    ),
    Case("text", config(base.TEXT)),
    Case(
        "text, gru, clipped",
        config(
            base.TEXT,
            model={"kind": "rnn", "cell": "gru", "hidden": 64},
            train={"steps": 200, "clip_grad_norm": 1.0},
        ),
    ),
    Case(
        "copy",
        config(
            base.ADDING,
            data={"kind": "copy", "symbols": 4, "recall": 3, "delay": 3, "samples": 2000},
            model={"kind": "rnn", "cell": "lstm", "hidden": 64},
            train={"steps": 500},
        ),
    ),
]
ROWS = [
    Case("a table", config(base.TABLE)),
    Case("a table, sgd", config(base.TABLE, optimizer=sgd(0.02))),
    Case("a price", config(base.TABLE, data={"path": "price.csv"})),
    Case("a price, scaled", config(base.TABLE, data={"path": "dear.csv", "scale_target": True})),
    Case("a price, huber", config(base.TABLE, data={"path": "price.csv"}, loss={"kind": "huber"})),
    Case("a table, dropout", config(base.TABLE, model={"hidden": [64], "dropout": 0.3})),
    Case(
        "a table, lbfgs",
        config(
            base.TABLE,
            optimizer={"kind": "lbfgs", "iterations": 4},
            data={"batch_size": 1024},
            train={"steps": 6},
        ),
    ),
]
HEALTHY = [*DENSE, *PICTURES, *OVER_TIME, *ROWS]
