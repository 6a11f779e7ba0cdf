"""Elman's recurrent network: h_t = phi(W_ih x_t + W_hh h_t-1 + b), phi either tanh or relu.

Shapes     x [N, I]   h, a [N, H]   W_ih [H, I]   W_hh [H, H]
Forward    a   = x W_ih^T + b_ih + h_t-1 W_hh^T + b_hh   (the walk's, bptt.py)
           h_t = tanh(a)   or   max(a, 0)
Backward   given h'_t
    a'     = h'_t (1 - h_t^2)             because tanh has the slope 1 - tanh^2
    a'     = h'_t where h_t > 0, else 0   because relu has the slope 1 above 0 and 0 below
    h'_t-1 = a' W_hh                      because da/dh_t-1 = W_hh (the walk's). T steps multiply
                                          blame by T such factors: it fades, or explodes
Keeps      h, which is y: neither slope needs a
Cost       2NH(I + H) flops forward, twice that backward
Source     Elman 1990, "Finding structure in time"; relu: Le et al. 2015, arXiv 1504.00941
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from bptrain.ops import gates
from bptrain.ops.bptt import Cell, State, Weights
from bptrain.ops.recurrent import Layers, one_step, recurrent


def columns(a: Tensor) -> tuple[Tensor, ...]:
    """Return a itself."""
    return (a,)


def forward(a: State, before: State, after: State) -> None:
    """Write h_t = tanh(a) to `after`."""
    torch.tanh(a[0], out=after[0])


def backward(grads: State, grad_a: Tensor, h_t: Tensor) -> None:
    """Write a' = h'_t (1 - h_t^2) to `grad_a`, given h'_t."""
    gates.tanh_backward(grads[0], h_t, grad_a)


def relu_forward(a: State, before: State, after: State) -> None:
    """Write h_t = max(a, 0) to `after`; NaN stays NaN."""
    torch.clamp_min(a[0], 0, out=after[0])


def relu_backward(grads: State, grad_a: Tensor, h_t: Tensor) -> None:
    """Write a' = h'_t where h_t > 0 to `grad_a`, given h'_t."""
    gates.relu_backward(grads[0], h_t, grad_a)


def backward_slopes(a: object, h: object, h_t: Tensor) -> tuple[Tensor, ...]:
    """Return room for a' [B, H], twice, and h_t [B, H], of which each slope is a function."""
    grad_a = torch.empty_like(h_t)
    return grad_a, grad_a, h_t


TANH = Cell(1, 1, columns, forward, backward_slopes, backward, keeps_gates=False)
RELU = Cell(1, 1, columns, relu_forward, backward_slopes, relu_backward, keeps_gates=False)


def rnn_tanh(
    input: Tensor,
    hx: Tensor | None,
    params: Sequence[Tensor],
    has_biases: bool,
    num_layers: int,
    dropout: float,
    train: bool,
    bidirectional: bool,
    batch_first: bool = False,
    batch_sizes: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Return the output of every time step and the last h, as torch.rnn_tanh.

    input [T, N, I], or [N, T, I] with `batch_first`, or packed rows [B, I] with their
    `batch_sizes` [T]; hx [L D, N, H] for L layers in D directions, zeros if None; params weight_ih,
    weight_hh, bias_ih, bias_hh of each layer and direction, the biases if `has_biases`. The output
    has D H features. Raises ValueError for shapes that do not fit.
    """
    layers = Layers(has_biases, num_layers, dropout, train, bidirectional, batch_first, batch_sizes)
    start = None if hx is None else (hx,)
    y, (h,) = recurrent(TANH, input, start, params, layers, keeps_wide=(False,))
    return y, h


def rnn_relu(
    input: Tensor,
    hx: Tensor | None,
    params: Sequence[Tensor],
    has_biases: bool,
    num_layers: int,
    dropout: float,
    train: bool,
    bidirectional: bool,
    batch_first: bool = False,
    batch_sizes: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Return the output of every time step and the last h, as torch.rnn_relu.

    input [T, N, I], or [N, T, I] with `batch_first`, or packed rows [B, I] with their
    `batch_sizes` [T]; hx [L D, N, H] for L layers in D directions, zeros if None; params weight_ih,
    weight_hh, bias_ih, bias_hh of each layer and direction, the biases if `has_biases`. The output
    has D H features. Raises ValueError for shapes that do not fit.
    """
    layers = Layers(has_biases, num_layers, dropout, train, bidirectional, batch_first, batch_sizes)
    start = None if hx is None else (hx,)
    y, (h,) = recurrent(RELU, input, start, params, layers, keeps_wide=(False,))
    return y, h


def rnn_tanh_cell(
    input: Tensor,
    hx: Tensor | None,
    w_ih: Tensor,
    w_hh: Tensor,
    b_ih: Tensor | None = None,
    b_hh: Tensor | None = None,
) -> Tensor:
    """Return h [N, H] after one step with input [N, I] from hx [N, H], as torch.rnn_tanh_cell."""
    start = None if hx is None else (hx,)
    weights = Weights(w_ih, w_hh, b_ih, b_hh, None)
    (h,) = one_step(TANH, input, start, weights, keeps_wide=(False,))
    return h


def rnn_relu_cell(
    input: Tensor,
    hx: Tensor | None,
    w_ih: Tensor,
    w_hh: Tensor,
    b_ih: Tensor | None = None,
    b_hh: Tensor | None = None,
) -> Tensor:
    """Return h [N, H] after one step with input [N, I] from hx [N, H], as torch.rnn_relu_cell."""
    start = None if hx is None else (hx,)
    weights = Weights(w_ih, w_hh, b_ih, b_hh, None)
    (h,) = one_step(RELU, input, start, weights, keeps_wide=(False,))
    return h
