"""Rotary position embedding: each pair of numbers is turned by an angle that its time step sets.

Shapes     x, y [..., T, E], E even: u and v are the first and the second half of x, p and q those
           of y, all [..., T, E/2]; pair k is (u_k, v_k)
           c, s [T, E/2], cosine and sine of the angles a_tk; n counts the leading axes of x
Forward    p_ntk = c_tk u_ntk - s_tk v_ntk
           q_ntk = s_tk u_ntk + c_tk v_ntk
           which is a rotation of the pair: its length stays, and the product of a turned query of
           step t with a turned key of step j depends on the difference of their angles alone. With
           a_tk = t w_k that is t - j: how far apart they are, wherever they are
Backward   writing x' = (u', v') for dL/dx, given y' = (p', q')
    u' = c p' + s q'             because dp/du = c and dq/du = s
    v' = c q' - s p'             because dq/dv = c and dp/dv = -s
           which is the rotation by -a: the transposed matrix of a rotation is its inverse. The
           gradient's length stays too, so that no depth makes it vanish or explode here
    c' = sum_n (p' u + q' v)     because dp/dc = u and dq/dc = v, in each row that step t turns
    s' = sum_n (q' u - p' v)     because dq/ds = u and dp/ds = -v, likewise
Saves      c, s (if x' is needed), x (if c' or s' is needed)
Cost       3 flops an element forward and for x', 2 each for c' and s'
Source     Su et al. 2021, "RoFormer", equation 34, with the pairs (k, k + E/2) in place of
           (2k, 2k + 1), as GPT-NeoX and LLaMA have them: halves are read without a stride; the
           derivation here
"""

from typing import NamedTuple

import torch
from torch import Tensor

from bptrain.ops.operation import operation
from bptrain.ops.precision import widened_for_sums

Gradients = tuple[Tensor | None, Tensor | None, Tensor | None]


class Needs(NamedTuple):
    """Which gradients are needed."""

    x: bool
    cos: bool
    sin: bool


class Saved(NamedTuple):
    """What the backward pass reads."""

    cos: Tensor | None  # [T, E/2]
    sin: Tensor | None
    x: Tensor | None  # [..., T, E]
    dtype: torch.dtype  # of c' and s'

    @classmethod
    def of(cls, x: Tensor, cos: Tensor, sin: Tensor, needs: Needs) -> "Saved":
        """Return what the needed gradients read."""
        read = x if needs.cos or needs.sin else None
        return cls(cos if needs.x else None, sin if needs.x else None, read, cos.dtype)


def forward(x: Tensor, cos: Tensor, sin: Tensor, needs: Needs) -> tuple[Tensor, Saved]:
    """Return y [..., T, E]."""
    u, v = x.chunk(2, -1)
    y = torch.cat([cos * u - sin * v, sin * u + cos * v], -1)
    return y.to(x.dtype), Saved.of(x, cos, sin, needs)


def backward(grad_y: Tensor, saved: Saved, needs: Needs) -> Gradients:
    """Return x' [..., T, E], c' and s' [T, E/2], each None if it is not needed."""
    cos, sin = saved.cos, saved.sin
    grad_x = None
    if cos is not None and sin is not None:
        grad_p, grad_q = grad_y.chunk(2, -1)
        grad_x = torch.cat([cos * grad_p + sin * grad_q, cos * grad_q - sin * grad_p], -1)
        grad_x = grad_x.to(grad_y.dtype)
    return grad_x, *_by_angles(grad_y, saved, needs)


def _by_angles(grad_y: Tensor, saved: Saved, needs: Needs) -> tuple[Tensor | None, Tensor | None]:
    """Return c' and s'."""
    if saved.x is None:
        return None, None
    (grad_p, grad_q), (u, v) = (widened_for_sums(each).chunk(2, -1) for each in (grad_y, saved.x))
    own, dtype = u.shape[-2:], saved.dtype
    grad_cos = (grad_p * u + grad_q * v).sum_to_size(own).to(dtype) if needs.cos else None
    grad_sin = (grad_q * u - grad_p * v).sum_to_size(own).to(dtype) if needs.sin else None
    return grad_cos, grad_sin


def fused_forward(x: Tensor, cos: Tensor, sin: Tensor, needs: Needs) -> tuple[Tensor, Saved]:
    """Return y, laid out in memory as x is."""
    return _turned(x, cos, sin), Saved.of(x, cos, sin, needs)


def fused_backward(grad_y: Tensor, saved: Saved, needs: Needs) -> Gradients:
    """Return the gradients, x' laid out in memory as y' is."""
    cos, sin = saved.cos, saved.sin
    grad_x = None if cos is None or sin is None else _turned(grad_y, cos, -sin)
    return grad_x, *_by_angles(grad_y, saved, needs)


def _turned(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Return x turned by the angles, in two passes over memory, where the formula makes five."""
    u, v = x.chunk(2, -1)
    y = x * torch.cat([cos, cos], -1)  # in float32 for 16-bit x, where cos is
    p, q = y.chunk(2, -1)
    p.addcmul_(v, sin, value=-1)
    q.addcmul_(u, sin)
    return y.to(x.dtype)


rotary_function = operation(
    forward, backward, fused_forward=fused_forward, fused_backward=fused_backward
)


def rotary(input: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Return input [..., T, E] with the pairs (k, k + E/2) turned by angles of this cos and sin.

    cos, sin [T, E/2]. Raises ValueError for other shapes, and for integers.
    """
    expected = [*input.shape[-2:-1], input.shape[-1] // 2] if input.dim() > 1 else None
    if list(cos.shape) != expected or sin.shape != cos.shape or input.shape[-1] % 2:
        raise ValueError(
            f"input, cos and sin have shapes {list(input.shape)}, {list(cos.shape)} and "
            f"{list(sin.shape)}: expected [..., T, E] with an even E, and twice [T, E/2]"
        )
    if not all(each.is_floating_point() for each in (input, cos, sin)):
        dtypes = f"{input.dtype}, {cos.dtype} and {sin.dtype}"
        raise ValueError(f"input, cos and sin have dtypes {dtypes}, expected one of floating point")
    return rotary_function(input, cos, sin)
