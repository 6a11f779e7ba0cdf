"""Local response normalization: each value is divided by a sum of squares over near channels.

Shapes     x, y [N, C, ...]; every position of every sample is independent, its index left out
Forward    s_c = k + (a/n) sum_{j in near(c)} x_j^2
           y_c = x_c s_c^-B
           near(c): the n channels c - n // 2 ... c + (n - 1) // 2, as far as they exist; for even
           n one more before than after. a, B: alpha and beta
Backward   writing x' for dL/dx, given y'
    u  = y' s^-B                      because that is y' dy/dx with s held fixed
    s' = -B y' x s^(-B-1)             because dy/ds = -B x s^(-B-1)
       = -B u x / s
    x'_c = u_c + (2 a/n) x_c sum_{j: c in near(j)} s'_j
                                      because x_c stands in s_j wherever c is near j, and there
                                      ds_j/dx_c = (2 a/n) x_c; the condition c in near(j) mirrors
                                      the window: j runs over c - (n - 1) // 2 ... c + n // 2
Saves      x, s; not s^-B, y, x^2
Cost       for a window of n channels 3n + 2 flops and a power an element forward, n + 6 and a
           power backward; n passes over memory each
Source     derived here; Krizhevsky, Sutskever and Hinton 2012, "ImageNet Classification", section
           3.3, whose a is torch's a / n. Under autocast on the CPU always float32, which torch
           does from 4 axes on
"""

from typing import NamedTuple

import torch
from torch import Tensor

from bptrain.ops.operation import operation
from bptrain.ops.precision import float32_on
from bptrain.ops.second_derivatives import overwritable, own_product
from bptrain.ops.statistics import wide_dtype


class Options(NamedTuple):
    """The constants of one call."""

    n: int  # channels in a window
    a: float
    B: float
    k: float


class Saved(NamedTuple):
    """What the backward pass reads."""

    x: Tensor  # [N, C, ...]
    s: Tensor  # [N, C, ...], in float32 for 16-bit x, whose squares overflow fp16 above 255
    options: Options


def forward(x: Tensor, options: Options) -> tuple[Tensor, Saved]:
    """Return y [N, C, ...] in the dtype of x."""
    wide = x.to(wide_dtype(x))
    s = _sums(wide, options)
    y = s.pow(-options.B).mul_(wide)
    return y.to(x.dtype), Saved(x, s, options)


def _sums(x: Tensor, options: Options) -> Tensor:
    """Return s [N, C, ...]."""
    n, a, _, k = options
    s = torch.full_like(x, k)
    for to, at in _neighbors(x.shape[1], -(n // 2), (n - 1) // 2):
        near = x[:, at]
        s[:, to].addcmul_(near, near, value=a / n)
    return s


def reconnect(saved: Saved) -> Saved:
    """Return Saved with s computed from x again."""
    return saved._replace(s=_sums(saved.x.to(saved.s.dtype), saved.options))


def backward(grad_y: Tensor, saved: Saved) -> Tensor:
    """Return x' [N, C, ...] in the dtype of x."""
    n, a, B, _ = saved.options
    x, s = saved.x.to(saved.s.dtype), saved.s
    u = own_product(s.pow(-B), grad_y)
    grad_s = (u * x).div_(s)  # but for the factor -B
    near = torch.zeros_like(grad_s)
    for to, at in _neighbors(x.shape[1], -((n - 1) // 2), n // 2):
        near[:, to] += grad_s[:, at]
    return overwritable(u).addcmul_(x, near, value=-2 * B * a / n).to(saved.x.dtype)


def _neighbors(C: int, first: int, last: int) -> list[tuple[slice, slice]]:
    """Return for each shift the channels that have a neighbor so far away, and the neighbors."""
    shifts = range(max(first, 1 - C), min(last, C - 1) + 1)
    return [(slice(max(0, -d), C - max(0, d)), slice(max(0, d), C - max(0, -d))) for d in shifts]


local_response_norm_function = operation(
    forward, backward, precision=float32_on("cpu", "cuda"), reconnect=reconnect
)


def local_response_norm(
    input: Tensor, size: int, alpha: float = 1e-4, beta: float = 0.75, k: float = 1.0
) -> Tensor:
    """Return `input` [N, C, ...] normalized by the `size` channels around each value.

    Raises ValueError for an input of less than 3 axes and a size below 1.
    """
    if input.dim() < 3:
        raise ValueError(
            f"input has shape {list(input.shape)}, expected [N, C, ...], 3 axes or more"
        )
    if size < 1:
        raise ValueError(f"size is {size}, expected 1 or more channels")
    options = Options(size, alpha, beta, k)
    return local_response_norm_function(input, options)
