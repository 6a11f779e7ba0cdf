"""Exponential linear units: the identity above 0, below it an exponential that saturates.

Shapes     x, y any shape, the same
Forward    y = s x where x > 0, else s a (e^(c x) - 1)
               elu    a = alpha             s = 1            c = 1
               celu   a = alpha             s = 1            c = 1 / alpha
               selu   a = 1.67326...        s = 1.05070...   c = 1: preserves mean 0, variance 1
Backward   writing x' for dL/dx, given y'
    x' = y' s           where x > 0    because dy/dx = s there
    x' = y' c (y + s a) where x <= 0   because dy/dx = s a c e^(c x), and s a e^(c x) = y + s a;
                                       at x = 0 it is s a c, as in torch: a kink unless a c = 1
Saves      y where a >= 0: then y > 0 exactly where x > 0, the slope is a function of y alone, the
           exponential is not computed again, and the layer that follows saves y anyway. As with
           tanh, a unit that is saturated in the dtype, y = -s a, passes nothing. x where a < 0:
           then y > 0 on both sides (elu), or torch's kernel does not take y (celu)
Cost       1 exponential an element forward, 3 flops backward
Source     Clevert, Unterthiner and Hochreiter 2016, "Fast and accurate deep network learning by
           exponential linear units (ELUs)", section 3; Barron 2017, "Continuously differentiable
           exponential linear units"; Klambauer et al. 2017, "Self-normalizing neural networks",
           equation 2. Unlike torch's celu, whose backward pass rounds alpha to float32 even in
           float64, this one takes alpha as it is given
"""

from typing import NamedTuple

import torch
from torch import Tensor

from bptrain.ops.operation import operation


class Constants(NamedTuple):
    """The constants of one call."""

    a: float
    s: float = 1.0
    c: float = 1.0


class Saved(NamedTuple):
    """What the backward pass reads."""

    y_or_x: Tensor  # y where a >= 0, else x
    constants: Constants


# where the mean 0 and variance 1 of normal inputs are a stable fixed point, to float64's digits
SELU = Constants(a=1.6732632423543772848170429916717, s=1.0507009873554804934193349852946)


def forward(x: Tensor, constants: Constants) -> tuple[Tensor, Saved]:
    """Return y; NaN stays NaN."""
    a, s, c = constants
    y = torch.where(x > 0, s * x, s * a * torch.expm1(c * x))
    return y, _saved(x, y, constants)


def backward(grad_y: Tensor, saved: Saved) -> Tensor:
    """Return x'."""
    y_or_x, (a, s, c) = saved
    depth = s * a  # below 0, as x falls, y goes towards -s a
    # s a e^(c x), from y or from x
    exponential = y_or_x + depth if a >= 0 else depth * (c * y_or_x).exp()
    return torch.where(y_or_x <= 0, grad_y * c * exponential, grad_y * s)


def fused_forward(x: Tensor, constants: Constants) -> tuple[Tensor, Saved]:
    """Return y from one kernel."""
    y: Tensor = torch.ops.aten.elu(x, *constants)
    return y, _saved(x, y, constants)


def fused_backward(grad_y: Tensor, saved: Saved) -> Tensor:
    """Return x' from one kernel."""
    y_or_x, constants = saved
    grad_x: Tensor = torch.ops.aten.elu_backward(grad_y, *constants, constants.a >= 0, y_or_x)
    return grad_x


def _saved(x: Tensor, y: Tensor, constants: Constants) -> Saved:
    return Saved(y if constants.a >= 0 else x, constants)


elu_function = operation(
    forward, backward, fused_forward=fused_forward, fused_backward=fused_backward
)


def elu(input: Tensor, alpha: float = 1.0, inplace: bool = False) -> Tensor:
    """Return input where it is positive, else alpha * (exp(input) - 1)."""
    return elu_function.in_place_if(inplace)(input, Constants(alpha))


def celu(input: Tensor, alpha: float = 1.0, inplace: bool = False) -> Tensor:
    """Return input where it is positive, else alpha * (exp(input / alpha) - 1).

    Raises ValueError for an alpha of 0.
    """
    if alpha == 0:
        raise ValueError("alpha is 0, expected another number: celu divides by it")
    return elu_function.in_place_if(inplace)(input, Constants(alpha, c=1 / alpha))


def selu(input: Tensor, inplace: bool = False) -> Tensor:
    """Return the self-normalizing ELU: 1.0507 * elu(input, 1.6733)."""
    return elu_function.in_place_if(inplace)(input, SELU)
