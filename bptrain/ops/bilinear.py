"""Bilinear map: each y is a weighted sum over all products of an x with a z.

Shapes     x [N, I]   z [N, J]   W [O, I, J]   b [O]   y [N, O]     N: all leading axes, flattened
Forward    t_onj = sum_i x_ni W_oij
           y_no  = sum_j t_onj z_nj + b_o      = sum_ij W_oij q_nij + b_o, where q_nij = x_ni z_nj
Backward   writing x' for dL/dx, given y' [N, O]; y is linear in the products q
    q' = y' W over o    because dy_no/dq_nij = W_oij, summed over o: q'_nij = sum_o y'_no W_oij
    x' = q' z over j    because dq_nij/dx_ni = z_nj, summed over j: x'_ni = sum_j q'_nij z_nj
    z' = q' x over i    because dq_nij/dz_nj = x_ni, summed over i: z'_nj = sum_i q'_nij x_ni
    W' = y'^T q         because dy_no/dW_oij = q_nij, summed over n                 [O, I, J]
    b' = sum_n y'_n     because dy_no/db_o = 1, summed over n                       [O]
Saves      x (for W' or z'), z (for W' or x'), W (for x' or z'), each only if one of the two is
           needed; neither t nor q
Cost       2 N I J O flops forward, 4 N I J O backward: one matrix product each for t, q' and W'.
           Forward passes through N O J elements and backward through N I J, one such tensor at a
           time: y by way of q would take as many flops but, as I is rarely below O, more memory
Source     derived here
"""

from typing import NamedTuple

import torch
from torch import Tensor

from bptrain.ops.operation import operation
from bptrain.ops.precision import WIDEST
from bptrain.ops.rows import rows_of

Gradients = tuple[Tensor | None, Tensor | None, Tensor | None, Tensor | None]


class Needs(NamedTuple):
    """Which gradients are needed."""

    x: bool
    z: bool
    W: bool
    b: bool


class Saved(NamedTuple):
    """What the backward pass reads."""

    x: Tensor | None  # [..., I]
    z: Tensor | None  # [..., J]
    W: Tensor | None  # [O, I, J]


def forward(
    x: Tensor, z: Tensor, W: Tensor, b: Tensor | None, needs: Needs
) -> tuple[Tensor, Saved]:
    """Return y [..., O]."""
    x_rows, z_rows = rows_of(x), rows_of(z)
    t = x_rows.expand(len(W), -1, -1).bmm(W).transpose(0, 1)  # [N, O, J]
    columns = z_rows.unsqueeze(2)  # [N, J, 1]
    y = t.bmm(columns) if b is None else torch.baddbmm(b.unsqueeze(1), t, columns)
    saved = Saved(
        x if needs.W or needs.z else None,
        z if needs.W or needs.x else None,
        W if needs.x or needs.z else None,
    )
    return y.view(*x.shape[:-1], len(W)), saved


def backward(grad_y: Tensor, saved: Saved, needs: Needs) -> Gradients:
    """Return x' [..., I], z' [..., J], W' [O, I, J], b' [O], each None if it is not needed."""
    grad_x = grad_z = grad_W = grad_b = None
    x, z, W = saved
    leading = grad_y.shape[:-1]
    grad_rows = rows_of(grad_y)  # [N, O]
    if needs.W and x is not None and z is not None:
        q = rows_of(x).unsqueeze(2) * rows_of(z).unsqueeze(1)  # [N, I, J]
        grad_W = grad_rows.t().mm(q.flatten(1)).view(grad_rows.shape[1], *q.shape[1:])
        del q  # as large as q' below
    if W is not None:
        grad_q = grad_rows.mm(W.flatten(1)).view(len(grad_rows), *W.shape[1:])  # [N, I, J]
        if needs.x and z is not None:
            grad_x = grad_q.bmm(rows_of(z).unsqueeze(2)).view(*leading, W.shape[1])
        if needs.z and x is not None:
            grad_z = rows_of(x).unsqueeze(1).bmm(grad_q).view(*leading, W.shape[2])
    if needs.b:
        grad_b = grad_rows.sum(0)
    return grad_x, grad_z, grad_W, grad_b


bilinear_function = operation(forward, backward, precision=WIDEST)


def bilinear(input1: Tensor, input2: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """Return `input1 @ weight[o] @ input2 + bias[o]` for every output o.

    input1 [..., I], input2 [..., J], weight [O, I, J], bias [O]; returns [..., O]. Raises
    ValueError for shapes that do not fit.
    """
    if weight.dim() != 3:
        raise ValueError(f"weight has {weight.dim()} axes, expected 3, [O, I, J]")
    O, I, J = weight.shape  # noqa: E741
    if 0 in (input1.dim(), input2.dim()) or input1.shape[:-1] != input2.shape[:-1]:
        raise ValueError(
            f"input1 has shape {list(input1.shape)} and input2 {list(input2.shape)}, expected the "
            "same axes before the last"
        )
    if (input1.shape[-1], input2.shape[-1]) != (I, J):
        raise ValueError(
            f"the last axes of input1 and input2 are {input1.shape[-1]} and {input2.shape[-1]}, "
            f"expected {I} and {J} as in weight"
        )
    if bias is not None and bias.shape != (O,):
        raise ValueError(f"bias has shape {list(bias.shape)}, expected [{O}]")
    return bilinear_function(input1, input2, weight, bias)
