"""Operations at sizes at which a sum in 16 bits goes wrong: 20,000 terms, all of one sign."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from bptrain import ops
from bptrain.verify.named_tensors import Tensors

ROWS = 20_000
GENERATOR = torch.Generator().manual_seed(0)
Case = tuple[Callable[..., Tensor], Tensors]


def positive(*shape: int) -> Tensor:
    return torch.rand(shape, generator=GENERATOR, dtype=torch.float64) + 0.5


def normal(*shape: int) -> Tensor:
    return torch.randn(shape, generator=GENERATOR, dtype=torch.float64)


def on(function: Callable[..., Any], **options: Any) -> Callable[..., Tensor]:
    """Return the function of tensors by name, with these options."""
    return lambda **tensors: function(**tensors, **options)


def norm(function: Callable[..., Tensor], *options: Any) -> Callable[..., Tensor]:
    """Return the normalization of its input, with these arguments before its parameters."""

    def normalize(**tensors: Tensor) -> Tensor:
        x, *parameters = tensors.values()
        return function(x, *options, *parameters)

    return normalize


def batch_norm(input: Tensor, weight: Tensor, bias: Tensor, training: bool) -> Tensor:
    zeros, ones = torch.zeros_like(weight), torch.ones_like(weight)
    return ops.batch_norm(input, zeros, ones, weight, bias, training)


def batch_norm_relu(input: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    return ops.batch_norm_relu(input, None, None, weight, bias)


def attend(query: Tensor, key: Tensor, value: Tensor, **mask: Tensor) -> Tensor:
    return ops.scaled_dot_product_attention(query, key, value, *mask.values())


def recurrent(op: str, gates: int) -> dict[str, Case]:
    """Return a recurrent network over many sequences, one over many steps, and its cell."""

    def run(input: Tensor, h: Tensor, **rest: Tensor) -> Tensor:
        state = (h, h) if op == "lstm" else h
        weights = list(rest.values())
        found = getattr(ops, op)(input, state, weights, True, 1, 0.0, False, False, False)
        return found[0]

    def step(input: Tensor, h: Tensor, **rest: Tensor) -> Tensor:
        found = getattr(ops, f"{op}_cell")(input, (h, h) if op == "lstm" else h, *rest.values())
        return found[0] if op == "lstm" else found

    def tensors(*shape: int) -> Tensors:
        weights = {"w_ih": normal(gates * 2, 3), "w_hh": normal(gates * 2, 2)}
        biases = {"b_ih": normal(gates * 2), "b_hh": normal(gates * 2)}
        h = positive(1, shape[-2], 2)
        # positive: a relu that is never on would pass no gradient
        smaller = {name: 0.2 * each.abs() for name, each in (weights | biases).items()}
        return {"input": positive(*shape), "h": h, **smaller}

    cell = tensors(ROWS, 3)
    return {
        f"{op}: many sequences": (run, tensors(2, ROWS // 2, 3)),
        f"{op}: many steps": (run, tensors(400, 2, 3)),
        f"{op}_cell: many rows": (step, cell | {"h": cell["h"][0]}),
    }


def resized(mode: str) -> dict[str, Case]:
    """Return a plane that is enlarged so that each input has thousands of outputs."""
    enlarge = on(ops.interpolate, size=(150, 150), mode=mode)
    return {f"interpolate: {mode}": (enlarge, {"input": positive(2, 2, 3, 3)})}


def padded(mode: str) -> dict[str, Case]:
    """Return a plane in a frame of its own values."""
    frame = {"replicate": 70, "reflect": 2, "circular": 3}[mode]
    around = on(ops.pad, pad=(frame,) * 4, mode=mode)
    return {f"pad: {mode}": (around, {"input": positive(1, 2, 3, 3)})}


def loss(op: str, **options: Any) -> dict[str, Case]:
    """Return a loss of many elements."""
    given = {"input": 0.4 * positive(ROWS // 4, 3), "target": 0.5 * positive(ROWS // 4, 3)}
    return {f"{op}: sum": (on(getattr(ops, op), reduction="sum", **options), given)}


def classes(op: str) -> dict[str, Case]:
    t = torch.arange(ROWS) % 3
    return {
        f"{op}: many samples": (on(getattr(ops, op), target=t), {"input": normal(ROWS, 3)}),
        f"{op}: many classes": (on(getattr(ops, op), target=t[:3]), {"input": normal(3, ROWS)}),
    }


CONVOLUTIONS: dict[str, Case] = {
    f"{op}: {name}": (
        on(getattr(ops, op), **options),
        {"input": positive(2, 2, *axes), "weight": positive(*weight), "bias": normal(weight[-1])},
    )
    for op, name, axes, weight, options in [
        ("conv1d", "a long line", (ROWS,), (3, 2, 3), {}),
        ("conv2d", "a large plane", (100, 100), (3, 2, 3, 3), {}),
        ("conv2d_relu", "a large plane", (100, 100), (3, 2, 3, 3), {}),
        ("conv2d", "by channel", (100, 100), (2, 1, 2, 2), {"groups": 2}),
        ("conv3d", "a large cube", (20, 20, 20), (3, 2, 3, 3, 3), {}),
        ("conv_transpose1d", "a long line", (ROWS,), (2, 3, 3), {}),
        ("conv_transpose2d", "a large plane", (100, 100), (2, 3, 3, 3), {}),
    ]
}
POOLINGS: dict[str, Case] = {
    f"{op}: {name}": (on(getattr(ops, op), **options), {"input": positive(*shape)})
    for op, name, shape, options in [
        ("avg_pool1d", "overlap", (1, 2, 2000), {"kernel_size": 501, "stride": 1, "padding": 250}),
        ("avg_pool1d", "one window", (2, 2, ROWS), {"kernel_size": ROWS}),
        ("avg_pool2d", "overlap", (1, 2, 40, 40), {"kernel_size": 31, "stride": 1, "padding": 15}),
        (
            "max_pool1d",
            "one wins all",
            (1, 1, 999),
            {"kernel_size": 999, "stride": 1, "padding": 499},
        ),
        ("max_pool2d", "overlap", (1, 2, 40, 40), {"kernel_size": 31, "stride": 1, "padding": 15}),
        (
            "relu_max_pool2d",
            "overlap",
            (1, 2, 40, 40),
            {"kernel_size": 31, "stride": 1, "padding": 15},
        ),
        ("adaptive_avg_pool1d", "enlarged", (1, 1, 3), {"output_size": 2000}),
        ("adaptive_avg_pool2d", "enlarged", (1, 1, 3, 3), {"output_size": 64}),
        ("adaptive_avg_pool2d", "one", (2, 2, 150, 150), {"output_size": 1}),
        ("adaptive_max_pool2d", "enlarged", (1, 1, 3, 3), {"output_size": 64}),
    ]
}
NORMS: dict[str, Case] = {
    f"{op}: {name}": (
        function,
        {"input": normal(*shape) + 0.7, "weight": positive(n)} | ({"bias": normal(n)} if n else {}),
    )
    for op, name, function, shape, n in [
        ("layer_norm", "many samples", norm(ops.layer_norm, (8,)), (ROWS, 8), 8),
        ("group_norm", "many samples", norm(ops.group_norm, 2), (ROWS, 4, 2), 4),
        ("group_norm", "a long line", norm(ops.group_norm, 2), (2, 4, ROWS), 4),
        ("instance_norm", "a long line", norm(ops.instance_norm, None, None), (2, 4, ROWS), 4),
        ("instance_norm", "samples", norm(ops.instance_norm, None, None), (ROWS // 4, 4, 4), 4),
        ("batch_norm", "training", on(batch_norm, training=True), (ROWS, 4), 4),
        ("batch_norm_relu", "training", batch_norm_relu, (ROWS, 4), 4),
        ("batch_norm", "evaluation", on(batch_norm, training=False), (ROWS, 4), 4),
        ("batch_norm", "planes", on(batch_norm, training=True), (8, 4, 50, 50), 4),
    ]
}
LOSSES: dict[str, Case] = {
    **classes("cross_entropy"),
    **classes("nll_loss"),
    **loss("mse_loss"),
    **loss("l1_loss"),
    **loss("smooth_l1_loss"),
    **loss("huber_loss"),
    **loss("binary_cross_entropy"),
    **loss("binary_cross_entropy_with_logits"),
    **loss("kl_div"),
    **loss("poisson_nll_loss"),
    "cross_entropy: probabilities": (
        ops.cross_entropy,
        {"input": normal(ROWS, 3), "target": positive(ROWS, 3), "weight": positive(3)},
    ),
    "hinge_embedding_loss: sum": (
        on(ops.hinge_embedding_loss, target=torch.ones(ROWS), reduction="sum"),
        {"input": positive(ROWS)},
    ),
    "gaussian_nll_loss: one variance a row": (
        ops.gaussian_nll_loss,
        {"input": positive(2, ROWS), "target": 3 + positive(2, ROWS), "var": positive(2, 1)},
    ),
    "cosine_embedding_loss: long": (
        on(ops.cosine_embedding_loss, target=torch.ones(3)),
        {"input1": positive(3, ROWS), "input2": positive(3, ROWS)},
    ),
    "margin_ranking_loss: mean": (
        on(ops.margin_ranking_loss, target=torch.ones(ROWS), margin=5.0),
        {"input1": positive(ROWS), "input2": positive(ROWS)},
    ),
    "triplet_margin_loss: long": (
        on(ops.triplet_margin_loss, margin=100.0),
        {"anchor": positive(3, ROWS), "positive": normal(3, ROWS), "negative": normal(3, ROWS)},
    ),
}
CASES: dict[str, Case] = {
    "linear: many rows": (
        ops.linear,
        {"input": positive(ROWS, 8), "weight": positive(6, 8), "bias": normal(6)},
    ),
    "linear_relu: many rows": (
        ops.linear_relu,
        {"input": positive(ROWS, 8), "weight": positive(6, 8), "bias": positive(6)},
    ),
    "linear_cross_entropy: many rows": (
        on(ops.linear_cross_entropy, target=torch.zeros(ROWS, dtype=torch.int64)),
        {"input": positive(ROWS, 8), "linear_weight": normal(6, 8), "linear_bias": normal(6)},
    ),
    "bilinear: many rows": (
        ops.bilinear,
        {
            "input1": positive(ROWS, 4),
            "input2": positive(ROWS, 3),
            "weight": positive(2, 4, 3),
            "bias": normal(2),
        },
    ),
    "rms_norm: many samples": (
        norm(ops.rms_norm, (8,)),
        {"input": normal(ROWS, 8) + 0.7, "weight": positive(8)},
    ),
    "embedding: a row read often": (
        lambda weight: ops.embedding(torch.arange(ROWS) % 5, weight),
        {"weight": normal(6, 3)},
    ),
    "embedding: the mean of its uses": (
        lambda weight: ops.embedding(torch.arange(ROWS) % 5, weight, scale_grad_by_freq=True),
        {"weight": normal(6, 3)},
    ),
    "prelu: one slope": (ops.prelu, {"input": -positive(ROWS, 3), "weight": positive(1)}),
    "prelu: by channel": (ops.prelu, {"input": -positive(ROWS, 3), "weight": positive(3)}),
    "softmax: long": (on(ops.softmax, dim=0), {"input": normal(ROWS, 3)}),
    "log_softmax: long": (on(ops.log_softmax, dim=0), {"input": normal(ROWS, 3)}),
    "local_response_norm: wide": (
        on(ops.local_response_norm, size=501, alpha=100.0),
        {"input": positive(1, 1000, 3)},
    ),
    "scaled_dot_product_attention: many queries": (
        attend,
        {
            "query": 0.1 * normal(1, 1, 5 * ROWS, 4),
            "key": positive(1, 1, 3, 4),
            "value": positive(1, 1, 3, 4),
        },
    ),
    "scaled_dot_product_attention: one mask": (
        attend,
        {
            "query": normal(ROWS // 4, 1, 3, 4),
            "key": normal(ROWS // 4, 1, 3, 4),
            "value": normal(ROWS // 4, 1, 3, 4),
            "mask": normal(3, 3),
        },
    ),
    "mean": (on(ops.mean, dim=0), {"input": positive(ROWS, 4)}),
    "rotary: angles of many rows": (
        on(ops.rotary),
        {"input": positive(ROWS, 2, 4), "cos": positive(2, 2), "sin": positive(2, 2)},
    ),
    "mul": (on(ops.mul), {"input": positive(ROWS, 4), "other": positive(4)}),
    **CONVOLUTIONS,
    **POOLINGS,
    **NORMS,
    **LOSSES,
    **recurrent("rnn_tanh", 1),
    **recurrent("rnn_relu", 1),
    **recurrent("lstm", 4),
    **recurrent("gru", 3),
    **{
        name: case
        for mode in ("nearest", "bilinear", "bicubic")
        for name, case in resized(mode).items()
    },
    **{
        name: case
        for mode in ("replicate", "reflect", "circular")
        for name, case in padded(mode).items()
    },
}
WITHOUT_LONG_SUMS = {
    "add": "two terms",
    "cat": "copies",
    "flatten": "copies",
    "pixel_shuffle": "copies",
    "ctc_loss": "float32 under every policy, which its own tests hold to",
    **dict.fromkeys(
        [
            *("alpha_dropout", "celu", "dropout", "dropout1d", "dropout2d", "elu", "gelu", "glu"),
            *("hardsigmoid", "hardswish", "hardtanh", "leaky_relu", "logsigmoid", "mish", "relu"),
            *("relu_dropout", "relu6", "selu", "sigmoid", "silu", "softplus", "softsign", "tanh"),
        ],
        "element by element",
    ),
}
