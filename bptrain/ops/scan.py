"""What a scan over time is given, saves and returns: a cell's equations, time steps, tensors."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

from bptrain.ops.precision import Precision
from bptrain.ops.time_steps import Steps

State = tuple[Tensor, ...]  # (h,), or (h, c) of an LSTM
Optional = Tensor | None
# y, h and c after the last steps; then s, h, gates and m of Saved, for second derivatives
Outputs = tuple[Tensor, Tensor, Optional, Tensor, Optional, Optional, Optional]


def _all_columns(a: Tensor) -> Tensor:
    return a


class Columns(NamedTuple):
    """Which columns of a [B, G] are x's and h's products written to, and in which order.

    of_x       the columns that x W_ih^T reaches, the first ones: a view of a
    of_h       the columns that h W_hh^T reaches, the last ones: a view of a
    arranged   the rows of W_ih or b_ih, from torch's order into that of the columns
    restored   the rows of their gradients, back into torch's order
    """

    of_x: Callable[[Tensor], Tensor] = _all_columns
    of_h: Callable[[Tensor], Tensor] = _all_columns
    arranged: Callable[[Tensor], Tensor] = _all_columns
    restored: Callable[[Tensor], Tensor] = _all_columns


class InPlace(NamedTuple):
    """The equations of a cell on memory that is there from the start; all write into what they get.

    width        columns of a, in units of H
    parts        views of a by the names that the equations give them
    forward      given these of one step, and the states before and after it, activates the first
                 and fills the last
    slopes       given the activated gates and s before and after, of all steps at once, returns
                 the memory of a' and what `backward` takes besides the states' gradients
    backward     given the states' gradients and the slopes of one step, completes a'_t and turns
                 the gradients into those of the states before, except a'_t W_hh
    columns      where x's and h's products stand in a
    saves_gates  whether `slopes` reads the gates
    passes_h     whether h_t-1 reaches h_t past the gates, so that `backward` leaves its share
    """

    width: int
    parts: Callable[[Tensor], tuple[Tensor, ...]]
    forward: Callable[[State, State, State], None]
    slopes: Callable[[Tensor | None, Tensor, Tensor], tuple[Tensor, ...]]
    backward: Callable[..., None]
    columns: Columns = Columns()
    saves_gates: bool = True
    passes_h: bool = False


class Equations(NamedTuple):
    """The same on the parts of a [N, H] by themselves, in the order of their columns.

    forward   (parts of a, s_t-1) -> states after, activated parts, if they are saved
    backward  (gradients of the states after, activated parts, s_t-1, s_t) -> parts of a', gradients
              of the states before, as `step_backward`
    """

    forward: Callable[[State, Tensor], tuple[State, State]]
    backward: Callable[[State, State, Tensor, Tensor], tuple[State, tuple[Tensor | None, ...]]]


class Cell(NamedTuple):
    """The equations of one time step of N sequences, with G gates of H units.

    step           (a_x, a_h, states before) -> states after, gates
                   a_x = x_t W_ih^T + b_ih and a_h = h_t-1 W_hh^T + b_hh [N, GH]; the gates are what
                   `step_backward` reads of them, side by side, or None
    step_backward  (gradients of the states after, gates, s_t-1, s_t) ->
                   a_x', a_h', gradients of the states before: those of h_t-1 without a_h' W_hh, or
                   None if there is nothing else
    gates          G
    equations      what both are made of
    in_place       the same, without making a tensor at each step
    through_gates  (gradient of the gates, gates) -> what it adds to a_x' and a_h', if there are any
    """

    step: Callable[[Tensor, Tensor, State], tuple[State, Tensor | None]]
    step_backward: Callable[
        [State, Tensor | None, Tensor, Tensor], tuple[Tensor, Tensor, tuple[Tensor | None, ...]]
    ]
    gates: int
    equations: Equations
    in_place: InPlace
    through_gates: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]] | None = None


class Kernels(NamedTuple):
    """A cell's equations as compiled code: functions of (N, tensors) that return what runs step t.

    forward   tensors: parts of a, of the biases, s_t-1, states after; activates the first, fills
              the last
    backward  tensors: y', gradients of the states, activated parts, s_t-1, s_t, parts of a'; fills
              the last, turns the gradients into those of the states before, except a'_t W_hh
    """

    forward: Callable[[int, State], Callable[[int], None]]
    backward: Callable[[int, State], Callable[[int], None]]


class Scan(NamedTuple):
    """The constants of one scan.

    stays_wide  for each state, whether the CPU's autocast leaves it in a wider dtype than that of
                the products, as torch's does where no fused kernel takes the whole layer
    kernels     what computes the cell in place of its equations
    """

    cell: Cell
    steps: Steps
    stays_wide: tuple[bool, ...]
    kernels: Kernels | None = None


class Weights(NamedTuple):
    """The parameters of one layer in one direction."""

    W_ih: Tensor  # its gates in torch's order
    W_hh: Tensor
    b_ih: Tensor | None
    b_hh: Tensor | None
    W_hr: Tensor | None


class Needs(NamedTuple):
    """Which gradients are needed."""

    x: bool
    W_ih: bool
    W_hh: bool
    b_ih: bool
    b_hh: bool
    W_hr: bool
    h_0: bool
    c_0: bool


class Saved(NamedTuple):
    """What the backward pass reads; s and h include the states that the scan starts from."""

    x: Tensor | None  # [..., I]
    W_ih: Tensor | None
    W_hh: Tensor | None
    W_hr: Tensor | None
    gates: Tensor | None  # [B, G], activated
    s: Tensor  # [N + B, H]
    h: Tensor | None  # [N + B, P], where it is not s
    m: Tensor | None  # [B, H], the cell's output before the projection
    scan: Scan

    @property
    def all_h(self) -> Tensor:
        """Return h [N + B, P]."""
        return self.s if self.h is None else self.h


class Gradients(NamedTuple):
    """What the backward pass returns, None where it is not needed."""

    x: Tensor | None
    W_ih: Tensor | None
    W_hh: Tensor | None
    b_ih: Tensor | None
    b_hh: Tensor | None
    W_hr: Tensor | None
    h_0: Tensor | None
    c_0: Tensor | None


class Scanned(NamedTuple):
    """What all steps of a scan forward have computed."""

    states: State  # [N + B, ...] each, with those that the scan starts from
    gates: Tensor | None  # [B, G]
    m: Tensor | None  # [B, H]


def results(
    x: Tensor, weights: Weights, scanned: Scanned, scan: Scan, needs: Needs
) -> tuple[Outputs, Saved]:
    """Return the outputs, and what the gradients that are needed read."""
    steps, states = scan.steps, scanned.states
    # y shares memory with the states before and after it. Detached, autograd sees a tensor of its
    # own, which may be changed in place as long as no gradient reads it.
    y = steps.after(states[0]).view(*x.shape[:-1], states[0].shape[1]).detach()
    last = tuple(steps.last(each) for each in states)
    carries_h = len(steps.sizes) > 1 or needs.h_0
    saved = Saved(
        x=x if needs.W_ih else None,
        W_ih=weights.W_ih if needs.x else None,
        W_hh=weights.W_hh if carries_h else None,
        W_hr=weights.W_hr,
        gates=scanned.gates,
        s=states[-1],
        h=states[0] if needs.W_hh and len(states) > 1 else None,
        m=scanned.m if needs.W_hr else None,
        scan=scan,
    )
    in_saved = (saved.s, saved.h, saved.gates, saved.m)
    return (y, last[0], last[1] if len(last) > 1 else None, *in_saved), saved


@dataclass(frozen=True)
class ScanPrecision(Precision):
    """Autocast's policy of a scan: products in its dtype, a state perhaps in its own wider one."""

    def inputs(self, inputs: tuple[Any, ...], device_type: str) -> tuple[Any, ...]:
        """Return x, the weights, the states and the scan as it computes with them."""
        *factors, h_0, c_0, scan = inputs
        is_double = factors[0].dtype == torch.float64
        dtype = torch.float64 if is_double else torch.get_autocast_dtype(device_type)
        start = [h_0] if c_0 is None else [h_0, c_0]
        for k, (state, stays_wide) in enumerate(zip(start, scan.stays_wide, strict=True)):
            is_wide = stays_wide and device_type == "cpu"
            start[k] = state.to(torch.promote_types(dtype, state.dtype) if is_wide else dtype)
        cast = [None if each is None else each.to(dtype) for each in factors]
        return *cast, start[0], start[1] if c_0 is not None else None, scan
