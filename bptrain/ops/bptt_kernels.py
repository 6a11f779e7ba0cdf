"""The scan of bptt_fused.py with a cell's equations as one compiled kernel a step and direction.

A kernel adds the biases, or y', and reads and writes each number once, while the rows of the step
are in the cache: there are no slopes in memory. The products remain the library's. It serves
sequences of one length, without a projection; tape/compiled_cells.py makes the kernels. A recorded
step runs its backward pass once: a' is written over the gates, whose memory nobody reads again.
"""

import torch
from torch import Tensor

from bptrain.ops.peeking import is_traced
from bptrain.ops.scan import Kernels, Saved, Scan, State
from bptrain.ops.time_steps import Steps


def scan_by_kernels(
    a: Tensor, bias: Tensor | None, W_t: Tensor, states: State, scan: Scan, kernels: Kernels
) -> None:
    """Turn a [B, G] into the activated gates and fill the states; both stand as in bptt_fused.py.

    W_t  W_hh^T [P, G]
    """
    cell, steps = scan.cell.in_place, scan.steps
    if bias is None:
        bias = a.new_zeros(a.shape[1])
    before, after = ([which(each) for each in states] for which in (steps.before, steps.after))
    rows = steps.sizes[0]
    activate = kernels.forward(
        rows, (*a.chunk(cell.width, 1), *bias.chunk(cell.width), before[-1], *after)
    )
    all_a_h, all_h = (each.split(rows) for each in (cell.columns.of_h(a), before[0]))
    for t in _order(steps):
        all_a_h[t].addmm_(all_h[t].to(a.dtype), W_t)
        activate(t)


def scan_back_by_kernels(
    grad_y: Tensor, grad_last: State, saved: Saved, needs_h_0: bool, kernels: Kernels
) -> tuple[Tensor, State]:
    """Return a' [B, G] and the first states' gradients; a' takes the memory of the gates."""
    cell, steps, W_hh = saved.scan.cell.in_place, saved.scan.steps, saved.W_hh
    before, after = steps.before(saved.s), steps.after(saved.s)
    gates = () if saved.gates is None else saved.gates.chunk(cell.width, 1)
    grad_a = torch.empty_like(after) if saved.gates is None else saved.gates
    carried = tuple(each.clone(memory_format=torch.contiguous_format) for each in grad_last)
    rows, grad_y = steps.sizes[0], grad_y.contiguous()
    multiply = kernels.backward(
        rows, (grad_y, *carried, *gates, before, after, *grad_a.chunk(cell.width, 1))
    )
    all_grad_a_h = cell.columns.of_h(grad_a).split(rows)
    order = _order(steps, backwards=True)
    for t in order:
        multiply(t)
        if W_hh is not None and (t != order[-1] or needs_h_0):
            add_product(carried[0], all_grad_a_h[t], W_hh, onto=cell.passes_h)
    return grad_a, carried


def add_product(out: Tensor, a: Tensor, b: Tensor, onto: bool) -> None:
    """Write a b to `out`, or add it `onto` what is there; autocast may keep `out` wide."""
    if not onto:
        write_product(out, a, b)
    elif out.dtype == a.dtype:
        out.addmm_(a, b)
    else:
        out.add_(a.mm(b))


def write_product(out: Tensor, a: Tensor, b: Tensor) -> None:
    """Write a b to `out`, whatever is there; autocast may keep `out` wide.

    Symptom: NaN from a compiled cell of one row. Cause: the compiler's code multiplies what is
    there by beta, and 0 NaN is NaN. Remedy: a product that is copied, which the compiler fuses.
    """
    if out.dtype != a.dtype or is_traced():
        out.copy_(a.mm(b))
    else:
        out.addmm_(a, b, beta=0)


def _order(steps: Steps, backwards: bool = False) -> range:
    """Return the time steps in the order of the scan, or backwards."""
    order = range(len(steps.sizes))
    return order[::-1] if steps.is_reverse != backwards else order
