"""Leaky rectified linear unit whose slope for x < 0 is learned, one for all channels or for each.

Shapes     x, y [N, C, ...] or any shape   w [C] or [1]
Forward    y_nc = x_nc where x_nc > 0, else w_c x_nc      n: the batch and all trailing axes
Backward   writing x' for dL/dx, given y'
    x'_nc = y'_nc where x_nc > 0, else w_c y'_nc   because dy/dx = 1 for x > 0 and w for x < 0; at
                                                   the kink x = 0 w is taken, as torch does
    w'_c  = sum_n min(x_nc, 0) y'_nc               because dy_nc/dw_c is 0 for x > 0, else x_nc;
                                                   with one w for all it is summed over c too
Saves      x: w' reads it, and y does not tell its sign where w <= 0; w (only if x' is needed)
Cost       1 comparison and at most 1 product an element forward, about 5 flops backward
Source     He et al. 2015, "Delving deep into rectifiers", equations 1 to 3
"""

from typing import NamedTuple

import torch
from torch import Tensor

from bptrain.ops.operation import operation
from bptrain.ops.precision import MATMUL

FEW = 4096  # elements up to which a CPU spends more on calling kernels than on running them
Gradients = tuple[Tensor | None, Tensor | None]


class Saved(NamedTuple):
    """What the backward pass reads."""

    x: Tensor
    w: Tensor | None  # [C] or [1]
    w_shape: torch.Size


class Needs(NamedTuple):
    """Which gradients are needed."""

    x: bool
    w: bool


def forward(x: Tensor, w: Tensor, needs: Needs) -> tuple[Tensor, Saved]:
    """Return y; NaN stays NaN."""
    y = torch.where(x > 0, x, _along_channels(w, x) * x)
    return y, _saved(x, w, needs)


def backward(grad_y: Tensor, saved: Saved, needs: Needs) -> Gradients:
    """Return x' and w', each None if it is not needed."""
    x, w, w_shape = saved
    grad_x = grad_w = None
    if w is not None:
        grad_x = torch.where(x > 0, grad_y, _along_channels(w, x) * grad_y)
    if needs.w:
        grad_w = _summed(x.clamp_max(0) * grad_y, w_shape)
    return grad_x, grad_w


def fused_forward(x: Tensor, w: Tensor, needs: Needs) -> tuple[Tensor, Saved]:
    """Return y from one kernel."""
    y: Tensor = torch.ops.aten._prelu_kernel(x, _along_channels(w, x))
    return y, _saved(x, w, needs)


def fused_backward(grad_y: Tensor, saved: Saved, needs: Needs) -> Gradients:
    """Return x' and w' from one kernel, or each from two vectorized passes."""
    x, w, w_shape = saved
    if needs.w and w is not None and (grad_y.is_cuda or grad_y.numel() <= FEW):
        # On a CPU this kernel branches at every element.
        grad_x, each = torch.ops.aten._prelu_kernel_backward(grad_y, x, _along_channels(w, x))
        return grad_x, _summed(each, w_shape)
    grad_x = grad_w = None
    if w is not None:
        # First y' where x > 0, else 0; then w of the way from there to y'. This takes 0.45 ms for
        # [512, 1024] on a CPU, where the kernel above takes 2.3.
        passed = torch.ops.aten.leaky_relu_backward(grad_y, x, 0.0, False)
        grad_x = torch.lerp(passed, grad_y, _along_channels(w, x))
    if needs.w:
        grad_w = _summed(x.clamp_max(0).mul_(grad_y), w_shape)
    return grad_x, grad_w


def _saved(x: Tensor, w: Tensor, needs: Needs) -> Saved:
    return Saved(x, w if needs.x else None, w.shape)


def _along_channels(w: Tensor, x: Tensor) -> Tensor:
    """Return w [1, C or 1, 1, ...], with as many axes as x."""
    return w.reshape([1] * x.dim() if w.numel() == 1 else [1, -1, *[1] * (x.dim() - 2)])


def _summed(each: Tensor, w_shape: torch.Size) -> Tensor:
    """Return the sums over all elements that share one w."""
    if w_shape.numel() == 1:
        return each.sum().view(w_shape)
    return each.sum([0, *range(2, each.dim())])


prelu_function = operation(
    forward,
    backward,
    fused_forward=fused_forward,
    fused_backward=fused_backward,
    precision=MATMUL,  # torch's own policy for it
)


def prelu(input: Tensor, weight: Tensor) -> Tensor:
    """Return input where it is positive, else weight * input.

    input [N, C, ...] with weight [C], or any shape with a weight of one element. Raises ValueError
    for another weight.
    """
    channels = input.shape[1] if input.dim() > 1 else 1
    if weight.dim() > 1 or weight.numel() not in (1, channels):
        raise ValueError(
            f"weight has shape {list(weight.shape)}, expected [1] or one element for each of the "
            f"{channels} channels of input {list(input.shape)}"
        )
    return prelu_function(input, weight)
