"""Runs that learn what can be learnt, some of which look odd at first sight."""

from bank import ADDING, DIGITS, IMAGES, SERIES, SPIRALS, TABLE, TEXT, XOR, Case, config


def adam(lr: float) -> dict[str, object]:
    return {"kind": "adam", "lr": lr}


def sgd(lr: float) -> dict[str, object]:
    return {"kind": "sgd", "lr": lr, "momentum": 0.9}


COSINE = {"kind": "cosine", "warmup_steps": 20}
LSTM = {"kind": "rnn", "cell": "lstm", "hidden": 32}
RESIDUAL = {"kind": "mlp", "hidden": [64] * 20, "normalization": "batch", "residual": True}

DENSE = [
    Case("digits", config(DIGITS)),
    Case("digits, sgd", config(DIGITS, optimizer=sgd(0.05))),
    Case("digits, cosine to 0", config(DIGITS, schedule=COSINE, train={"steps": 300})),
    Case(
        "digits, one sigmoid layer", config(DIGITS, model={"activation": "sigmoid", "hidden": [64]})
    ),
    Case("digits, tanh", config(DIGITS, model={"activation": "tanh"})),
    Case(
        "digits, gelu, layer norm",
        config(DIGITS, model={"activation": "gelu", "normalization": "layer"}),
    ),
    Case(
        "digits, batch norm", config(DIGITS, model={"normalization": "batch"}, optimizer=sgd(0.1))
    ),
    Case(
        "digits, dropout",
        config(DIGITS, model={"hidden": [128], "dropout": 0.5}, train={"steps": 300}),
    ),
    Case(
        "digits, label smoothing",
        config(DIGITS, loss={"kind": "cross_entropy", "label_smoothing": 0.1}),
    ),
    Case("digits, 20 residual layers", config(DIGITS, model=RESIDUAL, train={"steps": 60})),
    Case(
        "digits, selu x 8",
        config(
            DIGITS,
            model={"kind": "mlp", "hidden": [64] * 8, "activation": "selu", "init": "lecun_normal"},
        ),
    ),
    Case(
        "digits, relu x 8, kaiming",
        config(DIGITS, model={"kind": "mlp", "hidden": [64] * 8, "init": "kaiming"}),
    ),
    Case(
        "digits, a linear model",
        config(DIGITS, model={"kind": "mlp", "hidden": []}, optimizer=adam(1e-2)),
    ),
    Case(
        "digits, long after it has converged",
        config(DIGITS, optimizer=adam(3e-3), train={"steps": 600}),
    ),
    Case(
        "digits, clipped",
        config(DIGITS, optimizer=sgd(0.1), train={"steps": 200, "clip_grad_norm": 1.0}),
    ),
    Case("xor", config(XOR)),
    Case("xor, relu", config(XOR, model={"activation": "relu", "hidden": [32]})),
    Case("spirals", config(SPIRALS)),
    Case("spirals, tanh", config(SPIRALS, model={"activation": "tanh"}, train={"steps": 900})),
    Case(
        "parity of 6",
        config(
            XOR,
            data={"kind": "parity", "length": 6, "samples": 3000, "batch_size": 50},
            model={"hidden": [64], "activation": "relu"},
        ),
    ),
]
PICTURES = [
    Case("images", config(IMAGES)),
    Case(
        "images, batch norm", config(IMAGES, model={"normalization": "batch"}, optimizer=sgd(0.05))
    ),
    Case("images, augmented", config(IMAGES, data={"augment": [{"kind": "crop", "padding": 1}]})),
    Case(
        "images, resnet",
        config(
            IMAGES,
            model={"kind": "cnn", "preset": "resnet", "depth": 8, "width": 0.5},
            optimizer=sgd(0.05),
            train={"steps": 120},
        ),
    ),
    Case(
        "images, a hidden layer",
        config(IMAGES, model={"hidden": [32], "activation": "gelu"}),
    ),
    Case(
        "images, deep with batch norm",
        config(
            IMAGES,
            model={"kind": "cnn", "stages": [{"channels": 8, "blocks": 4}] * 2},
            train={"steps": 120},
        ),
    ),
    Case("images, averaged weights", config(IMAGES, train={"steps": 200, "ema_decay": 0.95})),
]
OVER_TIME = [
    Case("adding, gru", config(ADDING, train={"steps": 500})),
    Case("adding, lstm", config(ADDING, model=LSTM, data={"length": 20}, train={"steps": 450})),
    Case("series, lstm", config(SERIES)),
    Case(
        "series, gru, bidirectional",
        config(SERIES, model={"kind": "rnn", "cell": "gru", "hidden": 16, "bidirectional": True}),
    ),
    Case(
        "series, tanh rnn",
        config(
            SERIES,
            model={"kind": "rnn", "cell": "rnn", "hidden": 32, "init": "orthogonal"},
            optimizer=adam(3e-3),
        ),
    ),
    Case(
        "series, mlp", config(SERIES, model={"kind": "mlp", "hidden": [64]}, optimizer=adam(3e-3))
    ),
    Case("text", config(TEXT)),
    Case(
        "text, gru, clipped",
        config(
            TEXT,
            model={"kind": "rnn", "cell": "gru", "hidden": 64},
            train={"steps": 200, "clip_grad_norm": 1.0},
        ),
    ),
    Case(
        "copy",
        config(
            ADDING,
            data={"kind": "copy", "symbols": 4, "recall": 3, "delay": 3, "samples": 2000},
            model={"kind": "rnn", "cell": "lstm", "hidden": 64},
            train={"steps": 500},
        ),
    ),
]
ROWS = [
    Case("a table", config(TABLE)),
    Case("a table, sgd", config(TABLE, optimizer=sgd(0.02))),
    Case("a price", config(TABLE, data={"path": "price.csv"})),
    Case("a price, scaled", config(TABLE, data={"path": "dear.csv", "scale_target": True})),
    Case("a price, huber", config(TABLE, data={"path": "price.csv"}, loss={"kind": "huber"})),
    Case("a table, dropout", config(TABLE, model={"hidden": [64], "dropout": 0.3})),
    Case(
        "a table, lbfgs",
        config(
            TABLE,
            optimizer={"kind": "lbfgs", "iterations": 4},
            data={"batch_size": 1024},
            train={"steps": 6},
        ),
    ),
]
HEALTHY = [*DENSE, *PICTURES, *OVER_TIME, *ROWS]
