"""The gradient of one time step of a recurrent layer, carried back to the first one.

The scan's own backward pass runs once more with the upstream gradient of that time step alone; the
cell notes the gradient by each h_t before it multiplies it.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from bptrain.monitor.explanation.collecting import Seen, pulled_back
from bptrain.monitor.explanation.derivations import derivation_of
from bptrain.monitor.explanation.links import ThroughTime
from bptrain.ops.time_steps import Steps
from bptrain.tape.calls import Call


def through_time(seen: Seen, link: int, title: str, room: int) -> ThroughTime | None:
    """Return the last time step with a gradient, carried back; None if it is no recurrent layer."""
    entry = seen.entry
    if not isinstance(entry, Call) or entry.operation.name != "bptt" or seen.place is None:
        return None
    scan = seen.saved.scan
    if len(scan.steps.sizes) < 2:
        return None
    step, alone = _last_upstream(seen, scan.steps)
    module = scan.cell.step.__module__
    return ThroughTime(
        link=link,
        title=title,
        cell=module.rpartition(".")[2],
        derivation=derivation_of(module),
        step=step,
        carried=_gradients_by_state(entry, alone, seen.saved, room),
        complete=_gradients_by_state(entry, seen.upstream, seen.saved, room),
    )


def _last_upstream(seen: Seen, steps: Steps) -> tuple[int, list[Tensor | None]]:
    """Return the last time step whose output has a gradient, and the upstream gradients of it."""
    grad_y, *others = seen.upstream
    last = 0 if steps.is_reverse else len(steps.sizes) - 1
    if any(each is not None and bool(each.any()) for each in others):
        return last, [None, *others]
    assert grad_y is not None
    rows = grad_y.reshape(steps.rows, -1)
    norms = [float(each.norm()) for each in rows.split(steps.sizes)]
    order = range(len(norms)) if steps.is_reverse else reversed(range(len(norms)))
    step = next((t for t in order if norms[t] > 0), last)
    alone = torch.zeros_like(rows)
    first = sum(steps.sizes[:step])
    alone[first : first + steps.sizes[step]] = rows[first : first + steps.sizes[step]]
    return step, [alone.view_as(grad_y), *[None] * len(others)]


def _gradients_by_state(
    entry: Call, upstream: Sequence[Tensor | None], saved: Any, room: int
) -> Tensor:
    """Return the gradient by h_t [T, P] of the first sequence, for every time step."""
    noted: list[Tensor] = []
    cell = saved.scan.cell

    def noting(grads: tuple[Tensor, ...], *rest: Any) -> Any:
        noted.append(grads[0][0].detach().clone())
        return cell.step_backward(grads, *rest)

    scan = saved.scan._replace(cell=cell._replace(step_backward=noting))
    pulled_back(entry, upstream, saved._replace(scan=scan), room)
    return torch.stack(noted if scan.steps.is_reverse else noted[::-1])
