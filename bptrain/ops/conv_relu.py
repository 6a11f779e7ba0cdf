"""Convolution and rectifier in one: y = max(conv(x, W) + b, 0), written over the convolution.

Shapes     x [N, C, H]   W [O, C/G, R]   b [O]   a, y [N, O, P]     further axes as in conv.py
Forward    a_noj = b_o + sum_{c,r} W_ocr x_nch   at h = u j - p + v r   (conv.py)
           y     = max(a, 0)
Backward   writing x' for dL/dx, given y' [N, O, P]
    a' = y' where y > 0, else 0    because dy/da = 1 for a > 0 and 0 for a < 0, and y > 0 exactly
                                   where a > 0; 0 at the kink
    x' = transposed convolution of a' with W                    because a is linear in x (conv.py)
    W' = correlation of x with a', stride and dilation swapped  because a is linear in W (conv.py)
    b' = sum_{n,j} a'_noj                                       because da_noj/db_o = 1
Saves      x (only if W' is needed), W (only if x' is needed), y, which takes the memory of a
Cost       2 N P O R C/G flops forward, twice that backward, as conv.py; no pass over memory of its
           own forward
Source     derived here, from conv.py and relu.py
"""

from typing import NamedTuple

import torch
from torch import Tensor

from bptrain.ops import conv
from bptrain.ops.convolution import Geometry, Gradients, Needs, Numbers, Sizes
from bptrain.ops.convolution import Saved as Convolved
from bptrain.ops.operation import operation
from bptrain.ops.precision import MATMUL


class Saved(NamedTuple):
    """What the backward pass reads."""

    y: Tensor  # [N, O, P]
    x: Tensor | None  # only if W' is needed
    W: Tensor | None  # only if x' is needed
    geometry: Geometry
    sizes: Sizes


def forward(
    x: Tensor, W: Tensor, b: Tensor | None, geometry: Geometry, needs: Needs
) -> tuple[Tensor, Saved]:
    """Return y [N, O, P]; NaN stays NaN."""
    a, saved = conv.forward(x, W, b, geometry, needs)
    y = a.clamp_min(0)
    return y, Saved(y, *saved)


def fused_forward(
    x: Tensor, W: Tensor, b: Tensor | None, geometry: Geometry, needs: Needs
) -> tuple[Tensor, Saved]:
    """Return the same, y in the memory of a."""
    a, saved = conv.forward(x, W, b, geometry, needs)
    y = a.clamp_min_(0)
    return y, Saved(y, *saved)


def backward(grad_y: Tensor, saved: Saved, needs: Needs) -> Gradients:
    """Return x' [N, C, H], W' in the shape of W, b' [O], each None if it is not needed."""
    # not y > 0: a NaN, which is neither, reaches the gradient and is seen there
    return conv.backward(grad_y.masked_fill(saved.y <= 0, 0), Convolved(*saved[1:]), needs)


def fused_backward(grad_y: Tensor, saved: Saved, needs: Needs) -> Gradients:
    """Return the same, a' and the gradients from kernels."""
    grad_a = torch.ops.aten.threshold_backward(grad_y, saved.y, 0)
    return conv.fused_backward(grad_a, Convolved(*saved[1:]), needs)


conv_relu_function = operation(
    forward,
    backward,
    fused_forward=fused_forward,
    fused_backward=fused_backward,
    precision=MATMUL,
)


def conv2d_relu(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Numbers = 1,
    padding: Numbers | str = 0,
    dilation: Numbers = 1,
    groups: int = 1,
) -> Tensor:
    """Return `relu(conv2d(input, weight, bias, ...))` of input [N, C, H, W], which may lack N.

    The options are conv2d's. Raises ValueError for shapes or options that do not fit.
    """
    options = (stride, padding, dilation, groups)
    return conv.convolved(2, input, weight, bias, options, conv_relu_function)
