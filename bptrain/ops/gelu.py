"""Gaussian error linear unit: y = x P(normal <= x), the input weighted by its quantile.

Shapes     x, y any shape, the same
Forward    y = x F                   approximate none: F = (1 + erf(x / sqrt 2)) / 2, the normal
                                     distribution, f = e^(-x^2 / 2) / sqrt(2 pi) its density
           y = x (1 + t) / 2         approximate tanh: t = tanh u, u = k (x + 0.044715 x^3),
                                     k = sqrt(2 / pi); y differs by less than 0.0005
Backward   writing x' for dL/dx, given y'
    x' = y' (F + x f)                        because dF/dx = f, and the product rule
    x' = y' ((1 + t) + x (1 - t^2) u_x) / 2  because dt/du = 1 - t^2, and
                                             u_x = du/dx = k (1 + 3 0.044715 x^2)
Saves      x: y falls below x = -0.75 and rises above it, so two x share one y
Cost       1 erf and 1 exponential an element each way, or 1 tanh
Source     Hendrycks and Gimpel 2016, "Gaussian error linear units (GELUs)", section 2
"""

from math import pi, sqrt
from typing import Literal, NamedTuple, get_args

import torch
from torch import Tensor

from bptrain.ops.operation import operation

Approximation = Literal["none", "tanh"]
SATURATED = 16.0  # |x| beyond which t is -1 or 1 in every dtype


class Saved(NamedTuple):
    """What the backward pass reads."""

    x: Tensor
    approximate: Approximation


def forward(x: Tensor, approximate: Approximation) -> tuple[Tensor, Saved]:
    """Return y, by one of the two lines above."""
    if approximate == "none":
        return x * _normal_distribution(x), Saved(x, approximate)
    t, _ = _tanh_and_slope(x)
    return x * ((1 + t) / 2), Saved(x, approximate)


def backward(grad_y: Tensor, saved: Saved) -> Tensor:
    """Return x', by one of the two lines above."""
    x, approximate = saved
    if approximate == "none":
        F = _normal_distribution(x)
        f = torch.exp(-(x**2) / 2) / sqrt(2 * pi)
        return grad_y * (F + x * f)
    t, u_x = _tanh_and_slope(x)
    return grad_y * (((1 + t) + x * (1 - t**2) * u_x) / 2)


def _normal_distribution(x: Tensor) -> Tensor:
    """Return F."""
    return torch.erfc(-x / sqrt(2)) / 2  # 1 + erf, which would cancel where x is far below 0


def _tanh_and_slope(x: Tensor) -> tuple[Tensor, Tensor]:
    """Return t and u_x."""
    # Symptom without the clamp: x' is NaN beyond 256 in float16. Cause: x^2 overflows where 1 - t^2
    # is 0. Remedy: an x where t is saturated already.
    x = x.clamp(-SATURATED, SATURATED)
    k = sqrt(2 / pi)
    return torch.tanh(k * (x + 0.044715 * x**3)), k * (1 + 3 * 0.044715 * x**2)


def fused_forward(x: Tensor, approximate: Approximation) -> tuple[Tensor, Saved]:
    """Return y from one kernel."""
    y: Tensor = torch.ops.aten.gelu(x, approximate=approximate)
    return y, Saved(x, approximate)


def fused_backward(grad_y: Tensor, saved: Saved) -> Tensor:
    """Return x' from one kernel."""
    x, approximate = saved
    grad_x: Tensor = torch.ops.aten.gelu_backward(grad_y, x, approximate=approximate)
    return grad_x


gelu_function = operation(
    forward, backward, fused_forward=fused_forward, fused_backward=fused_backward
)


def gelu(input: Tensor, approximate: Approximation = "none") -> Tensor:
    """Return input times the normal distribution at input, or its approximation by a tanh.

    Raises ValueError for another `approximate`.
    """
    if approximate not in get_args(Approximation):
        raise ValueError(f"approximate is {approximate!r}, expected 'none' or 'tanh'")
    return gelu_function(input, approximate)
