"""Alpha dropout: a dropped unit takes SELU's lowest value; mean and variance are preserved.

Shapes     x, y any shape, the same   m the mask, as x
Forward    y = a (m x - (1 - m) f) + b
             = a m (x + f) - (1 - p) a f        m = 1 with probability 1 - p, else 0
           -f is SELU's lowest value, f = 1.0507 x 1.6733; b = p a f makes the mean 0 again and
           a = ((1 - p) (1 + p f^2))^(-1/2) the variance 1, if x has them. Outside of training, and
           for p = 0, y is x itself; for p = 1, where a is infinite, y = 0 x as in torch
Backward   writing x' for dL/dx, given y'
    x' = a m y'   because dy/dx = a m: the mask is drawn, not computed from x
Saves      m, one byte a unit; not a m, which is as wide as x, nor x
Cost       one random number and 4 flops a unit forward, 2 backward
Source     Klambauer et al. 2017, "Self-normalizing neural networks", section 3 (alpha dropout); the
           second line of Forward and the derivation here
"""

from typing import NamedTuple

import torch
from torch import Tensor

from bptrain.ops.dropout import check_probability, drawn, masked
from bptrain.ops.operation import operation

FLOOR = 1.0507009873554805 * 1.6732632423543772  # f: SELU's scale times its alpha


class Saved(NamedTuple):
    """What the backward pass reads."""

    m: Tensor | None  # bool, as x; None for p = 1, where every unit is dropped
    p: float


def forward(x: Tensor, p: float) -> tuple[Tensor, Saved]:
    """Return y and the mask, drawn in the order in which torch draws it."""
    if p == 1:
        return x * 0, Saved(None, p)
    a, m = scale(p), drawn(x, p)
    shift = x.new_full((), -(1 - p) * a * FLOOR)
    return torch.addcmul(shift, x + FLOOR, m.view(torch.int8), value=a), Saved(m, p)


def backward(grad_y: Tensor, saved: Saved) -> Tensor:
    """Return x'."""
    if saved.m is None:
        return grad_y * 0
    return masked(grad_y, saved.m).mul_(scale(saved.p))


def scale(p: float) -> float:
    """Return a."""
    return float(((1 - p) * (1 + p * FLOOR**2)) ** -0.5)


alpha_dropout_function = operation(forward, backward)


def alpha_dropout(
    input: Tensor, p: float = 0.5, training: bool = False, inplace: bool = False
) -> Tensor:
    """Return input, in training with each element set to SELU's lowest value with probability p.

    Raises ValueError unless p is a probability.
    """
    check_probability(p)
    if not training or p == 0 or input.numel() == 0:
        return input
    return alpha_dropout_function.in_place_if(inplace)(input, p)
