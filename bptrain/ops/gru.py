"""Gated recurrent unit: h moves from h_t-1 towards a candidate n by as much as its gate z allows.

Shapes     x [N, I]   h, r, z, n, q [N, H]   W_ih [3H, I]   W_hh [3H, H]
           W_ih and W_hh hold r, z, n in torch's order. x and h meet in r and z, but reach n apart,
           so that a [N, 4H] lies in the order n, r, z, q: x writes its first 3H columns, h its last
Forward    a_n, a_r, a_z  = x W_ih^T + b_ih          (the walk's, bptt.py)
           a_r, a_z, q   += h_t-1 W_hh^T + b_hh      (the walk's, q from 0)
           r   = sigma(a_r)            how much of q the candidate hears
           z   = sigma(a_z)            how much of h_t-1 is kept
           n   = tanh(a_n + r q)
           h_t = n + z (h_t-1 - n)
Backward   given h'_t
    a'_z   = h'_t (h_t-1 - n) z (1 - z)      because dh_t/dz = h_t-1 - n
    a'_n   = h'_t (1 - z) (1 - n^2)          because dh_t/dn = 1 - z
    q'     = a'_n r                          because n hears r q
    a'_r   = a'_n q r (1 - r)                because n hears r q
    h'_t-1 = h'_t z + [a'_r a'_z q'] W_hh    because h_t keeps z h_t-1, and the gates read h_t-1
                                             (the second term is the walk's)
Keeps      n, r, z, q and h, 5H numbers a row
Cost       6NH(I + H) flops forward, twice that backward; 3NH exponentials forward
Source     Cho et al. 2014, arXiv 1406.1078. As in torch and cuDNN, r is multiplied after the
           product with W_hh, not before: the product waits for no gate, and one serves all three
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from bptrain.ops import gates
from bptrain.ops.bptt import Cell, State, Weights
from bptrain.ops.recurrent import Layers, one_step, recurrent


def columns(a: Tensor) -> tuple[Tensor, ...]:
    """Return n, r and z together, r, z, q."""
    H = a.shape[1] // 4
    n, r, z, q = a.chunk(4, 1)
    return n, a[:, H : 3 * H], r, z, q


def forward(a: State, before: State, after: State) -> None:
    """Activate the gates in place, except q, and write h_t to `after`."""
    (n, r_z, r, z, q), (h,), (h_t,) = a, before, after
    r_z.sigmoid_()
    n.addcmul_(r, q).tanh_()
    torch.lerp(n.to(h.dtype), h, z.to(h.dtype), out=h_t)


def backward_slopes(a: Tensor | None, h: Tensor, h_t: object) -> tuple[Tensor, ...]:
    """Return what h'_t is multiplied by, for the rows of all time steps at once.

    The slopes of a [B, 4H], in whose memory a' will stand, and again as [B, 4, H]; z [B, H].
    """
    assert a is not None
    n, r, z, q = a.chunk(4, 1)
    by_a = torch.empty_like(a)
    by_n, by_r, by_z, by_q = by_a.chunk(4, 1)
    gates.sigmoid_backward(h - n, z, by_z)  # (h_t-1 - n) z (1 - z)
    gates.tanh_backward(1 - z, n, by_n)  # (1 - z) (1 - n^2)
    gates.sigmoid_backward(by_n * q, r, by_r)  # n's slope q r (1 - r)
    by_q.copy_(by_n).mul_(r)  # n's slope r
    return by_a, by_a.unflatten(1, (4, z.shape[1])), z


def backward(grads: State, grad_a: Tensor, z: Tensor) -> None:
    """Turn the slopes of a into a' and h'_t into what h_t-1 kept of it, in place."""
    (grad_h,) = grads
    grad_a.mul_(grad_h.unsqueeze(1))
    grad_h.mul_(z)


GRU = Cell(4, 3, columns, forward, backward_slopes, backward, passes_h=True)


def gru(
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
    """Return the output of every time step and the last h, as torch.gru.

    input [T, N, I], or [N, T, I] with `batch_first`, or packed rows [B, I] with their
    `batch_sizes` [T]; hx [L D, N, H] for L layers in D directions, zeros if None; params weight_ih,
    weight_hh, bias_ih, bias_hh of each layer and direction, the biases if `has_biases`. The output
    has D H features. Raises ValueError for shapes that do not fit.
    """
    layers = Layers(has_biases, num_layers, dropout, train, bidirectional, batch_first, batch_sizes)
    start = None if hx is None else (hx,)
    y, (h,) = recurrent(GRU, input, start, params, layers, keeps_wide=(True,))
    return y, h


def gru_cell(
    input: Tensor,
    hx: Tensor | None,
    w_ih: Tensor,
    w_hh: Tensor,
    b_ih: Tensor | None = None,
    b_hh: Tensor | None = None,
) -> Tensor:
    """Return h [N, H] after one time step with input [N, I] from hx [N, H], as torch.gru_cell."""
    start = None if hx is None else (hx,)
    (h,) = one_step(GRU, input, start, Weights(w_ih, w_hh, b_ih, b_hh, None), keeps_wide=(True,))
    return h
