"""Alpha dropout: a silenced unit falls to SELU's floor, and mean and variance are restored.

Shapes     x, y any shape, the same   m the mask, as x
Forward    y = a (m x - (1 - m) f) + b
             = a m (x + f) - (1 - p) a f        m = 1 with probability 1 - p, else 0
           -f is SELU's floor, f = 1.0507 x 1.6733; b = p a f makes the mean 0 again and
           a = ((1 - p) (1 + p f^2))^(-1/2) the variance 1, if x has them. Outside of training, and
           for p = 0, y is x itself; for p = 1, where a is infinite, y = 0 x as in torch
Backward   writing x' for dL/dx, given y'
    x' = a m y'   because dy/dx = a m: the mask is drawn, not computed from x
Keeps      m, one byte a unit; not a m, which is as wide as x, nor x
Cost       one random number and 4 flops a unit forward, 2 backward
Source     Klambauer et al. 2017, "Self-normalizing neural networks", section 3 (alpha dropout); the
           second line of Forward and the derivation here
"""

from typing import Any, NamedTuple

import torch
from torch import Tensor

from bptrain.ops.autocast import first_derivative, in_given_dtype
from bptrain.ops.dropout import check_probability, drawn, masked

FLOOR = 1.0507009873554805 * 1.6732632423543772  # f: SELU's scale times its alpha


class Saved(NamedTuple):
    """What the backward pass reads."""

    m: Tensor | None  # bool, as x; None for p = 1, where every unit is silenced


def slope(p: float) -> float:
    """Return a."""
    return float(((1 - p) * (1 + p * FLOOR**2)) ** -0.5)


def forward(x: Tensor, p: float) -> tuple[Tensor, Saved]:
    """Return y and the mask, drawn in the order in which torch draws it."""
    if p == 1:
        return x * 0, Saved(None)
    a = slope(p)
    m = drawn(x, p)
    shift = x.new_full((), -(1 - p) * a * FLOOR)
    return torch.addcmul(shift, x + FLOOR, m.view(torch.int8), value=a), Saved(m)


def backward(grad_y: Tensor, saved: Saved, p: float) -> Tensor:
    """Return x'."""
    if saved.m is None:
        return grad_y * 0
    return masked(grad_y, saved.m).mul_(slope(p))


class AlphaDropoutFunction(torch.autograd.Function):
    """Glue between autograd and the two functions above."""

    @staticmethod
    @in_given_dtype
    def forward(ctx: Any, x: Tensor, p: float) -> Tensor:
        """Run the forward pass and keep the mask."""
        y, saved = forward(x, p)
        ctx.p = p
        if ctx.needs_input_grad[0]:
            ctx.save_for_backward(*saved)
        return y

    @staticmethod
    @first_derivative
    def backward(ctx: Any, grad_y: Tensor) -> tuple[Tensor, None]:
        """Run the backward pass."""
        return backward(grad_y, Saved(*ctx.saved_tensors), ctx.p), None


def alpha_dropout(input: Tensor, p: float = 0.5, training: bool = False) -> Tensor:
    """Return input, in training with each element brought to SELU's floor with probability p.

    Raises ValueError unless p is a probability.
    """
    check_probability(p)
    if not training or p == 0 or input.numel() == 0:
        return input
    y: Tensor = AlphaDropoutFunction.apply(input, p)
    return y
