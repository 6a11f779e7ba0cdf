"""One more key or value at the end of a sequence: the same row in every sample.

Shapes     x [N, A, J, E]   r [A, 1, E], or None for zeros   y [N, A, J + 1, E]
Forward    y_nj = x_nj for j < J
           y_nJ = r
Backward   writing x' for dL/dx, given y'
    x' = y'_n,j<J       because dy_nj/dx_nj = 1 in the rows before the last
    r' = sum_n y'_nJ    because dy_nJ/dr = 1 in each sample n
Saves      nothing but the shape of r
Cost       one copy forward, none backward
Source     derived here; torch.nn.MultiheadAttention's add_bias_kv and add_zero_attn
"""

from typing import NamedTuple

import torch
from torch import Tensor

from bptrain.ops.operation import operation


class Saved(NamedTuple):
    """What the backward pass reads."""

    shape: torch.Size | None  # of r


class Needs(NamedTuple):
    """Which gradients are needed."""

    x: bool
    r: bool


def forward(x: Tensor, r: Tensor | None, needs: Needs) -> tuple[Tensor, Saved]:
    """Return y [N, A, J + 1, E], in the dtype of x."""
    row = x.new_zeros(1, x.shape[-1]) if r is None else r.to(x.dtype)
    y = torch.cat([x, row.expand(*x.shape[:-2], 1, -1)], -2)
    return y, Saved(None if r is None else r.shape)


def backward(grad_y: Tensor, saved: Saved, needs: Needs) -> tuple[Tensor | None, Tensor | None]:
    """Return x', a view of y', and r', each None if it is not needed."""
    grad_x = grad_r = None
    if needs.x:
        grad_x = grad_y[..., :-1, :]
    if needs.r and saved.shape is not None:
        grad_r = grad_y[..., -1:, :].sum_to_size(saved.shape)
    return grad_x, grad_r


append_token_function = operation(forward, backward)


def append_token(x: Tensor, token: Tensor | None) -> Tensor:
    """Return x [N, A, J, E] with one more key or value: token [A, 1, E], or zeros."""
    return append_token_function(x, token)
