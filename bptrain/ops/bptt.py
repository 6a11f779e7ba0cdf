"""Backpropagation through time: the walk that every recurrent layer shares, apart from its cell.

Shapes     x [B, I]   y, h [B, P]   s [B, H]   a [B, G]   W_ih [., I]   W_hh [., P]   W_hr [P, H]
           B = sum_t N_t, all rows of all time steps (time_steps.py). h: the state that the layer
           puts out; s: the innermost state, c of an LSTM and h itself elsewhere. P = H unless
           there is a projection W_hr
Forward    a = x W_ih^T                         for all time steps in one product; then, each step
           a_t += b_ih + b_hh + h_t-1 W_hh^T
           h_t, s_t = cell(a_t, h_t-1, s_t-1)   element by element
           m_t -> h_t = m_t W_hr^T              where the cell's output is projected
           y_t = h_t
Backward   given y' and the last states' h', s': from the last step to the first,
    h'_t   = h'_t + y'_t   because h_t is put out, besides being read by step t + 1
    m'_t   = h'_t W_hr     because h_t = m_t W_hr^T, if there is a projection
    a'_t   = the cell's, which also turns s'_t into s'_t-1, because both are elementwise
    h'_t-1 = a'_t W_hh     because da_t/dh_t-1 = W_hh (and what a cell passes on directly)
           and when the walk is done, for all time steps in one product each,
    x'     = a' W_ih       because da_t/dx_t = W_ih
    W'_ih  = a'^T x        because every step reads the same W_ih: its blame is the steps' sum
    W'_hh  = a'^T h_t-1    because every step reads the same W_hh
    b'     = sum a'        because da/db = 1 in every row, for b_ih and b_hh alike
    W'_hr  = h'^T m        because every step is projected by the same W_hr
Keeps      what the cell's slopes read (activated gates and s), x (only if W'_ih is wanted), W_ih
           (only if x' is wanted), W_hh, h (only if W'_hh is wanted and s is not h), W_hr and m
Cost       2BG(I + P) flops forward, twice that backward, of which 2BGP each way stand in the walk:
           all that must wait for the step before
Source     Werbos 1990, "Backpropagation through time: what it does and how to do it"

The slopes by which a cell multiplies what flows back depend on nothing that flows back. They are
computed for all steps at once, in the memory that a' will take, and the walk only multiplies: it is
linear in what it carries. Every step writes into its rows of memory that is there from the start.

Where x's and h's shares of a gate must be told apart (GRU), a has more columns than W_ih has rows:
x's share is written to the first columns, h's to the last, and they are added where they overlap.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor

from bptrain.ops.autocast import first_derivative, in_given_dtype
from bptrain.ops.time_steps import Steps, running

State = tuple[Tensor, ...]  # (h,), or (h, c) of an LSTM


class Cell(NamedTuple):
    """The equations of one time step; all functions write into memory they are given.

    gates        columns of a, in units of H
    reached      gates that x reaches, the first ones, and that h reaches, the last ones
    columns      views of a by the names that the equations give them
    forward      given these of one step, and the states before and after it, activates the first
                 and fills the last
    backward_slopes
                 given the activated gates and s before and after, of all steps at once, returns
                 the memory of a' and what `backward` takes besides the states' gradients
    backward     given the states' gradients and the slopes of one step, completes a'_t and turns
                 the gradients into those of the states before, but for a'_t W_hh
    keeps_gates  whether `backward_slopes` reads the gates
    passes_h     whether h_t-1 reaches h_t past the gates, so that `backward` leaves its share
    """

    gates: int
    reached: int
    columns: Callable[[Tensor], tuple[Tensor, ...]]
    forward: Callable[[State, State, State], None]
    backward_slopes: Callable[[Tensor | None, Tensor, Tensor], tuple[Tensor, ...]]
    backward: Callable[..., None]
    keeps_gates: bool = True
    passes_h: bool = False


class Plan(NamedTuple):
    """The constants of one walk."""

    cell: Cell
    steps: Steps
    dtype: torch.dtype  # of the matrix products: autocast's while it is on
    state_dtypes: tuple[torch.dtype, ...]


class Weights(NamedTuple):
    """The parameters of one layer in one direction."""

    W_ih: Tensor  # its gates in torch's order
    W_hh: Tensor
    b_ih: Tensor | None
    b_hh: Tensor | None
    W_hr: Tensor | None


class Needs(NamedTuple):
    """Which gradients are wanted."""

    x: bool
    W_ih: bool
    W_hh: bool
    b_ih: bool
    b_hh: bool
    W_hr: bool
    h_0: bool


class Saved(NamedTuple):
    """What the backward pass reads; s and h include the states that the walk starts from."""

    x: Tensor | None  # [..., I]
    W_ih: Tensor | None
    W_hh: Tensor | None
    W_hr: Tensor | None
    gates: Tensor | None  # [B, G], activated
    s: Tensor  # [N + B, H]
    h: Tensor | None  # [N + B, P], where it is not s
    m: Tensor | None  # [B, H], the cell's output before the projection


class Walked(NamedTuple):
    """What the forward pass makes."""

    y: Tensor  # [B, P]
    last: State
    gates: Tensor
    states: State  # with those that the walk starts from
    m: Tensor | None


class Gradients(NamedTuple):
    """What the backward pass returns, None where it is not wanted."""

    x: Tensor | None
    W_ih: Tensor | None
    W_hh: Tensor | None
    b_ih: Tensor | None
    b_hh: Tensor | None
    W_hr: Tensor | None
    start: State


def forward(x: Tensor, weights: Weights, start: State, plan: Plan) -> Walked:
    """Walk over x [B, I] from the states `start` [N, ...]."""
    cell, steps = plan.cell, plan.steps
    W_hh, W_hr = weights.W_hh, weights.W_hr
    H = start[-1].shape[1]
    gates, hidden_gates = _gates_from_input(x, weights.W_ih, cell, H)
    bias = _bias(weights, cell, H)
    W_t = W_hh.t()
    if len(steps.sizes) > 1:
        W_t = W_t.contiguous()  # read at every step: 43 us a product, not 50 (N = 64, H = 128)

    states = tuple(steps.with_start(each) for each in start)
    h, *others = (steps.after(each) for each in states)
    m = None if W_hr is None else gates.new_empty(steps.rows, H)
    written = (h if m is None else m, *others)  # by the cell

    before = start
    for a_t, a_h_t, h_t, *rest in steps.walk(
        gates, hidden_gates, h, *written, *cell.columns(gates)
    ):
        after, columns = tuple(rest[: len(start)]), tuple(rest[len(start) :])
        if not steps.are_equal:
            before = tuple(map(running, before, start, [len(a_t)] * len(start)))
        if bias is not None:
            a_t.add_(bias)  # in the cache: with x's product, a pass over all steps, 3 ms of 20
        a_h_t.addmm_(before[0].to(a_t.dtype), W_t)
        cell.forward(columns, before, after)
        if W_hr is not None:
            torch.mm(after[0], W_hr.t(), out=h_t)
        before = (h_t, *after[1:])
    return Walked(h, tuple(steps.last(each) for each in states), gates, states, m)


def backward(grad_y: Tensor, grad_last: State, saved: Saved, needs: Needs, plan: Plan) -> Gradients:
    """Return the gradients, given those of y [B, P] and of the last states [N, ...]."""
    grad_a, grad_h, grad_start = _walk_backward(grad_y, grad_last, saved, needs, plan)
    h = saved.s if saved.h is None else saved.h
    cell, H = plan.cell, saved.s.shape[1]
    grad_a_x, grad_a_h = _shares(grad_a, cell, H)

    grad_x = grad_W_ih = grad_b_ih = grad_W_hh = grad_b_hh = grad_W_hr = None
    if needs.x and saved.W_ih is not None:
        grad_x = grad_a_x.mm(_turned(saved.W_ih, cell, H))
    if needs.W_ih and saved.x is not None:
        x = saved.x.reshape(-1, saved.x.shape[-1])
        grad_W_ih = _turned(_summed_product(grad_a_x, x), cell, -H)
    if needs.W_hh:
        h_before = plan.steps.before(h).to(grad_a.dtype)
        grad_W_hh = _summed_product(grad_a_h, h_before)
    if needs.b_ih or needs.b_hh:
        grad_b_x, grad_b_h = _shares(grad_a.sum(0), cell, H)
        grad_b_ih = _turned(grad_b_x, cell, -H) if needs.b_ih else None
        grad_b_hh = grad_b_h.clone() if needs.b_hh else None
    if needs.W_hr and saved.m is not None:
        grad_W_hr = _summed_product(grad_h, saved.m)
    return Gradients(grad_x, grad_W_ih, grad_W_hh, grad_b_ih, grad_b_hh, grad_W_hr, grad_start)


def _summed_product(a: Tensor, b: Tensor) -> Tensor:
    """Return a^T b, summed over the rows of all time steps."""
    if a.shape[0] < 4096:
        return a.t().mm(b)
    # As (b^T a)^T where a outgrows the cache: 9.8 ms, not 12.9, for 12800 rows of 512 and 128 on an
    # idle CPU, 5.3, not 7.3, for 6400 rows on a busy one, the last copy included
    return b.t().mm(a).t().contiguous()


def _walk_backward(
    grad_y: Tensor, grad_last: State, saved: Saved, needs: Needs, plan: Plan
) -> tuple[Tensor, Tensor, State]:
    """Return a' [B, G], h' [B, P] if there is a projection, and the first states' gradients."""
    cell, steps = plan.cell, plan.steps
    W_hh, W_hr = saved.W_hh, saved.W_hr
    grad_a, *slopes = cell.backward_slopes(saved.gates, steps.before(saved.s), steps.after(saved.s))
    _, grad_a_h = _shares(grad_a, cell, saved.s.shape[1])
    grad_h = grad_y if W_hr is None else torch.empty_like(grad_y)

    carried = tuple(each.clone() for each in grad_last)
    now = carried
    walk = steps.walk(grad_y, grad_h, grad_a_h, *slopes, backwards=True)
    for walked, (grad_y_t, grad_h_t, grad_a_h_t, *slopes_t) in enumerate(walk, start=1):
        if not steps.are_equal:
            # Sequences that begin only now, walking back, still hold the last states' gradient;
            # those that are through already hold the first states'.
            now = tuple(each[: len(grad_y_t)] for each in carried)
        carried_h = now[0].add_(grad_y_t)
        if W_hr is None:
            cell.backward(now, *slopes_t)
        else:
            grad_h_t.copy_(carried_h)
            cell.backward((grad_h_t.mm(W_hr), *now[1:]), *slopes_t)
        if W_hh is not None and (walked < len(steps.sizes) or needs.h_0):
            _add_product(carried_h, grad_a_h_t, W_hh, onto=cell.passes_h)
    return grad_a, grad_h, carried


