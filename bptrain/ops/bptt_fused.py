"""The scan of bptt.py in place: nothing in it but what must wait for the step before.

Forward    x W_ih^T of all time steps is one product before the scan. Each step adds its biases and
           h_t-1 W_hh^T to its rows and activates them where they lie
Backward   The slopes by which a cell multiplies what flows back depend on nothing that flows back:
           they are computed for all steps at once, in the memory that a' will take, and the scan
           only multiplies. When it is done, x', W'_ih, W'_hh, b' and W'_hr are each one product or
           sum over the rows of all steps, which is the sum over the steps that bptt.py derives
Memory     Every step writes into its rows of memory that is there from the start

x's and h's shares of a gate are added in one matrix a [B, G]. Where a cell must tell them apart
(GRU), a has more columns, and the cell says which of them each product is written to.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from bptrain.ops.bptt_kernels import (
    add_product,
    scan_back_by_kernels,
    scan_by_kernels,
    write_product,
)
from bptrain.ops.rows import rows_of
from bptrain.ops.scan import (
    Cell,
    Gradients,
    Needs,
    Outputs,
    Saved,
    Scan,
    Scanned,
    State,
    Weights,
    results,
)
from bptrain.ops.time_steps import running


def fused_forward(
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
    """Return y [..., P], the last h [N, P] and c [N, H] or None, of x [..., I]."""
    weights = Weights(W_ih, W_hh, b_ih, b_hh, W_hr)
    start = (h_0,) if c_0 is None else (h_0, c_0)
    scanned = _scan(rows_of(x), weights, start, scan)
    if not scan.cell.in_place.saves_gates:
        scanned = scanned._replace(gates=None)
    return results(x, weights, scanned, scan, needs)


def _scan(x: Tensor, weights: Weights, start: State, scan: Scan) -> Scanned:
    """Return what all steps compute of x [B, I] from the states `start` [N, ...]."""
    cell, steps = scan.cell.in_place, scan.steps
    W_hh, W_hr = weights.W_hh, weights.W_hr
    H = start[-1].shape[1]
    a = _from_input(x, weights.W_ih, scan.cell, H)
    bias = _bias(weights, scan.cell, H)
    W_t = W_hh.t()
    if len(steps.sizes) > 1:
        W_t = W_t.contiguous()  # read at every step: 43 us a product, not 50 (N = 64, H = 128)

    states = tuple(steps.with_start(each) for each in start)
    if scan.kernels is not None:
        scan_by_kernels(a, bias, W_t, states, scan, scan.kernels)
        return Scanned(states, a, None)
    h, *others = (steps.after(each) for each in states)
    m = None if W_hr is None else a.new_empty(steps.rows, H)
    written = (h if m is None else m, *others)  # by the cell

    before = start
    for a_t, a_h_t, h_t, *rest in steps.by_step(
        a, cell.columns.of_h(a), h, *written, *cell.parts(a)
    ):
        after, parts = tuple(rest[: len(start)]), tuple(rest[len(start) :])
        if not steps.are_equal:
            before = tuple(map(running, before, start, [len(a_t)] * len(start)))
        if bias is not None:
            a_t.add_(bias)  # in the cache: with x's product, a pass over all steps, 3 ms of 20
        a_h_t.addmm_(before[0].to(a_t.dtype), W_t)
        cell.forward(parts, before, after)
        if W_hr is not None:
            torch.mm(after[0], W_hr.t(), out=h_t)
        before = (h_t, *after[1:])
    return Scanned(states, a, m)


def _from_input(x: Tensor, W_ih: Tensor, cell: Cell, H: int) -> Tensor:
    """Return a [B, G] with x W_ih^T where x reaches and 0 elsewhere."""
    columns = cell.in_place.columns
    a = x.new_empty(x.shape[0], cell.in_place.width * H)
    from_x = columns.of_x(a)
    write_product(from_x, x, columns.arranged(W_ih).t())
    a[:, from_x.shape[1] :].zero_()
    return a


def _bias(weights: Weights, cell: Cell, H: int) -> Tensor | None:
    """Return b_ih + b_hh [G], each where its product is written."""
    if weights.b_ih is None and weights.b_hh is None:
        return None
    columns = cell.in_place.columns
    bias = weights.W_hh.new_zeros(cell.in_place.width * H)
    if weights.b_ih is not None:
        columns.of_x(bias).add_(columns.arranged(weights.b_ih))
    if weights.b_hh is not None:
        columns.of_h(bias).add_(weights.b_hh)
    return bias


def fused_backward(
    grad_y: Tensor, grad_h: Tensor, grad_c: Tensor | None, saved: Saved, needs: Needs
) -> Gradients:
    """Return the gradients, given those of y [..., P] and of the last states [N, ...]."""
    columns = saved.scan.cell.in_place.columns
    rows = rows_of(grad_y)
    last = (grad_h,) if grad_c is None else (grad_h, grad_c)
    grad_a, grad_h_all, grad_start = _scan_backward(rows, last, saved, needs.h_0)
    grad_a_x, grad_a_h = columns.of_x(grad_a), columns.of_h(grad_a)

    grad_x = grad_W_ih = grad_b_ih = grad_W_hh = grad_b_hh = grad_W_hr = None
    if saved.W_ih is not None:
        W_ih = columns.arranged(saved.W_ih)
        grad_x = grad_a_x.mm(W_ih).view(*grad_y.shape[:-1], W_ih.shape[1])
    if saved.x is not None:
        x = rows_of(saved.x)
        grad_W_ih = columns.restored(_summed_product(grad_a_x, x))
    if needs.W_hh:
        h_before = saved.scan.steps.before(saved.all_h).to(grad_a.dtype)
        grad_W_hh = _summed_product(grad_a_h, h_before)
    if needs.b_ih or needs.b_hh:
        grad_b = grad_a.sum(0)
        grad_b_ih = columns.restored(columns.of_x(grad_b)) if needs.b_ih else None
        grad_b_hh = columns.of_h(grad_b).clone() if needs.b_hh else None
    if saved.m is not None:
        grad_W_hr = _summed_product(grad_h_all, saved.m)
    return Gradients(
        grad_x, grad_W_ih, grad_W_hh, grad_b_ih, grad_b_hh, grad_W_hr,
        grad_start[0] if needs.h_0 else None, grad_start[1] if needs.c_0 else None,
    )  # fmt: skip


class ByStep(NamedTuple):
    """The gradients within a scan, in the rows of y."""

    a_x: Tensor  # [B, G], its columns in an order of the cell's
    a_h: Tensor  # [B, G]
    h: Tensor  # [B, P], through all that reads a state: y_t, the last state and the later steps


def gradients_by_step(
    grad_y: Tensor | None, grad_h: Tensor | None, grad_c: Tensor | None, saved: Saved
) -> ByStep:
    """Return what the backward pass computes on its way.

    Given the gradients of y [..., P] and of the last states [N, ...], None for 0.
    """
    scan, s = saved.scan, saved.s
    P = s.shape[1] if saved.W_hr is None else saved.W_hr.shape[0]
    rows = s.new_zeros(scan.steps.rows, P) if grad_y is None else rows_of(grad_y)
    last = tuple(
        s.new_zeros(scan.steps.sizes[0], width) if grad is None else grad
        for grad, width, _ in zip((grad_h, grad_c), (P, s.shape[1]), scan.stays_wide, strict=False)
    )
    grad_a, grad_h_all, _ = _scan_backward(rows, last, saved, needs_h_0=False, keeps_h=True)
    columns = scan.cell.in_place.columns
    return ByStep(columns.of_x(grad_a), columns.of_h(grad_a), grad_h_all)


def _scan_backward(
    grad_y: Tensor, grad_last: State, saved: Saved, needs_h_0: bool, keeps_h: bool = False
) -> tuple[Tensor, Tensor, State]:
    """Return a' [B, G], h' [B, P] if it is kept, and the first states' gradients.

    keeps_h  whether h' is kept where no projection reads it
    """
    cell, steps = saved.scan.cell.in_place, saved.scan.steps
    W_hh, W_hr = saved.W_hh, saved.W_hr
    if saved.scan.kernels is not None and not keeps_h:  # the gates are then needed once more
        grad_a, grad_start = scan_back_by_kernels(
            grad_y, grad_last, saved, needs_h_0, saved.scan.kernels
        )
        return grad_a, grad_y, grad_start
    grad_a, *slopes = cell.slopes(saved.gates, steps.before(saved.s), steps.after(saved.s))
    keeps_h |= W_hr is not None
    grad_h = torch.empty_like(grad_y) if keeps_h else grad_y

    carried = tuple(each.clone() for each in grad_last)
    now = carried
    scan = steps.by_step(grad_y, grad_h, cell.columns.of_h(grad_a), *slopes, backwards=True)
    for done, (grad_y_t, grad_h_t, grad_a_h_t, *slopes_t) in enumerate(scan, start=1):
        if not steps.are_equal:
            # Sequences that a scan backwards has not reached yet still hold the last states'
            # gradient; those that it is done with already hold the first states'.
            now = tuple(each[: len(grad_y_t)] for each in carried)
        carried_h = now[0].add_(grad_y_t)
        if keeps_h:
            grad_h_t.copy_(carried_h)
        grad_m_t = carried_h if W_hr is None else grad_h_t.mm(W_hr)
        cell.backward((grad_m_t, *now[1:]), *slopes_t)
        if W_hh is not None and (done < len(steps.sizes) or needs_h_0):
            add_product(carried_h, grad_a_h_t, W_hh, onto=cell.passes_h)
    return grad_a, grad_h, carried


def _summed_product(a: Tensor, b: Tensor) -> Tensor:
    """Return a^T b, summed over the rows of all time steps."""
    if a.shape[0] < 4096:
        return a.t().mm(b)
    # As (b^T a)^T where a outgrows the cache: 9.8 ms, not 12.9, for 12800 rows of 512 and 128 on an
    # idle CPU, 5.3, not 7.3, for 6400 rows on a busy one, the last copy included
    return b.t().mm(a).t().contiguous()
