"""Gaussian error linear unit: y = x P(normal <= x), the input times the chance that it is large.

Shapes     x, y any shape, the same
Forward    y = x F                   approximate none: F = (1 + erf(x / sqrt 2)) / 2, the normal
                                     distribution, f = e^(-x^2 / 2) / sqrt(2 pi) its density
           y = x (1 + t) / 2         approximate tanh: t = tanh u, u = k (x + 0.044715 x^3),
                                     k = sqrt(2 / pi); y differs by less than 0.0005
Backward   writing x' for dL/dx, given y'
    x' = y' (F + x f)                        because dF/dx = f, and the product rule
    x' = y' ((1 + t) + x (1 - t^2) u_x) / 2  because dt/du = 1 - t^2, and
                                             u_x = du/dx = k (1 + 3 0.044715 x^2)
Keeps      x: y falls below x = -0.75 and rises above it, so two x share one y
Cost       1 erf and 1 exponential an element each way, or 1 tanh
Source     Hendrycks and Gimpel 2016, "Gaussian error linear units (GELUs)", section 2
"""

from math import pi, sqrt
from typing import Any, Literal, get_args

import torch
from torch import Tensor

from bptrain.ops.autocast import first_derivative, in_given_dtype
from bptrain.ops.fused import carried_out_by

Approximation = Literal["none", "tanh"]


def forward(x: Tensor, approximate: Approximation) -> Tensor:
    """Return y."""
    y: Tensor = torch.ops.aten.gelu(x, approximate=approximate)
    return y


def backward_in_one_pass(grad_y: Tensor, x: Tensor, approximate: Approximation) -> Tensor:
    """Return x' from one kernel."""
    grad_x: Tensor = torch.ops.aten.gelu_backward(grad_y, x, approximate=approximate)
    return grad_x


@carried_out_by(backward_in_one_pass)
def backward(grad_y: Tensor, x: Tensor, approximate: Approximation) -> Tensor:
    """Return x', by one of the two lines above."""
    if approximate == "none":
        F = (1 + torch.erf(x / sqrt(2))) / 2
        f = torch.exp(-(x**2) / 2) / sqrt(2 * pi)
        return grad_y * (F + x * f)
    k = sqrt(2 / pi)
    t = torch.tanh(k * (x + 0.044715 * x**3))
    u_x = k * (1 + 3 * 0.044715 * x**2)
    return grad_y * ((1 + t) + x * (1 - t**2) * u_x) / 2


class GELUFunction(torch.autograd.Function):
    """Glue between autograd and the two functions above."""

    @staticmethod
    @in_given_dtype
    def forward(ctx: Any, x: Tensor, approximate: Approximation) -> Tensor:
        """Run the forward pass and keep its input."""
        ctx.save_for_backward(x)
        ctx.approximate = approximate
        return forward(x, approximate)

    @staticmethod
    @first_derivative
    def backward(ctx: Any, grad_y: Tensor) -> tuple[Tensor, None]:
        """Run the backward pass."""
        (x,) = ctx.saved_tensors
        return backward(grad_y, x, ctx.approximate), None


def gelu(input: Tensor, approximate: Approximation = "none") -> Tensor:
    """Return input times the normal distribution at input, or its approximation by a tanh.

    Raises ValueError for another `approximate`.
    """
    if approximate not in get_args(Approximation):
        raise ValueError(f"approximate is {approximate!r}, expected 'none' or 'tanh'")
    y: Tensor = GELUFunction.apply(input, approximate)
    return y
