"""Gated recurrent unit: h moves from h_t-1 towards a candidate n by as much as its gate z allows.

Shapes     x [N, I]   h, r, z, n, q [N, H]   a_x, a_h [N, 3H]   W_ih [3H, I]   W_hh [3H, H]
           a_x, a_h, W_ih and W_hh hold r, z, n in torch's order
Forward    a_x = x W_ih^T + b_ih, in parts x_r, x_z, x_n         (bptt.py)
           a_h = h_t-1 W_hh^T + b_hh, in parts h_r, h_z, q       (bptt.py)
           r   = sigma(x_r + h_r)      how much of q the candidate reads
           z   = sigma(x_z + h_z)      how much of h_t-1 stays
           n   = tanh(x_n + r q)       s (1 - s) is the slope of sigma, 1 - n^2 that of tanh
           h_t = n + z (h_t-1 - n)
Backward   writing x' for dL/dx, given h'_t; a'_z is both x'_z and h'_z, a'_r both x'_r and h'_r
    a'_z   = h'_t (h_t-1 - n) z (1 - z)      because dh_t/dz = h_t-1 - n
    a'_n   = h'_t (1 - z) (1 - n^2)          because dh_t/dn = 1 - z; it is x'_n
    q'     = a'_n r                          because n reads r q
    a'_r   = a'_n q r (1 - r)                because n reads r q
    h'_t-1 = h'_t z + a_h' W_hh              because dh_t/dh_t-1 = z, and the gates read h_t-1
                                             (the second term: bptt.py)
Saves      n, r, z, q and h, 5H numbers a row
Cost       6NH(I + H) flops forward, twice that backward; 3NH exponentials forward
Source     Cho et al. 2014, arXiv 1406.1078. As in torch and cuDNN, r is multiplied after the
           product with W_hh, not before: the product waits for no gate, and one serves all three

In place, x and h meet in r and z but reach n apart, so that a [N, 4H] lies in the order n, r, z, q:
x writes its first 3H columns, h its last.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from bptrain.ops.recurrent import Layers, one_step, recurrent
from bptrain.ops.scan import Cell, Columns, Equations, InPlace, State, Weights

aten = torch.ops.aten


def equations(a: State, h: Tensor) -> tuple[State, State]:
    """Return h_t [N, H], and n, r, z, q, given x_n, x_r + h_r, x_z + h_z, q."""
    x_n, a_r, a_z, q = a
    r = a_r.sigmoid()
    z = a_z.sigmoid()
    n = (x_n + r * q).tanh()
    h_t = n + z * (h - n)
    return (h_t,), (n, r, z, q)


def step(a_x: Tensor, a_h: Tensor, before: State) -> tuple[State, Tensor]:
    """Return h_t [N, H], and n, r, z, q [N, 4H]."""
    (h,), (x_r, x_z, x_n), (h_r, h_z, q) = before, a_x.chunk(3, 1), a_h.chunk(3, 1)
    after, gates = equations((x_n, x_r + h_r, x_z + h_z, q), h)
    return after, torch.cat(gates, 1)


def equations_backward(grads: State, gates: State, h: Tensor, h_t: object) -> tuple[State, State]:
    """Return x'_n, a'_r, a'_z and q' [N, H], and the share h'_t z of h'_t-1, given h'_t."""
    (grad_h,), (n, r, z, q) = grads, gates
    grad_a_z = grad_h * (h - n) * z * (1 - z)
    grad_a_n = grad_h * (1 - z) * (1 - n**2)
    grad_q = grad_a_n * r
    grad_a_r = grad_a_n * q * r * (1 - r)
    return (grad_a_n, grad_a_r, grad_a_z, grad_q), (grad_h * z,)


