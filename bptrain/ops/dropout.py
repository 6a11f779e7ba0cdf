"""Dropout: some units are set to 0 at random, and so is their gradient.

Shapes     x, y any shape, the same   m the mask, as x; [N, C, 1, ...] for the dropout of channels
Forward    y = s m x        m = 1 with probability 1 - p, else 0      s = 1 / (1 - p), so that the
           mean of y over the masks is x. Outside of training, and for p = 0, y is x itself; for
           p = 1 every unit is dropped and y = 0 x
Backward   writing x' for dL/dx, given y'
    x' = s m y'   because dy/dx = s m: the mask is drawn, not computed from x
Saves      m, one byte a unit, or a channel; not s m, which is as wide as x, nor x
Cost       one random number a unit, or a channel, and 2 products a unit forward; 2 backward
Source     Srivastava et al. 2014, "Dropout", section 4, scaled in training as torch does; of
           channels: Tompson et al. 2015, "Efficient object localization using convolutional
           networks", section 3.2
"""

from typing import NamedTuple

import torch
from torch import Tensor

from bptrain.ops.memory_order import memory_order
from bptrain.ops.operation import operation
from bptrain.ops.peeking import may_peek
from bptrain.ops.second_derivatives import is_transformed

FEW = 2**11  # units: below it, more calls cost more than they save
CHUNK = 2**15  # uniform numbers at once: 256 kB, which stay in the cache


class Saved(NamedTuple):
    """What the backward pass reads."""

    m: Tensor | None  # bool; None for p = 1, where every unit is dropped
    p: float


def forward(x: Tensor, p: float) -> tuple[Tensor, Saved]:
    """Return y; the mask is drawn in the order in which torch draws it."""
    if p == 1:
        return x * 0, Saved(None, p)
    m = drawn(x, p)
    return masked(x, m).mul_(scale(p)), Saved(m, p)


def backward(grad_y: Tensor, saved: Saved) -> Tensor:
    """Return x'."""
    if saved.m is None:
        return grad_y * 0
    return masked(grad_y, saved.m).mul_(scale(saved.p))


def fused_forward(x: Tensor, p: float) -> tuple[Tensor, Saved]:
    """Return y from one kernel on CUDA, which draws and multiplies."""
    if p == 1 or not x.is_cuda:
        return forward(x, p)
    y, m = torch.ops.aten.native_dropout(x, p, True)
    return y, Saved(m, p)


def fused_backward(grad_y: Tensor, saved: Saved) -> Tensor:
    """Return x' from one kernel on CUDA."""
    if saved.m is None or not grad_y.is_cuda:
        return backward(grad_y, saved)
    grad_x: Tensor = torch.ops.aten.native_dropout_backward(grad_y, saved.m, scale(saved.p))
    return grad_x


def forward_of_channels(x: Tensor, p: float) -> tuple[Tensor, Saved]:
    """Return y [N, C, ...]; the mask is of channels."""
    if p == 1:
        return x * 0, Saved(None, p)
    shape = (*x.shape[:2], *[1] * (x.dim() - 2))
    m = torch.empty(shape, dtype=torch.bool, device=x.device).bernoulli_(1 - p)
    return x * _scaled(m, p, x.dtype), Saved(m, p)


def backward_of_channels(grad_y: Tensor, saved: Saved) -> Tensor:
    """Return x' [N, C, ...]."""
    if saved.m is None:
        return grad_y * 0
    return grad_y * _scaled(saved.m, saved.p, grad_y.dtype)


def scale(p: float) -> float:
    """Return s."""
    return 1 / (1 - p)


def drawn(x: Tensor, p: float) -> Tensor:
    """Return a mask of x's shape, bool, True with probability 1 - p, as `bernoulli_` draws it."""
    m = torch.empty_like(x, dtype=torch.bool)
    in_memory = m if m.is_contiguous() else m.permute(memory_order(m))
    if m.numel() < FEW or not may_peek(x) or is_transformed():
        in_memory.bernoulli_(1 - p)
        return m
    # On a CPU bernoulli_ compares a uniform number of 53 bits with 1 - p, one after the other: 940
    # us for 65536 of them. The same numbers, drawn first and compared together, take 430.
    u = torch.empty(min(CHUNK, m.numel()), dtype=torch.float64)
    for part in in_memory.view(-1).split(CHUNK):
        torch.lt(u[: len(part)].uniform_(), 1 - p, out=part)
    return m


def masked(x: Tensor, m: Tensor) -> Tensor:
    """Return m x, where NaN stays NaN, so that it is seen."""
    # As numbers of one byte: a product with bools takes twice as long on a CPU, thrice in bfloat16.
    return x * m.view(torch.int8)


def _scaled(m: Tensor, p: float, dtype: torch.dtype) -> Tensor:
    """Return s m, one number a channel, so that one pass over x is enough."""
    return m.to(dtype).mul_(scale(p))


dropout_function = operation(
    forward, backward, fused_forward=fused_forward, fused_backward=fused_backward
)
channel_dropout_function = operation(forward_of_channels, backward_of_channels)


def dropout(input: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> Tensor:
    """Return input, in training with each element dropped with probability p.

    Raises ValueError unless p is a probability.
    """
    return _dropped(input, p, training, inplace, of_channels=False)


def dropout1d(
    input: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False
) -> Tensor:
    """Return input [N, C, W] or [C, W], in training with each channel dropped with probability p.

    Raises ValueError for another shape, or unless p is a probability.
    """
    if input.dim() not in (2, 3):
        raise ValueError(f"input has shape {list(input.shape)}, expected [N, C, W] or [C, W]")
    if input.dim() == 3:
        return _dropped(input, p, training, inplace, of_channels=True)
    return _dropped(input.unsqueeze(0), p, training, inplace, of_channels=True).squeeze(0)


def dropout2d(
    input: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False
) -> Tensor:
    """Return input [N, C, H, W], in training with each channel dropped with probability p.

    As in torch three axes are [N, C, W], not [C, H, W]. Raises ValueError for another shape, or
    unless p is a probability.
    """
    if input.dim() not in (3, 4):
        raise ValueError(f"input has shape {list(input.shape)}, expected [N, C, H, W] or [N, C, W]")
    return _dropped(input, p, training, inplace, of_channels=True)


def check_probability(p: float) -> None:
    """Raise ValueError unless p is a probability."""
    if not 0 <= p <= 1:
        raise ValueError(f"p is {p}, expected a probability from 0 to 1")


def _dropped(
    input: Tensor, p: float, training: bool, inplace: bool, *, of_channels: bool
) -> Tensor:
    check_probability(p)
    if not training or p == 0 or input.numel() == 0:
        return input
    function = channel_dropout_function if of_channels else dropout_function
    return function.in_place_if(inplace)(input, p)
