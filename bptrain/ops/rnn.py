"""Elman's recurrent network: h_t = phi(W_ih x_t + W_hh h_t-1 + b), phi either tanh or relu.

Shapes     x [N, I]   h, a [N, H]   W_ih [H, I]   W_hh [H, H]
Forward    a   = a_x + a_h   a_x = x W_ih^T + b_ih, a_h = h_t-1 W_hh^T + b_hh   (bptt.py)
           h_t = tanh(a)   or   max(a, 0)
Backward   writing x' for dL/dx, given h'_t
    a'     = h'_t (1 - h_t^2)             because tanh has the slope 1 - tanh^2
    a'     = h'_t where h_t > 0, else 0   because relu has the slope 1 above 0 and 0 below
    a_x'   = a_h' = a'                    because a is their sum
    h'_t-1 = a_h' W_hh                    because da/dh_t-1 = W_hh (bptt.py). T steps multiply the
                                          gradient by T such factors: it vanishes, or explodes
Saves      h, which is y: neither slope needs a
Cost       2NH(I + H) flops forward, twice that backward
Source     Elman 1990, "Finding structure in time"; relu: Le et al. 2015, arXiv 1504.00941
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from bptrain.ops.recurrent import Layers, one_step, recurrent
from bptrain.ops.scan import Cell, Equations, InPlace, State, Weights

aten = torch.ops.aten


def equations(a: State, h: object) -> tuple[State, State]:
    """Return h_t = tanh(a) [N, H]; no gate is saved."""
    return (a[0].tanh(),), ()


def equations_backward(
    grads: State, gates: object, h: object, h_t: Tensor
) -> tuple[State, tuple[None]]:
    """Return a' [N, H], given h'_t."""
    (grad_h,) = grads
    grad_a = grad_h * (1 - h_t**2)
    return (grad_a,), (None,)


def relu_equations(a: State, h: object) -> tuple[State, State]:
    """Return h_t = max(a, 0) [N, H]; NaN stays NaN."""
    return (a[0].clamp_min(0),), ()


def relu_equations_backward(
    grads: State, gates: object, h: object, h_t: Tensor
) -> tuple[State, tuple[None]]:
    """Return a' [N, H], given h'_t."""
    (grad_h,) = grads
    grad_a = torch.where(h_t <= 0, 0, grad_h)  # not h_t > 0: the gradient at a NaN must be seen
    return (grad_a,), (None,)


def step(a_x: Tensor, a_h: Tensor, before: State) -> tuple[State, None]:
    """Return h_t [N, H] of tanh."""
    return equations((a_x + a_h,), before[0])[0], None


def step_backward(
    grads: State, gates: object, h: object, h_t: Tensor
) -> tuple[Tensor, Tensor, tuple[None]]:
    """Return a_x' and a_h' [N, H], given h'_t."""
    (grad_a,), before = equations_backward(grads, gates, h, h_t)
    return grad_a, grad_a, before


def relu_step(a_x: Tensor, a_h: Tensor, before: State) -> tuple[State, None]:
    """Return h_t [N, H] of relu."""
    return relu_equations((a_x + a_h,), before[0])[0], None


def relu_step_backward(
    grads: State, gates: object, h: object, h_t: Tensor
) -> tuple[Tensor, Tensor, tuple[None]]:
    """Return a_x' and a_h' [N, H], given h'_t."""
    (grad_a,), before = relu_equations_backward(grads, gates, h, h_t)
    return grad_a, grad_a, before


def parts(a: Tensor) -> tuple[Tensor, ...]:
    """Return a itself."""
    return (a,)


def step_in_place(a: State, before: State, after: State) -> None:
    """Write h_t = tanh(a) to `after`."""
    torch.tanh(a[0], out=after[0])


def step_backward_in_place(grads: State, grad_a: Tensor, h_t: Tensor) -> None:
    """Write a' = h'_t (1 - h_t^2) to `grad_a`, given h'_t."""
    aten.tanh_backward(grads[0], h_t, grad_input=grad_a)


def relu_step_in_place(a: State, before: State, after: State) -> None:
    """Write h_t = max(a, 0) to `after`; NaN stays NaN."""
    torch.clamp_min(a[0], 0, out=after[0])


def relu_step_backward_in_place(grads: State, grad_a: Tensor, h_t: Tensor) -> None:
    """Write a' = h'_t where h_t > 0 to `grad_a`, given h'_t."""
    aten.threshold_backward(grads[0], h_t, 0, grad_input=grad_a)


def slopes(a: object, h: object, h_t: Tensor) -> tuple[Tensor, ...]:
    """Return room for a' [B, H], twice, and h_t [B, H], of which each slope is a function."""
    grad_a = torch.empty_like(h_t)
    return grad_a, grad_a, h_t


TANH_IN_PLACE = InPlace(1, parts, step_in_place, slopes, step_backward_in_place, saves_gates=False)
RELU_IN_PLACE = InPlace(
    1, parts, relu_step_in_place, slopes, relu_step_backward_in_place, saves_gates=False
)
TANH_EQUATIONS = Equations(equations, equations_backward)
RELU_EQUATIONS = Equations(relu_equations, relu_equations_backward)
TANH = Cell(step, step_backward, gates=1, equations=TANH_EQUATIONS, in_place=TANH_IN_PLACE)
RELU = Cell(
    relu_step, relu_step_backward, gates=1, equations=RELU_EQUATIONS, in_place=RELU_IN_PLACE
)


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
    y, (h,) = recurrent(TANH, input, start, params, layers, stays_wide=(False,))
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
    y, (h,) = recurrent(RELU, input, start, params, layers, stays_wide=(False,))
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
    (h,) = one_step(TANH, input, start, weights, stays_wide=(False,))
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
    (h,) = one_step(RELU, input, start, weights, stays_wide=(False,))
    return h
