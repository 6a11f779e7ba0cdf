"""Backpropagation through time: the scan that every recurrent layer shares, apart from its cell.

Shapes     x [B, I]   y, h [B, P]   s [B, H]   a_x, a_h [B, G]   W_ih [G, I]   W_hh [G, P]
           W_hr [P, H]. B = sum_t N_t, all rows of all time steps (time_steps.py). h: the state
           that the layer puts out; s: the innermost state, c of an LSTM and h itself elsewhere.
           P = H unless there is a projection W_hr
Forward    at each step t, from the states h_0, s_0,
           a_x    = x_t W_ih^T + b_ih
           a_h    = h_t-1 W_hh^T + b_hh
           h_t, s_t = cell(a_x, a_h, h_t-1, s_t-1)   element by element (lstm.py, gru.py, rnn.py)
           m_t -> h_t = m_t W_hr^T                   where the cell's output m_t is projected
           y_t    = h_t
Backward   writing x' for dL/dx, given y' and the last states' h', s'; from the last step to the
           first,
    h'_t   = h'_t + y'_t   because h_t is put out, besides being read by step t + 1
    m'_t   = h'_t W_hr     because h_t = m_t W_hr^T, if there is a projection
    a_x', a_h'             the cell's, which also turns s'_t into s'_t-1
    h'_t-1 = a_h' W_hh     because da_h/dh_t-1 = W_hh; and what a cell passes on directly
    x'_t   = a_x' W_ih     because da_x/dx_t = W_ih
    W'_ih += a_x'^T x_t    because da_x/dW_ih = x_t, and every step reads the same W_ih, so that
                           its gradient is the sum over the steps; likewise
    W'_hh += a_h'^T h_t-1  because da_h/dW_hh = h_t-1
    b'_ih += sum a_x'      because da_x/db_ih = 1 in every row
    b'_hh += sum a_h'      because da_h/db_hh = 1 in every row
    W'_hr += h'_t^T m_t    because dh_t/dW_hr = m_t
  For second derivatives the states, gates and m that are saved are outputs too. Their gradients
  come from the lines above and are added to h'_t, s'_t and m'_t as y'_t is; those of the gates add
  to a_x' and a_h', by slopes that the cell has
Saves      the activated gates and s that the cell's slopes read, x (only if W'_ih is needed), W_ih
           (only if x' is needed), W_hh, h (only if W'_hh is needed and s is not h), W_hr and m
Cost       2BG(I + P) flops forward, twice that backward, of which 2BGP each way must wait for the
           step before
Source     Werbos 1990, "Backpropagation through time: what it does and how to do it"

The lines above are `forward` and `backward` below. bptt_fused.py computes the same with all
products that wait for nothing taken out of the scan, in memory that is there from the start.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from bptrain.ops.bptt_fused import fused_backward, fused_forward
from bptrain.ops.operation import operation
from bptrain.ops.rows import rows_of
from bptrain.ops.scan import (
    Gradients,
    Needs,
    Outputs,
    Saved,
    Scan,
    Scanned,
    ScanPrecision,
    State,
    Weights,
    results,
)
from bptrain.ops.time_steps import running


def forward(
    x: Tensor,
    W_ih: Tensor,
    W_hh: Tensor,
    b_ih: Tensor | None,
    b_hh: Tensor | None,
    W_hr: Tensor | None,
    h_0: Tensor,
    c_0: Tensor | None,
    scan: Scan,
    needs: Needs,
) -> tuple[Outputs, Saved]:
    """Return y [..., P], the last h [N, P] and c [N, H] or None, and tensors of Saved."""
    weights = Weights(W_ih, W_hh, b_ih, b_hh, W_hr)
    start = (h_0,) if c_0 is None else (h_0, c_0)
    scanned = _scan(rows_of(x), weights, start, scan)
    return results(x, weights, scanned, scan, needs)


def _scan(x: Tensor, weights: Weights, start: State, scan: Scan) -> Scanned:
    W_ih, W_hh, b_ih, b_hh, W_hr = weights
    cell, steps = scan.cell, scan.steps
    after: list[State] = []
    gates: list[Tensor] = []
    m: list[Tensor] = []
    now = start
    for (x_t,) in steps.by_step(x):
        before = tuple(running(*each, len(x_t)) for each in zip(now, start, strict=True))
        h = before[0]
        a_x = _affine(x_t, W_ih, b_ih)
        a_h = _affine(h, W_hh, b_hh)
        (m_t, *s_t), gates_t = cell.step(a_x, a_h, before)
        h_t = m_t if W_hr is None else _product(m_t, W_hr.t())
        now = tuple(new.to(old.dtype) for new, old in zip((h_t, *s_t), before, strict=True))

        after.append(now)
        gates += [] if gates_t is None else [gates_t]
        m += [] if W_hr is None else [m_t.to(W_hr.dtype)]
    states = (
        steps.joined_with_start(first, each)
        for first, each in zip(start, zip(*after, strict=True), strict=True)
    )
    return Scanned(
        tuple(states), steps.joined(gates) if gates else None, steps.joined(m) if m else None
    )


def backward(grad_y: Tensor, grad_h: Tensor, grad_c: Tensor | None, *rest: Any) -> Gradients:
    """Return the gradients, given those of y [..., P] and of the last states [N, ...].

    rest   in second derivatives the gradients by s, h, gates and m of Saved; Saved; Needs
    """
    more_s, more_h, more_gates, more_m, saved, needs = rest
    steps, W_ih, W_hh = saved.scan.steps, saved.W_ih, saved.W_hh
    x = None if saved.x is None else rows_of(saved.x)
    h_before, s_before, s = steps.before(saved.all_h), steps.before(saved.s), steps.after(saved.s)

    grads: State = (grad_h,) if grad_c is None else (grad_h, grad_c)  # of the states after a step
    more = (more_s,) if grad_c is None else (more_h, more_s)
    more_after = [None if each is None else steps.after(each) for each in more]
    grad_x: list[Tensor] = []
    sums: tuple[Tensor | None, ...] = (None,) * 5
    for grad_y_t, *rows in steps.by_step(
        rows_of(grad_y), x, h_before, saved.m, saved.gates, s_before, s, more_gates, more_m,
        *more_after, backwards=True,
    ):  # fmt: skip
        read, of_cell, more_t = rows[:3], rows[3:8], rows[8:]
        # a sequence that this step does not have holds its last or its first states' gradient
        now = tuple(each[: len(grad_y_t)] for each in grads)
        now = tuple(a if b is None else a + b for a, b in zip(now, more_t, strict=True))
        grad_h_t = now[0] + grad_y_t
        grad_a_x, grad_a_h, (passed, *others) = _cell_backward(
            saved, (grad_h_t, *now[1:]), *of_cell
        )
        grad_h_before = _sum(passed, None if W_hh is None else _product(grad_a_h, W_hh))
        grads = tuple(map(_replaced, grads, (grad_h_before, *others)))

        if W_ih is not None:
            grad_x.append(_product(grad_a_x, W_ih))
        terms = _of_parameters((grad_a_x, grad_a_h, grad_h_t), read, needs)
        sums = tuple(map(_sum, sums, terms))
    all_grad_x = None
    if W_ih is not None:
        all_grad_x = steps.joined(grad_x[::-1]).view(*grad_y.shape[:-1], W_ih.shape[1])
    at_start = (None if each is None else steps.start(each) for each in more)
    start = [*map(_sum, grads, at_start), None][:2]
    is_needed = (needs.h_0, needs.c_0)
    of_start = (each if need else None for each, need in zip(start, is_needed, strict=True))
    return Gradients._make([all_grad_x, *sums, *of_start])


def _cell_backward(
    saved: Saved,
    grads: tuple[Tensor, ...],
    gates: Tensor | None,
    s_before: Tensor,
    s: Tensor,
    *more: Tensor | None,
) -> tuple[Tensor, Tensor, tuple[Tensor | None, ...]]:
    """Return a_x', a_h' and the gradients of the states before, given those after one step.

    more   the gradients by the gates and by m
    """
    (grad_h, *others), (more_gates, more_m), cell = grads, more, saved.scan.cell
    grad_m = grad_h if saved.W_hr is None else _product(grad_h, saved.W_hr)
    grad_m = grad_m if more_m is None else grad_m + more_m
    grad_a_x, grad_a_h, before = cell.step_backward((grad_m, *others), gates, s_before, s)
    if gates is not None and more_gates is not None and cell.through_gates is not None:
        more_a_x, more_a_h = cell.through_gates(more_gates, gates)
        grad_a_x, grad_a_h = grad_a_x + more_a_x, grad_a_h + more_a_h
    return grad_a_x, grad_a_h, before


def _of_parameters(
    grads: tuple[Tensor, Tensor, Tensor], read: Sequence[Tensor], needs: Needs
) -> tuple[Tensor | None, ...]:
    """Return the share of one step in W'_ih, W'_hh, b'_ih, b'_hh and W'_hr."""
    (grad_a_x, grad_a_h, grad_h_t), (x_t, h_before, m_t) = grads, read
    return (
        _summed_product(grad_a_x, x_t) if needs.W_ih else None,
        _summed_product(grad_a_h, h_before) if needs.W_hh else None,
        _wide(grad_a_x).sum(0) if needs.b_ih else None,
        _wide(grad_a_h).sum(0) if needs.b_hh else None,
        _summed_product(grad_h_t, m_t) if needs.W_hr else None,
    )


