"""Hard tanh: y is x, clamped to the bounds p and q; blame passes where nothing was clamped.

Shapes     x, y any shape, the same
Forward    y = min(max(x, p), q)      hardtanh: p = min_val, q = max_val   relu6: p = 0, q = 6
Backward   writing x' for dL/dx, given y'
    x' = y' where p < y < q, else 0   because dy/dx = 1 for p < x < q, where y = x, and 0 beyond;
                                      at the kinks x = p and x = q 0 is taken, as torch does
Keeps      y, which is p or q exactly where x is clamped, and which the layer that follows keeps
           anyway; x where the dtype cannot hold p or q: y is then a rounded bound, which the
           backward kernel, comparing in float32, may take for a value that was not clamped
Cost       2 comparisons an element each way
Source     Collobert 2004, "Large scale machine learning"; Krizhevsky 2010, "Convolutional deep
           belief networks on CIFAR-10", for relu6
"""

from typing import Any, NamedTuple

import torch
from torch import Tensor

from bptrain.ops.autocast import first_derivative, in_given_dtype
from bptrain.ops.fused import carried_out_by


class Bounds(NamedTuple):
    """The two values between which x passes."""

    p: float
    q: float


def forward(x: Tensor, bounds: Bounds) -> Tensor:
    """Return y; NaN stays NaN."""
    return x.clamp(*bounds)


def backward_in_one_pass(grad_y: Tensor, kept: Tensor, bounds: Bounds) -> Tensor:
    """Return x' from one kernel."""
    grad_x: Tensor = torch.ops.aten.hardtanh_backward(grad_y, kept, *bounds)
    return grad_x


@carried_out_by(backward_in_one_pass)
def backward(grad_y: Tensor, kept: Tensor, bounds: Bounds) -> Tensor:
    """Return x'; `kept` is y where the dtype holds both bounds, else x."""
    p, q = bounds
    # What was clamped is blocked, rather than the rest passed, so that a NaN, which is neither,
    # reaches the gradient and is seen there.
    return grad_y.masked_fill((kept <= p) | (kept >= q), 0)


def held_exactly(bounds: Bounds, dtype: torch.dtype) -> bool:
    """Tell whether clamping in this dtype gives exactly what the backward pass compares with.

    float32 and float64 round both alike. A 16-bit dtype, of which bf16 has 8 significant bits,
    holds all sixteenths up to 16: enough for the bounds in use.
    """
    if dtype.itemsize > 2:
        return True
    return all(abs(bound) <= 16 and bound * 16 % 1 == 0 for bound in bounds)


class HardtanhFunction(torch.autograd.Function):
    """Glue between autograd and the two functions above."""

    @staticmethod
    @in_given_dtype
    def forward(ctx: Any, x: Tensor, bounds: Bounds) -> Tensor:
        """Run the forward pass and keep what tells where x was clamped."""
        y = forward(x, bounds)
        ctx.save_for_backward(y if held_exactly(bounds, x.dtype) else x)
        ctx.bounds = bounds
        return y

    @staticmethod
    @first_derivative
    def backward(ctx: Any, grad_y: Tensor) -> tuple[Tensor, None]:
        """Run the backward pass."""
        (kept,) = ctx.saved_tensors
        return backward(grad_y, kept, ctx.bounds), None


def hardtanh(input: Tensor, min_val: float = -1.0, max_val: float = 1.0) -> Tensor:
    """Return input clamped to min_val and max_val.

    Raises ValueError if min_val is the larger one.
    """
    if min_val > max_val:
        raise ValueError(f"min_val is {min_val} and max_val {max_val}, expected min_val <= max_val")
    y: Tensor = HardtanhFunction.apply(input, Bounds(min_val, max_val))
    return y


def relu6(input: Tensor) -> Tensor:
    """Return min(max(input, 0), 6), element by element."""
    y: Tensor = HardtanhFunction.apply(input, Bounds(0.0, 6.0))
    return y
