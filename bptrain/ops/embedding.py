"""Embedding: a row of a table for each index, and each row gathers the blame of all who read it.

Shapes     t any shape, indices 0 <= t < V   W [V, E]   y [..., E]
Forward    y_ne = W_(t_n)e        n counts the indices
Backward   writing W' for dL/dW, given y'
    W'_ve = f_v sum_n [t_n = v] y'_ne   because dy_ne/dW_ve is 1 where t_n = v and 0 elsewhere;
                                        f_v is 1, or with scale_grad_by_freq 1 / (how often v is
                                        among the t_n), which is no derivative but a mean. The row
                                        padding_idx gets 0: it is never learned
Keeps      t; not W, not y
Cost       a copy of E numbers an index forward, as many additions backward; W' is dense, V E
Source     Bengio et al. 2003, "A neural probabilistic language model", section 2 (the matrix C);
           the derivation here
"""

from typing import Any, NamedTuple

import torch
from torch import Tensor

from bptrain.ops.autocast import first_derivative, in_given_dtype
from bptrain.ops.fused import carried_out_by


class Options(NamedTuple):
    """The constants of the backward pass, in the order in which torch's kernel takes them."""

    rows: int  # V
    padding: int  # -1 for none
    by_frequency: bool


class Saved(NamedTuple):
    """What the backward pass reads."""

    t: Tensor


def forward(t: Tensor, W: Tensor) -> Tensor:
    """Return y [..., E]."""
    return W.index_select(0, t.reshape(-1)).view(*t.shape, W.shape[1])


def backward_in_one_pass(grad_y: Tensor, saved: Saved, options: Options) -> Tensor:
    """Return W' [V, E] from one kernel."""
    # On a CPU this kernel adds up 8192 rows of 64 ten times faster than index_add_; on CUDA it
    # sorts the indices first, so that the sum is the same in every run.
    grad_W: Tensor = torch.ops.aten.embedding_dense_backward(grad_y, saved.t, *options)
    return grad_W


@carried_out_by(backward_in_one_pass)
def backward(grad_y: Tensor, saved: Saved, options: Options) -> Tensor:
    """Return W' [V, E]."""
    t = saved.t.flatten()
    E = grad_y.shape[-1]
    grad_W = grad_y.new_zeros(options.rows, E).index_add(0, t, grad_y.reshape(-1, E))
    if options.by_frequency:
        times_read = t.bincount(minlength=options.rows).clamp(min=1)  # a row never read has W' = 0
        grad_W = grad_W / times_read.unsqueeze(1)
    if options.padding >= 0:
        grad_W[options.padding] = 0
    return grad_W


class EmbeddingFunction(torch.autograd.Function):
    """Glue between autograd and the two functions above."""

    @staticmethod
    @in_given_dtype
    def forward(ctx: Any, t: Tensor, W: Tensor, options: Options) -> Tensor:
        """Run the forward pass and keep the indices."""
        ctx.options = options
        if ctx.needs_input_grad[1]:
            ctx.save_for_backward(*Saved(t))
        return forward(t, W)

    @staticmethod
    @first_derivative
    def backward(ctx: Any, grad_y: Tensor) -> tuple[None, Tensor, None]:
        """Run the backward pass."""
        return None, backward(grad_y, Saved(*ctx.saved_tensors), ctx.options), None


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
    options = Options(rows, padding, scale_grad_by_freq)
    y: Tensor = EmbeddingFunction.apply(input, weight, options)
    return y


def check_dense(sparse: bool) -> None:
    """Raise NotImplementedError if a sparse gradient is asked for."""
    if sparse:
        raise NotImplementedError("sparse=True is not offered: gradients are dense")
