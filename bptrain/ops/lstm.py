"""Long short-term memory: a state c that is added to, not multiplied, so that gradients survive.

Shapes     x [N, I]   h [N, P]   c, i, f, g, o, m [N, H]   W_ih [4H, I]   W_hh [4H, P]   W_hr [P, H]
           P = H without a projection W_hr. The four gates lie side by side: a [N, 4H], in torch's
           order i, f, g, o
Forward    a   = a_x + a_h   a_x = x W_ih^T + b_ih, a_h = h_t-1 W_hh^T + b_hh   (bptt.py)
           i   = sigma(a_i)      how much is written     s (1 - s) is the slope of sigma
           f   = sigma(a_f)      how much of c_t-1 stays
           g   = tanh(a_g)       what is written         1 - g^2 is the slope of tanh
           o   = sigma(a_o)      how much is put out
           c_t = f c_t-1 + i g
           h_t = o tanh(c_t)     with a projection this is m_t, and h_t = m_t W_hr^T   (bptt.py)
Backward   writing x' for dL/dx, given h'_t (m'_t, if it is projected) and c'_t from step t + 1
    c'_t   = c'_t + h'_t o (1 - tanh^2 c_t)   because h_t = o tanh(c_t) depends on c_t, besides
                                              c_t+1, which step t + 1 accounted for
    a'_i   = c'_t g i (1 - i)                 because dc_t/di = g
    a'_f   = c'_t c_t-1 f (1 - f)             because dc_t/df = c_t-1
    a'_g   = c'_t i (1 - g^2)                 because dc_t/dg = i
    a'_o   = h'_t tanh(c_t) o (1 - o)         because dh_t/do = tanh(c_t)
    a_x'   = a_h' = a'                        because a is their sum
    c'_t-1 = c'_t f                           because dc_t/dc_t-1 = f: near 1, it does not fade
    h'_t-1 = a_h' W_hh                        because the gates alone read h_t-1 (bptt.py)
Saves      i, f, g, o and c, 5H numbers a row; not tanh(c): computing it again is one pass over c,
           less than a hundredth of the time, and saving it would cost a fifth more memory
Cost       8NH(I + P) flops forward, twice that backward; 5NH exponentials forward, NH backward
Source     Hochreiter and Schmidhuber 1997, "Long short-term memory"; the forget gate: Gers et al.
           2000, "Learning to forget"; the projection: Sak et al. 2014, arXiv 1402.1128
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from bptrain.ops.packed_rows import sizes_of
from bptrain.ops.recurrent import Layers, one_step, recurrent
from bptrain.ops.scan import Cell, Equations, InPlace, State, Weights

aten = torch.ops.aten


def equations(a: State, c: Tensor) -> tuple[State, State]:
    """Return h_t and c_t [N, H], and the gates i, f, g, o, given the four parts of a."""
    a_i, a_f, a_g, a_o = a
    i = a_i.sigmoid()
    f = a_f.sigmoid()
    g = a_g.tanh()
    o = a_o.sigmoid()
    c_t = f * c + i * g
    h_t = o * c_t.tanh()
    return (h_t, c_t), (i, f, g, o)


def step(a_x: Tensor, a_h: Tensor, before: State) -> tuple[State, Tensor]:
    """Return h_t and c_t [N, H], and the gates [N, 4H]."""
    after, gates = equations((a_x + a_h).chunk(4, 1), before[1])
    return after, torch.cat(gates, 1)


def equations_backward(
    grads: State, gates: State, c: Tensor, c_t: Tensor
) -> tuple[State, tuple[None, Tensor]]:
    """Return the four parts of a', and c'_t-1, given h'_t and c'_t."""
    (grad_h, grad_c), (i, f, g, o) = grads, gates
    grad_c = grad_c + grad_h * o * (1 - c_t.tanh() ** 2)
    grad_a_i = grad_c * g * i * (1 - i)
    grad_a_f = grad_c * c * f * (1 - f)
    grad_a_g = grad_c * i * (1 - g**2)
    grad_a_o = grad_h * c_t.tanh() * o * (1 - o)
    return (grad_a_i, grad_a_f, grad_a_g, grad_a_o), (None, grad_c * f)


def step_backward(
    grads: State, gates: Tensor | None, c: Tensor, c_t: Tensor
) -> tuple[Tensor, Tensor, tuple[None, Tensor]]:
    """Return a_x' and a_h' [N, 4H], and c'_t-1, given h'_t and c'_t."""
    assert gates is not None
    parts_of_grad_a, before = equations_backward(grads, gates.chunk(4, 1), c, c_t)
    grad_a = torch.cat(parts_of_grad_a, 1)
    return grad_a, grad_a, before


def through_gates(grad_gates: Tensor, gates: Tensor) -> tuple[Tensor, Tensor]:
    """Return what the gradient of i, f, g, o adds to a_x' and a_h' [N, 4H]."""
    (grad_i, grad_f, grad_g, grad_o), (i, f, g, o) = grad_gates.chunk(4, 1), gates.chunk(4, 1)
    of_a = (grad_i * i * (1 - i), grad_f * f * (1 - f), grad_g * (1 - g**2), grad_o * o * (1 - o))
    grad_a = torch.cat(of_a, 1)
    return grad_a, grad_a


