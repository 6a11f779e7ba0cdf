"""Leaky rectified linear unit whose leak is learned, one for all channels or one for each.

Shapes     x, y [N, C, ...] or any shape   w [C] or [1]
Forward    y_nc = x_nc where x_nc > 0, else w_c x_nc      n: the batch and all trailing axes
Backward   writing x' for dL/dx, given y'
    x'_nc = y'_nc where x_nc > 0, else w_c y'_nc   because dy/dx = 1 for x > 0 and w for x < 0; at
                                                   the kink x = 0 w is taken, as torch does
    w'_c  = sum_n min(x_nc, 0) y'_nc               because dy_nc/dw_c is 0 for x > 0, else x_nc;
                                                   with one w for all it is summed over c too
Keeps      x: w' reads it, and y does not tell its sign where w <= 0; w (only if x' is wanted)
Cost       1 comparison and at most 1 product an element forward, about 5 flops backward
Source     He et al. 2015, "Delving deep into rectifiers", equations 1 to 3
"""

from typing import Any, NamedTuple

import torch
from torch import Tensor

from bptrain.ops.autocast import first_derivative, in_autocast_dtype
from bptrain.ops.fused import carried_out_by

FEW = 4096  # elements up to which a CPU spends more on calling kernels than on running them


class Saved(NamedTuple):
    """What the backward pass reads."""

    x: Tensor
    w: Tensor | None  # [C] or [1]


class Needs(NamedTuple):
    """Which gradients are wanted."""

    x: bool
    w: bool


def forward(x: Tensor, w: Tensor) -> Tensor:
    """Return y; NaN stays NaN."""
    y: Tensor = torch.ops.aten._prelu_kernel(x, _along_channels(w, x))
    return y


def backward_in_one_pass(
    grad_y: Tensor, saved: Saved, w_shape: torch.Size, needs: Needs
) -> tuple[Tensor | None, Tensor | None]:
    """Return x' and w' from one kernel, or each from two vectorised passes."""
    x, w = saved
    if needs.x and needs.w and w is not None and (grad_y.is_cuda or grad_y.numel() <= FEW):
        # On a CPU this kernel takes its branches one element at a time.
        grad_x, each = torch.ops.aten._prelu_kernel_backward(grad_y, x, _along_channels(w, x))
        return grad_x, _summed(each, w_shape)
    grad_x = grad_w = None
    if needs.x and w is not None:
        # First y' where x > 0, else 0; then w of the way from there to y'. This takes 0.45 ms for
        # [512, 1024] on a CPU, where the kernel above takes 2.3.
        passed = torch.ops.aten.leaky_relu_backward(grad_y, x, 0.0, False)
        grad_x = torch.lerp(passed, grad_y, _along_channels(w, x))
    if needs.w:
        grad_w = _summed(x.clamp_max(0).mul_(grad_y), w_shape)
    return grad_x, grad_w


@carried_out_by(backward_in_one_pass)
def backward(
    grad_y: Tensor, saved: Saved, w_shape: torch.Size, needs: Needs
) -> tuple[Tensor | None, Tensor | None]:
    """Return x' and w', each None if it is not wanted."""
    x, w = saved
    grad_x = grad_w = None
    if needs.x and w is not None:
        grad_x = torch.where(x > 0, grad_y, _along_channels(w, x) * grad_y)
    if needs.w:
        grad_w = _summed(x.clamp_max(0) * grad_y, w_shape)
    return grad_x, grad_w


def _along_channels(w: Tensor, x: Tensor) -> Tensor:
    """Return w [1, C or 1, 1, ...], with as many axes as x."""
    return w.reshape([1] * x.dim() if w.numel() == 1 else [1, -1, *[1] * (x.dim() - 2)])


def _summed(each: Tensor, w_shape: torch.Size) -> Tensor:
    """Return the sums over all that shares one w."""
    if w_shape.numel() == 1:
        return each.sum().view(w_shape)
    return each.sum([0, *range(2, each.dim())])


class PReLUFunction(torch.autograd.Function):
    """Glue between autograd and the two functions above."""

    @staticmethod
    @in_autocast_dtype
    def forward(ctx: Any, x: Tensor, w: Tensor) -> Tensor:
        """Run the forward pass and keep what the wanted gradients read."""
        ctx.needs = Needs(*ctx.needs_input_grad)
        ctx.w_shape = w.shape
        ctx.save_for_backward(x, w if ctx.needs.x else None)
        return forward(x, w)

    @staticmethod
    @first_derivative
    def backward(ctx: Any, grad_y: Tensor) -> tuple[Tensor | None, Tensor | None]:
        """Run the backward pass."""
        return backward(grad_y, Saved(*ctx.saved_tensors), ctx.w_shape, ctx.needs)


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
    y: Tensor = PReLUFunction.apply(input, weight)
    return y
