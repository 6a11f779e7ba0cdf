"""Embedding: a row of a table for each index; a row's gradient is the sum over its uses.

Shapes     t any shape, indices 0 <= t < V   W [V, E]   y [..., E]
Forward    y_ne = W_(t_n)e        n counts the indices
Backward   writing W' for dL/dW, given y'
    W'_ve = f_v sum_n [t_n = v] y'_ne   because dy_ne/dW_ve is 1 where t_n = v and 0 elsewhere;
                                        f_v is 1, or with scale_grad_by_freq 1 / (how often v is
                                        among the t_n), which is no derivative but a mean. The row
                                        padding_idx gets 0: it is never learned
Saves      t; not W, not y
Cost       a copy of E numbers an index forward, as many additions backward; W' is dense, V E
Source     Bengio et al. 2003, "A neural probabilistic language model", section 2 (the matrix C);
           the derivation here
"""

from typing import NamedTuple

import torch
from torch import Tensor

from bptrain.ops.operation import operation
from bptrain.ops.precision import widened_for_sums
from bptrain.ops.rows import rows_of


class Options(NamedTuple):
    """The constants of the backward pass, in the order in which torch's kernel takes them."""

    padding: int  # -1 for none
    by_frequency: bool


class Needs(NamedTuple):
    """Which gradients are needed."""

    W: bool


class Saved(NamedTuple):
    """What the backward pass reads."""

    t: Tensor
    rows: int  # V
    options: Options


def forward(t: Tensor, W: Tensor, options: Options, needs: Needs) -> tuple[Tensor, Saved]:
    """Return y [..., E]."""
    y = W.index_select(0, t.reshape(-1)).view(*t.shape, W.shape[1])
    return y, Saved(t, W.shape[0], options)


def backward(grad_y: Tensor, saved: Saved, needs: Needs) -> tuple[Tensor]:
    """Return W' [V, E]."""
    t, options = saved.t.flatten(), saved.options
    dtype, grad_y = grad_y.dtype, widened_for_sums(grad_y)
    E = grad_y.shape[-1]
    grad_W = grad_y.new_zeros(saved.rows, E).index_add(0, t, rows_of(grad_y))
    if options.by_frequency:
        times_read = t.bincount(minlength=saved.rows).clamp(min=1)  # a row never read has W' = 0
        grad_W = grad_W / times_read.unsqueeze(1)
    if options.padding >= 0:
        grad_W[options.padding] = 0
    return (grad_W.to(dtype),)


def fused_backward(grad_y: Tensor, saved: Saved, needs: Needs) -> tuple[Tensor]:
    """Return W' [V, E] from one kernel."""
    # On a CPU this kernel adds up 8192 rows of 64 ten times faster than index_add_; on CUDA it
    # sorts the indices first, so that the sum is the same in every run.
    wide = widened_for_sums(grad_y)
    grad_W: Tensor = torch.ops.aten.embedding_dense_backward(
        wide, saved.t, saved.rows, *saved.options
    )
    return (grad_W.to(grad_y.dtype),)


embedding_function = operation(forward, backward, fused_backward=fused_backward)


def embedding(
    input: Tensor,
    weight: Tensor,
    padding_idx: int | None = None,
    max_norm: float | None = None,
    norm_type: float = 2.0,
    scale_grad_by_freq: bool = False,
    sparse: bool = False,
) -> Tensor:
    """Return the rows of weight [V, E] at the indices `input`, int32 or int64: [..., E].

    With max_norm the rows that are read and whose norm is larger are first scaled down to it, in
    weight itself and outside of the graph, as in torch. Raises ValueError for a wrong dtype, shape
    or padding_idx, NotImplementedError for sparse.
    """
    check_dense(sparse)
    if weight.dim() != 2 or input.dtype not in (torch.int32, torch.int64):
        raise ValueError(
            f"input has dtype {input.dtype} and weight the shape {list(weight.shape)}, expected "
            "indices, torch.int64 or torch.int32, and [V, E]"
        )
    rows = weight.shape[0]
    padding = -1
    if padding_idx is not None:
        if not -rows <= padding_idx < rows:
            raise ValueError(f"padding_idx is {padding_idx}, expected one of the {rows} rows")
        padding = padding_idx % rows
    if max_norm is not None:
        with torch.no_grad():
            torch.embedding_renorm_(weight, input.contiguous(), max_norm, norm_type)
    return embedding_function(input, weight, Options(padding, scale_grad_by_freq))


def check_dense(sparse: bool) -> None:
    """Raise NotImplementedError if a sparse gradient is asked for."""
    if sparse:
        raise NotImplementedError("sparse=True is not offered: gradients are dense")