def _affine(x: Tensor, W: Tensor, b: Tensor | None) -> Tensor:
    """Return x W^T + b."""
    y = _product(x, W.t())
    return y if b is None else y + b


def _product(a: Tensor, b: Tensor) -> Tensor:
    """Return a b in the dtype of b: under autocast a may be a wide state or its gradient."""
    return a.to(b.dtype) @ b


def _summed_product(a: Tensor, b: Tensor) -> Tensor:
    """Return a^T b in float32 or wider: a sum over time in 16 bits would lose the late steps."""
    return _wide(a).t() @ _wide(b)


def _wide(x: Tensor) -> Tensor:
    return x.to(torch.promote_types(x.dtype, torch.float32))


def _sum(a: Tensor | None, b: Tensor | None) -> Tensor | None:
    """Return a + b, where None is 0."""
    if a is None or b is None:
        return b if a is None else a
    return a + b


def _replaced(all_rows: Tensor, first: Tensor | None) -> Tensor:
    """Return all rows, with `first` in the place of the first ones."""
    if first is None:
        return all_rows
    return torch.cat([first.to(all_rows.dtype), all_rows[len(first) :]])


def fused_or_formula_backward(
    grad_y: Tensor, grad_h: Tensor, grad_c: Tensor | None, *rest: Any
) -> Gradients:
    """Return the same in place, or step by step in a second derivative."""
    *more, saved, needs = rest
    if all(each is None for each in more):
        return fused_backward(grad_y, grad_h, grad_c, saved, needs)
    return backward(grad_y, grad_h, grad_c, *rest)


bptt_function = operation(
    forward,
    backward,
    fused_forward=fused_forward,
    fused_backward=fused_or_formula_backward,
    precision=ScanPrecision(),
    optional_gradients=(3, 4, 5, 6),
)
