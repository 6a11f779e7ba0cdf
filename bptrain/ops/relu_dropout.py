"""Rectifier and dropout in one: y = s m max(a, 0), of which the backward pass reads y alone.

Shapes     a, y any shape, the same   m the mask, as a
Forward    y = s m max(a, 0)        m = 1 with probability 1 - p, else 0      s = 1 / (1 - p), p < 1
Backward   writing a' for dL/da, given y'
    a' = s y' where y > 0, else 0   because dy/da = s m for a > 0 and 0 for a < 0; and y > 0 exactly
                                    where m = 1 and a > 0. At the kink a = 0 it is 0, as for relu
Saves      y, which what follows saves too: neither m nor max(a, 0)
Cost       one random number, 1 comparison and 2 products an element forward; 1 of both backward
Source     derived here, from relu.py and dropout.py
"""

from typing import NamedTuple

import torch
from torch import Tensor

from bptrain.ops.dropout import check_probability, scale
from bptrain.ops.dropout import forward as dropout_forward
from bptrain.ops.dropout import fused_forward as dropout_fused_forward
from bptrain.ops.operation import operation


class Saved(NamedTuple):
    """What the backward pass reads."""

    y: Tensor
    p: float


def forward(a: Tensor, p: float) -> tuple[Tensor, Saved]:
    """Return y; the mask is drawn as dropout draws it. NaN stays NaN."""
    y, _ = dropout_forward(a.clamp_min(0), p)
    return y, Saved(y, p)


def fused_forward(a: Tensor, p: float) -> tuple[Tensor, Saved]:
    """Return the same, on CUDA with the mask of dropout's kernel."""
    y, _ = dropout_fused_forward(a.clamp_min(0), p)
    return y, Saved(y, p)


def backward(grad_y: Tensor, saved: Saved) -> Tensor:
    """Return a'."""
    # not y > 0: a NaN, which is neither, reaches the gradient and is seen there
    return grad_y.masked_fill(saved.y <= 0, 0) * scale(saved.p)


def fused_backward(grad_y: Tensor, saved: Saved) -> Tensor:
    """Return a' in the memory that one kernel writes."""
    grad_a: Tensor = torch.ops.aten.threshold_backward(grad_y, saved.y, 0)
    return grad_a.mul_(scale(saved.p))


relu_dropout_function = operation(
    forward, backward, fused_forward=fused_forward, fused_backward=fused_backward
)


def relu_dropout(input: Tensor, p: float = 0.5) -> Tensor:
    """Return `dropout(relu(input), p)`, as in training.

    Raises ValueError unless p is a probability below 1.
    """
    check_probability(p)
    if p == 1:
        raise ValueError("p is 1, where every element is dropped: expected less")
    return relu_dropout_function(input, p)