def step_backward(
    grads: State, gates: Tensor | None, h: Tensor, h_t: object
) -> tuple[Tensor, Tensor, State]:
    """Return a_x' and a_h' [N, 3H], and the share h'_t z of h'_t-1, given h'_t."""
    assert gates is not None
    grad_a, before = equations_backward(grads, gates.chunk(4, 1), h, h_t)
    grad_a_n, grad_a_r, grad_a_z, grad_q = grad_a
    grad_a_x = torch.cat([grad_a_r, grad_a_z, grad_a_n], 1)
    grad_a_h = torch.cat([grad_a_r, grad_a_z, grad_q], 1)
    return grad_a_x, grad_a_h, before


def through_gates(grad_gates: Tensor, gates: Tensor) -> tuple[Tensor, Tensor]:
    """Return what the gradient of n, r, z, q adds to a_x' and a_h' [N, 3H]."""
    (grad_n, grad_r, grad_z, grad_q), (n, r, z, q) = grad_gates.chunk(4, 1), gates.chunk(4, 1)
    grad_a_n = grad_n * (1 - n**2)
    grad_a_r = (grad_r + grad_a_n * q) * r * (1 - r)
    grad_a_z = grad_z * z * (1 - z)
    grad_a_x = torch.cat([grad_a_r, grad_a_z, grad_a_n], 1)
    return grad_a_x, torch.cat([grad_a_r, grad_a_z, grad_q + grad_a_n * r], 1)


def parts(a: Tensor) -> tuple[Tensor, ...]:
    """Return n, r and z together, r, z, q."""
    H = a.shape[1] // 4
    n, r, z, q = a.chunk(4, 1)
    return n, a[:, H : 3 * H], r, z, q


def step_in_place(a: State, before: State, after: State) -> None:
    """Activate the gates in place, except q, and write h_t to `after`."""
    (n, r_z, r, z, q), (h,), (h_t,) = a, before, after
    r_z.sigmoid_()
    n.addcmul_(r, q).tanh_()
    torch.lerp(n.to(h.dtype), h, z.to(h.dtype), out=h_t)


def slopes(a: Tensor | None, h: Tensor, h_t: object) -> tuple[Tensor, ...]:
    """Return what h'_t is multiplied by, for the rows of all time steps at once.

    The slopes of a [B, 4H], in whose memory a' will stand, and again as [B, 4, H]; z [B, H].
    """
    assert a is not None
    n, r, z, q = a.chunk(4, 1)
    by_a = torch.empty_like(a)
    by_n, by_r, by_z, by_q = by_a.chunk(4, 1)
    aten.sigmoid_backward(h - n, z, grad_input=by_z)  # (h_t-1 - n) z (1 - z)
    aten.tanh_backward(1 - z, n, grad_input=by_n)  # (1 - z) (1 - n^2)
    aten.sigmoid_backward(by_n * q, r, grad_input=by_r)  # n's slope q r (1 - r)
    by_q.copy_(by_n).mul_(r)  # n's slope r
    return by_a, by_a.unflatten(1, (4, z.shape[1])), z


def step_backward_in_place(grads: State, grad_a: Tensor, z: Tensor) -> None:
    """Turn the slopes of a into a' and h'_t into h'_t z."""
    (grad_h,) = grads
    grad_a.mul_(grad_h.unsqueeze(1))
    grad_h.mul_(z)


COLUMNS = Columns(
    of_x=lambda a: a[..., : a.shape[-1] // 4 * 3],
    of_h=lambda a: a[..., a.shape[-1] // 4 :],
    arranged=lambda rows: rows.roll(len(rows) // 3, 0),  # n first
    restored=lambda rows: rows.roll(-(len(rows) // 3), 0),  # n last
)
GRU = Cell(
    step,
    step_backward,
    gates=3,
    equations=Equations(equations, equations_backward),
    in_place=InPlace(
        4, parts, step_in_place, slopes, step_backward_in_place, COLUMNS, passes_h=True
    ),
    through_gates=through_gates,
)


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
    y, (h,) = recurrent(GRU, input, start, params, layers, stays_wide=(True,))
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
    (h,) = one_step(GRU, input, start, Weights(w_ih, w_hh, b_ih, b_hh, None), stays_wide=(True,))
    return h