def _add_product(out: Tensor, a: Tensor, b: Tensor, onto: bool) -> None:
    """Write a b to `out`, or add it `onto` what is there."""
    if out.dtype == a.dtype:
        out.addmm_(a, b, beta=int(onto))
    elif onto:
        out.add_(a.mm(b))
    else:
        out.copy_(a.mm(b))


def _gates_from_input(x: Tensor, W_ih: Tensor, cell: Cell, H: int) -> tuple[Tensor, Tensor]:
    """Return a [B, G] with x W_ih^T where x reaches and 0 elsewhere, and the columns h reaches."""
    gates = x.new_empty(x.shape[0], cell.gates * H)
    from_x, from_h = _shares(gates, cell, H)
    from_x.addmm_(x, _turned(W_ih, cell, H).t(), beta=0)
    gates[:, from_x.shape[1] :].zero_()
    return gates, from_h


def _bias(weights: Weights, cell: Cell, H: int) -> Tensor | None:
    """Return b_ih + b_hh [G], each where its product is written."""
    if weights.b_ih is None and weights.b_hh is None:
        return None
    bias = weights.W_hh.new_zeros(cell.gates * H)
    from_x, from_h = _shares(bias, cell, H)
    if weights.b_ih is not None:
        from_x.add_(_turned(weights.b_ih, cell, H))
    if weights.b_hh is not None:
        from_h.add_(weights.b_hh)
    return bias


