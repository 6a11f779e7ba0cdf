"""Long short-term memory: a state c that is added to, not multiplied through, so blame survives.

Shapes     x [N, I]   h [N, P]   c, i, f, g, o [N, H]   W_ih [4H, I]   W_hh [4H, P]   W_hr [P, H]
           P = H without a projection W_hr. The four gates lie side by side: a [N, 4H], in torch's
           order i, f, g, o
Forward    a   = x W_ih^T + b_ih + h_t-1 W_hh^T + b_hh   (the walk's, bptt.py)
           i   = sigma(a_i)      how much is written     s (1 - s) is the slope of sigma
           f   = sigma(a_f)      how much is kept
           g   = tanh(a_g)       what is written         1 - g^2 is the slope of tanh
           o   = sigma(a_o)      how much is shown
           c_t = f c_t-1 + i g
           h_t = o tanh(c_t)     with a projection: m = o tanh(c_t), h_t = m W_hr^T
Backward   given h'_t (as m'_t = h'_t W_hr, if it was projected) and c'_t from step t + 1
    c'_t   = c'_t + h'_t o (1 - tanh^2 c_t)   because h_t = o tanh(c_t) shows c_t to the readers of
                                              step t, besides what step t + 1 made of it
    a'_o   = h'_t tanh(c_t) o (1 - o)         because dh_t/do = tanh(c_t)
    a'_i   = c'_t g i (1 - i)                 because dc_t/di = g
    a'_g   = c'_t i (1 - g^2)                 because dc_t/dg = i
    a'_f   = c'_t c_t-1 f (1 - f)             because dc_t/df = c_t-1
    c'_t-1 = c'_t f                           because dc_t/dc_t-1 = f: near 1, blame does not fade
    h'_t-1 = a' W_hh                          because the gates alone read h_t-1 (the walk's)
Keeps      i, f, g, o and c, 5H numbers a row; not tanh(c): computing it again is one pass over c,
           less than a hundredth of the time, and keeping it would cost a fifth more memory
Cost       8NH(I + P) flops forward, twice that backward; 5NH exponentials forward, NH backward
Source     Hochreiter and Schmidhuber 1997, "Long short-term memory"; the forget gate: Gers et al.
           2000, "Learning to forget"; the projection: Sak et al. 2014, arXiv 1402.1128
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from bptrain.ops import gates
from bptrain.ops.bptt import Cell, State, Weights
from bptrain.ops.recurrent import Layers, one_step, recurrent


def columns(a: Tensor) -> tuple[Tensor, ...]:
    """Return i and f together, i, f, g, o."""
    H = a.shape[1] // 4
    return a[:, : 2 * H], *a.chunk(4, 1)


def forward(a: State, before: State, after: State) -> None:
    """Activate the gates in place and write h_t and c_t to `after`."""
    (i_f, i, f, g, o), (_, c), (h_t, c_t) = a, before, after
    i_f.sigmoid_()
    g.tanh_()
    o.sigmoid_()
    torch.mul(f, c, out=c_t).addcmul_(i, g)
    torch.mul(o, c_t.tanh(), out=h_t)


def backward_slopes(a: Tensor | None, c: Tensor, c_t: Tensor) -> tuple[Tensor, ...]:
    """Return what h'_t and c'_t are multiplied by, for the rows of all time steps at once.

    The slopes of a [B, 4H], in whose memory a' will stand, and its parts i, f, g [B, 3, H] and o
    [B, H]; then dh_t/dc_t and f [B, H].
    """
    assert a is not None
    i, f, g, o = a.chunk(4, 1)
    by_a, tanh_c = torch.empty_like(a), c_t.tanh()
    by_i, by_f, by_g, by_o = by_a.chunk(4, 1)
    gates.sigmoid_backward(g, i, by_i)  # g i (1 - i)
    gates.sigmoid_backward(c, f, by_f)  # c_t-1 f (1 - f)
    gates.tanh_backward(i, g, by_g)  # i (1 - g^2)
    gates.sigmoid_backward(tanh_c, o, by_o)  # tanh(c_t) o (1 - o)
    by_c = tanh_c  # o (1 - tanh^2 c_t) takes its memory
    gates.tanh_backward(o, tanh_c, by_c)
    by_ifg = by_a[:, : 3 * f.shape[1]].unflatten(1, (3, f.shape[1]))
    return by_a, by_ifg, by_o, by_c, f


def backward(grads: State, grad_ifg: Tensor, grad_o: Tensor, by_c: Tensor, f: Tensor) -> None:
    """Turn the slopes of a into a' and c'_t into c'_t-1, in place, given h'_t and c'_t."""
    grad_h, grad_c = grads
    grad_c.addcmul_(grad_h, by_c)
    grad_o.mul_(grad_h)
    grad_ifg.mul_(grad_c.unsqueeze(1))
    grad_c.mul_(f)


LSTM = Cell(4, 4, columns, forward, backward_slopes, backward)


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
    is_rectangular = batch_sizes is None or bool(batch_sizes[0] == batch_sizes[-1])
    fused = is_rectangular and input.numel() > 0
    keeps_wide = (False, True) if projected else (not fused, not fused)
    y, (h, c) = recurrent(LSTM, input, hx, params, layers, keeps_wide)
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
    h, c = one_step(LSTM, input, hx, weights, keeps_wide=(True, True))
    return h, c
