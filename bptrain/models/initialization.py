"""Initial weights by scheme, each of which keeps the variance of activations over depth."""

from math import sqrt
from typing import Any, Literal, cast

import torch
from torch import Tensor, nn

from bptrain.models.activations import ACTIVATIONS, Activation

Initialization = Literal[
    "default", "kaiming", "kaiming_normal", "kaiming_uniform", "xavier", "xavier_normal",
    "xavier_uniform", "orthogonal", "lecun_normal",
]  # fmt: skip

TORCHS_GAINS = {"relu", "leaky_relu", "tanh", "sigmoid", "selu"}  # of nn.init.calculate_gain
SMOOTH_RELUS = {"gelu", "silu", "mish", "hardswish"}


def initialize(model: nn.Module, scheme: Initialization, activation: Activation | None) -> None:
    """Draw the weights of each linear and convolution layer again, and set its biases to 0.

    default          torch.nn's own initialization is left as it is
    kaiming_normal   N(0, g^2 / fan_in), g the gain of the activation: He et al. 2015; `kaiming` too
    kaiming_uniform  the same std, uniform: U(-a, a), a = g sqrt(3 / fan_in)
    xavier_uniform   U(-a, a), a = g sqrt(6 / (fan_in + fan_out)): Glorot and Bengio 2010,
                     equation 16; `xavier` too
    xavier_normal    the same std, normal: N(0, 2 g^2 / (fan_in + fan_out))
    orthogonal       g times a matrix [O, rest] of orthonormal rows or columns: Saxe et al. 2014
    lecun_normal     N(0, 1 / fan_in), which selu assumes: Klambauer et al. 2017

    activation  the one after the layers; None for a gain of 1
    """
    if scheme == "default":
        return
    gain = 1.0 if activation is None else gain_of(activation)
    for layer in model.modules():
        if isinstance(layer, (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)):
            if not layer.weight.is_meta:  # only its shape is read
                _draw(layer.weight, scheme, gain)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)


def gain_of(activation: Activation) -> float:
    """Return the factor on the weights that keeps the mean square through an activation.

    torch's value where it has one. Elsewhere g = 1 / sqrt(E f(z)^2), z ~ N(0, 1): the outputs' mean
    square times g^2 is again 1, and relu's g is torch's sqrt(2). For gelu, silu, mish and hardswish
    g would be 1.49 to 1.74. But they approach relu for large inputs, which any gain above relu's
    would amplify from layer to layer: they get relu's gain.
    """
    if activation in SMOOTH_RELUS:
        activation = "relu"
    if activation in TORCHS_GAINS:
        return float(nn.init.calculate_gain(cast("Any", activation)))
    z = torch.linspace(-8, 8, 8001, dtype=torch.float64)
    density = torch.softmax(-z.square() / 2, 0)  # sums to 1
    return float((density * ACTIVATIONS[activation]()(z).square()).sum().rsqrt())


def _draw(weight: Tensor, scheme: Initialization, gain: float) -> None:
    fan_in = weight[0].numel()
    match scheme:
        case "kaiming" | "kaiming_normal":
            nn.init.normal_(weight, 0, gain / sqrt(fan_in))
        case "kaiming_uniform":
            bound = gain * sqrt(3 / fan_in)
            nn.init.uniform_(weight, -bound, bound)
        case "xavier" | "xavier_uniform":
            nn.init.xavier_uniform_(weight, gain)
        case "xavier_normal":
            nn.init.xavier_normal_(weight, gain)
        case "orthogonal":
            nn.init.orthogonal_(weight, gain)
        case "lecun_normal":
            nn.init.normal_(weight, 0, 1 / sqrt(fan_in))
