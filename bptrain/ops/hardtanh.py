"""Hard tanh: y is x, clamped to the bounds p and q; the gradient passes where nothing was clamped.

Shapes     x, y any shape, the same
Forward    y = min(max(x, p), q)      hardtanh: p = min_val, q = max_val   relu6: p = 0, q = 6
Backward   writing x' for dL/dx, given y'
    x' = y' where p < y < q, else 0   because dy/dx = 1 for p < x < q, where y = x, and 0 beyond;
                                      at the kinks x = p and x = q 0 is taken, as torch does
Saves      y, which is p or q exactly where x is clamped, and which the layer that follows saves
           anyway; x where the dtype cannot hold p or q: y is then a rounded bound, which the
           backward kernel, comparing in float32, may take for a value that was not clamped
Cost       2 comparisons an element each way
Source     Collobert 2004, "Large scale machine learning"; Krizhevsky 2010, "Convolutional deep
           belief networks on CIFAR-10", for relu6
"""

from typing import NamedTuple

import torch
from torch import Tensor

from bptrain.ops.operation import operation


class Bounds(NamedTuple):
    """The two values between which x passes."""

    p: float
    q: float


class Saved(NamedTuple):
    """What the backward pass reads."""

    clamped: Tensor  # y where the dtype holds both bounds, else x
    bounds: Bounds


def forward(x: Tensor, bounds: Bounds) -> tuple[Tensor, Saved]:
    """Return y; NaN stays NaN."""
    y = x.clamp(*bounds)
    return y, Saved(y if held_exactly(bounds, x.dtype) else x, bounds)


def backward(grad_y: Tensor, saved: Saved) -> Tensor:
    """Return x'."""
    clamped, (p, q) = saved
    # What was clamped is blocked, rather than the rest passed, so that a NaN, which is neither,
    # reaches the gradient and is seen there.
    return grad_y.masked_fill((clamped <= p) | (clamped >= q), 0)


def fused_backward(grad_y: Tensor, saved: Saved) -> Tensor:
    """Return x' from one kernel."""
    clamped, bounds = saved
    grad_x: Tensor = torch.ops.aten.hardtanh_backward(grad_y, clamped, *bounds)
    return grad_x


def held_exactly(bounds: Bounds, dtype: torch.dtype) -> bool:
    """Tell whether clamping in this dtype gives exactly what the backward pass compares with.

    float32 and float64 round both alike. A 16-bit dtype, of which bf16 has 8 significant bits,
    holds all sixteenths up to 16: enough for the bounds in use.
    """
    if dtype.itemsize > 2:
        return True
    return all(abs(bound) <= 16 and bound * 16 % 1 == 0 for bound in bounds)


hardtanh_function = operation(forward, backward, fused_backward=fused_backward)


def hardtanh(
    input: Tensor, min_val: float = -1.0, max_val: float = 1.0, inplace: bool = False
) -> Tensor:
    """Return input clamped to min_val and max_val.

    Raises ValueError if min_val is the larger one.
    """
    if min_val > max_val:
        raise ValueError(f"min_val is {min_val} and max_val {max_val}, expected min_val <= max_val")
    return hardtanh_function.in_place_if(inplace)(input, Bounds(min_val, max_val))


def relu6(input: Tensor, inplace: bool = False) -> Tensor:
    """Return min(max(input, 0), 6), element by element."""
    return hardtanh_function.in_place_if(inplace)(input, Bounds(0.0, 6.0))