def parts(a: Tensor) -> tuple[Tensor, ...]:
    """Return i and f together, i, f, g, o."""
    H = a.shape[1] // 4
    return a[:, : 2 * H], *a.chunk(4, 1)


def step_in_place(a: State, before: State, after: State) -> None:
    """Activate the gates in place and write h_t and c_t to `after`."""
    (i_f, i, f, g, o), (_, c), (h_t, c_t) = a, before, after
    i_f.sigmoid_()
    g.tanh_()
    o.sigmoid_()
    torch.mul(f, c, out=c_t).addcmul_(i, g)
    torch.mul(o, c_t.tanh(), out=h_t)


def slopes(a: Tensor | None, c: Tensor, c_t: Tensor) -> tuple[Tensor, ...]:
    """Return what h'_t and c'_t are multiplied by, for the rows of all time steps at once.

    The slopes of a [B, 4H], in whose memory a' will stand, and its parts i, f, g [B, 3, H] and o
    [B, H]; then dh_t/dc_t and f [B, H].
    """
    assert a is not None
    i, f, g, o = a.chunk(4, 1)
    by_a, tanh_c = torch.empty_like(a), c_t.tanh()
    by_i, by_f, by_g, by_o = by_a.chunk(4, 1)
    aten.sigmoid_backward(g, i, grad_input=by_i)  # g i (1 - i)
    aten.sigmoid_backward(c, f, grad_input=by_f)  # c_t-1 f (1 - f)
    aten.tanh_backward(i, g, grad_input=by_g)  # i (1 - g^2)
    aten.sigmoid_backward(tanh_c, o, grad_input=by_o)  # tanh(c_t) o (1 - o)
    by_c = tanh_c  # o (1 - tanh^2 c_t) takes its memory
    aten.tanh_backward(o, tanh_c, grad_input=by_c)
    by_ifg = by_a[:, : 3 * f.shape[1]].unflatten(1, (3, f.shape[1]))
    return by_a, by_ifg, by_o, by_c, f


def step_backward_in_place(
    grads: State, grad_ifg: Tensor, grad_o: Tensor, by_c: Tensor, f: Tensor
) -> None:
    """Turn the slopes of a into a' and c'_t into c'_t-1, given h'_t and c'_t."""
    grad_h, grad_c = grads
    grad_c.addcmul_(grad_h, by_c)
    grad_o.mul_(grad_h)
    grad_ifg.mul_(grad_c.unsqueeze(1))
    grad_c.mul_(f)


LSTM = Cell(
    step,
    step_backward,
    gates=4,
    equations=Equations(equations, equations_backward),
    in_place=InPlace(4, parts, step_in_place, slopes, step_backward_in_place),
    through_gates=through_gates,
)


def lstm(
    input: Tensor,
    hx: tuple[Tensor, Tensor] | None,
    params: Sequence[Tensor],
    has_biases: bool,
    num_layers: int,
    dropout: float,
    train: bool,
    bidirectional: bool,
    batch_first: bool = False,
    batch_sizes: Tensor | None = None,
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the output of every time step and the last h and c, as torch.lstm.

    input [T, N, I], or [N, T, I] with `batch_first`, or packed rows [B, I] with their
    `batch_sizes` [T]; hx = (h [L D, N, P], c [L D, N, H]) for L layers in D directions, zeros if
    None; params weight_ih, weight_hh, bias_ih, bias_hh, weight_hr of each layer and direction, the
    biases if `has_biases`, the projection weight_hr if there is one. The output has D P features.
    Raises ValueError for shapes that do not fit.
    """
    layers = Layers(has_biases, num_layers, dropout, train, bidirectional, batch_first, batch_sizes)
    projected = bool(params) and params[1].shape[0] != 4 * params[1].shape[1]
    # What torch's fused CPU kernel takes lies in autocast's dtype throughout; its step by step
    # path, for all else, computes c_t from f and a c_t-1 that is as wide as it came.
    sizes = (0,) if batch_sizes is None else sizes_of(batch_sizes)
    is_rectangular = sizes[:1] == sizes[-1:]
    fused = is_rectangular and input.numel() > 0
    stays_wide = (False, True) if projected else (not fused, not fused)
    y, (h, c) = recurrent(LSTM, input, hx, params, layers, stays_wide)
    return y, h, c


def lstm_cell(
    input: Tensor,
    hx: tuple[Tensor, Tensor] | None,
    w_ih: Tensor,
    w_hh: Tensor,
    b_ih: Tensor | None = None,
    b_hh: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Return h and c [N, H] after one time step with input [N, I], as torch.lstm_cell.

    hx = (h [N, H], c [N, H]), zeros if None.
    """
    weights = Weights(w_ih, w_hh, b_ih, b_hh, None)
    h, c = one_step(LSTM, input, hx, weights, stays_wide=(True, True))
    return h, c
