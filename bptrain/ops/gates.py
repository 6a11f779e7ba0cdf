"""The slopes of sigmoid, tanh and relu, which gates are made of, multiplied into given memory.

They are those of sigmoid.py, tanh.py and relu.py, and written into columns of one large tensor, so
that a walk over time finds the slopes of all gates side by side.
"""

import torch
from torch import Tensor

from bptrain.ops.fused import carried_out_by

aten = torch.ops.aten


def sigmoid_backward_in_one_pass(u: Tensor, s: Tensor, out: Tensor) -> None:
    """Write it by one kernel."""
    aten.sigmoid_backward(u, s, grad_input=out)


@carried_out_by(sigmoid_backward_in_one_pass)
def sigmoid_backward(u: Tensor, s: Tensor, out: Tensor) -> None:
    """Write u s (1 - s), given s = sigma(a): what u, the blame of s, comes to at a."""
    out.copy_(u * s * (1 - s))


def tanh_backward_in_one_pass(u: Tensor, y: Tensor, out: Tensor) -> None:
    """Write it by one kernel."""
    aten.tanh_backward(u, y, grad_input=out)


@carried_out_by(tanh_backward_in_one_pass)
def tanh_backward(u: Tensor, y: Tensor, out: Tensor) -> None:
    """Write u (1 - y^2), given y = tanh(a): what u, the blame of y, comes to at a."""
    out.copy_(u * (1 - y * y))


def relu_backward_in_one_pass(u: Tensor, y: Tensor, out: Tensor) -> None:
    """Write it by one kernel."""
    aten.threshold_backward(u, y, 0, grad_input=out)


@carried_out_by(relu_backward_in_one_pass)
def relu_backward(u: Tensor, y: Tensor, out: Tensor) -> None:
    """Write u where y > 0, else 0, given y = max(a, 0): what u, the blame of y, comes to at a."""
    out.copy_(torch.where(y <= 0, 0, u))  # not y > 0: a NaN's blame must be seen
