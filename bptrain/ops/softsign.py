"""Softsign: y = x / (1 + |x|), which saturates like 1 / |x| where tanh does like e^(-2 |x|).

Shapes     x, y any shape, the same
Forward    y = x / (1 + |x|)
Backward   writing x' for dL/dx, given y'
    x' = y' (1 - |y|)^2   because by the quotient rule dy/dx = (1 + |x| - x sign x) / (1 + |x|)^2
                          = 1 / (1 + |x|)^2, and 1 - |y| = 1 / (1 + |x|)
Saves      y, not x: the slope is a function of y alone, and the layer that follows saves y anyway
Cost       3 flops an element forward, 4 backward
Source     Bergstra et al. 2009, "Quadratic polynomials learn better image features";
           the backward pass is derived here
"""

from typing import NamedTuple

from torch import Tensor

from bptrain.ops.operation import operation
from bptrain.ops.second_derivatives import own_product


class Saved(NamedTuple):
    """What the backward pass reads."""

    y: Tensor


def forward(x: Tensor) -> tuple[Tensor, Saved]:
    """Return y, between -1 and 1."""
    y = x / x.abs().add_(1)
    return y, Saved(y)


def backward(grad_y: Tensor, saved: Saved) -> Tensor:
    """Return x'."""
    root = saved.y.abs().sub_(1)  # |y| - 1: its sign is squared away
    return own_product(own_product(root, root), grad_y)


softsign_function = operation(forward, backward)


def softsign(input: Tensor) -> Tensor:
    """Return input / (1 + |input|), element by element."""
    return softsign_function(input)