def _shares(gates: Tensor, cell: Cell, H: int) -> tuple[Tensor, Tensor]:
    """Return the columns that x reaches and those that h reaches."""
    apart = (cell.gates - cell.reached) * H
    return gates[..., : gates.shape[-1] - apart], gates[..., apart:]


def _turned(rows: Tensor, cell: Cell, by: int) -> Tensor:
    """Return the gates of W_ih or b_ih with the one that h does not reach first, not last."""
    return rows if cell.gates == cell.reached else rows.roll(by, 0)


class WalkFunction(torch.autograd.Function):
    """Glue between autograd and the two functions above: one layer in one direction."""

    @staticmethod
    @in_given_dtype
    def forward(ctx: Any, plan: Plan, x: Tensor, *weights_and_start: Any) -> tuple[Tensor, ...]:
        """Take x, the five weights and the first states; return y and the last states."""
        needs = Needs(*ctx.needs_input_grad[1:8])
        x = x.to(plan.dtype)
        cast: list[Any] = [w if w is None else w.to(plan.dtype) for w in weights_and_start[:5]]
        weights = Weights(*cast)
        start = tuple(map(Tensor.to, weights_and_start[5:], plan.state_dtypes))
        walked = forward(x.reshape(-1, x.shape[-1]), weights, start, plan)
        ctx.plan, ctx.needs = plan, needs
        ctx.save_for_backward(*_kept(x, weights, walked, needs, plan))
        # y lies in one memory with the states before and after it. Detached, autograd sees a tensor
        # of its own, which may be changed in place as long as no gradient reads it.
        y = walked.y.view(*x.shape[:-1], walked.y.shape[1]).detach()
        return y, *walked.last

    @staticmethod
    @first_derivative
    def backward(ctx: Any, grad_y: Tensor, *grad_last: Tensor) -> tuple[Tensor | None, ...]:
        """Run the backward pass."""
        saved = Saved(*ctx.saved_tensors)
        grad_rows = grad_y.reshape(-1, grad_y.shape[-1])
        grads = backward(grad_rows, grad_last, saved, ctx.needs, ctx.plan)
        grad_x = None if grads.x is None else grads.x.view(*grad_y.shape[:-1], grads.x.shape[1])
        start = (
            each if is_wanted else None
            for each, is_wanted in zip(grads.start, ctx.needs_input_grad[7:], strict=True)
        )
        return None, grad_x, *grads[1:-1], *start


def _kept(x: Tensor, weights: Weights, walked: Walked, needs: Needs, plan: Plan) -> Saved:
    """Choose what the wanted gradients read."""
    has_one_state = len(walked.states) == 1
    carries_h = len(plan.steps.sizes) > 1 or needs.h_0
    return Saved(
        x=x if needs.W_ih else None,
        W_ih=weights.W_ih if needs.x else None,
        W_hh=weights.W_hh if carries_h else None,
        W_hr=weights.W_hr,
        gates=walked.gates if plan.cell.keeps_gates else None,
        s=walked.states[-1],
        h=walked.states[0] if needs.W_hh and not has_one_state else None,
        m=walked.m if needs.W_hr else None,
    )
