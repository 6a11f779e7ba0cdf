"""Exponential linear units: the identity above 0, below it an exponential that levels off.

Shapes     x, y any shape, the same
Forward    y = s x where x > 0, else s a (e^(c x) - 1)
               elu    a = alpha             s = 1            c = 1
               celu   a = alpha             s = 1            c = 1 / alpha
               selu   a = 1.67326...        s = 1.05070...   c = 1: mean 0 and variance 1 are kept
Backward   writing x' for dL/dx, given y'
    x' = y' s           where x > 0    because dy/dx = s there
    x' = y' c (y + s a) where x <= 0   because dy/dx = s a c e^(c x), and s a e^(c x) = y + s a;
                                       at x = 0 it is s a c, as in torch: a kink unless a c = 1
Keeps      y where a >= 0: then y > 0 exactly where x > 0, the slope is a function of y alone, the
           exponential is not computed again, and the layer that follows keeps y anyway. As with
           tanh, a unit that is saturated in the dtype, y = -s a, passes nothing. x where a < 0:
           then y > 0 on both sides (elu), or torch's kernel does not take y (celu)
Cost       1 exponential an element forward, 3 flops backward
Source     Clevert, Unterthiner and Hochreiter 2016, "Fast and accurate deep network learning by
           exponential linear units (ELUs)", section 3; Barron 2017, "Continuously differentiable
           exponential linear units"; Klambauer et al. 2017, "Self-normalizing neural networks",
           equation 2. Unlike torch's celu, whose backward pass rounds alpha to float32 even in
           float64, this one takes alpha as it is given
"""

from typing import Any, NamedTuple

import torch
from torch import Tensor

from bptrain.ops.autocast import first_derivative, in_given_dtype
from bptrain.ops.fused import carried_out_by


class Constants(NamedTuple):
    """The constants of one call."""

    a: float
    s: float = 1.0
    c: float = 1.0


# where the mean 0 and variance 1 of normal inputs are a stable fixed point, to float64's digits
SELU = Constants(a=1.6732632423543772848170429916717, s=1.0507009873554804934193349852946)


def forward(x: Tensor, constants: Constants) -> Tensor:
    """Return y; NaN stays NaN."""
    y: Tensor = torch.ops.aten.elu(x, *constants)
    return y


def backward_in_one_pass(grad_y: Tensor, kept: Tensor, constants: Constants) -> Tensor:
    """Return x' from one kernel."""
    grad_x: Tensor = torch.ops.aten.elu_backward(grad_y, *constants, constants.a >= 0, kept)
    return grad_x


@carried_out_by(backward_in_one_pass)
def backward(grad_y: Tensor, kept: Tensor, constants: Constants) -> Tensor:
    """Return x'; `kept` is y where a >= 0, else x."""
    a, s, c = constants
    depth = s * a  # below 0, as x falls, y goes towards -s a
    exponential = kept + depth if a >= 0 else depth * (c * kept).exp()  # s a e^(c x), from y or x
    return torch.where(kept <= 0, grad_y * c * exponential, grad_y * s)


class ELUFunction(torch.autograd.Function):
    """Glue between autograd and the two functions above."""

    @staticmethod
    @in_given_dtype
    def forward(ctx: Any, x: Tensor, constants: Constants) -> Tensor:
        """Run the forward pass and keep what tells the slope."""
        y = forward(x, constants)
        ctx.save_for_backward(y if constants.a >= 0 else x)
        ctx.constants = constants
        return y

    @staticmethod
    @first_derivative
    def backward(ctx: Any, grad_y: Tensor) -> tuple[Tensor, None]:
        """Run the backward pass."""
        (kept,) = ctx.saved_tensors
        return backward(grad_y, kept, ctx.constants), None


def elu(input: Tensor, alpha: float = 1.0) -> Tensor:
    """Return input where it is positive, else alpha * (exp(input) - 1)."""
    y: Tensor = ELUFunction.apply(input, Constants(alpha))
    return y


def celu(input: Tensor, alpha: float = 1.0) -> Tensor:
    """Return input where it is positive, else alpha * (exp(input / alpha) - 1).

    Raises ValueError for an alpha of 0.
    """
    if alpha == 0:
        raise ValueError("alpha is 0, expected another number: celu divides by it")
    y: Tensor = ELUFunction.apply(input, Constants(alpha, c=1 / alpha))
    return y


def selu(input: Tensor) -> Tensor:
    """Return the self-normalizing ELU: 1.0507 * elu(input, 1.6733)."""
    y: Tensor = ELUFunction.apply(input, SELU)
    return y
