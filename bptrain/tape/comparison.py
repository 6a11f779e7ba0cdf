"""Whether two ways to run a step leave the same behind."""

from typing import Any, NamedTuple

import torch
from torch import Tensor

from bptrain.tape.state import State

# relative to the norm: sums in another order differ by some roundings, a missing term by far more
TOLERANCES = {torch.float64: 1e-9, torch.float32: 1e-4}
TOLERANCE_16_BIT = 5e-2
# of the largest norm: a gradient that cancels, such as a bias's before a normalization, is rounding
SMALLEST = 1e-2


class Outcome(NamedTuple):
    """What a step leaves behind."""

    loss: Tensor
    gradients: list[Tensor | None]
    state: State


def difference(ours: Outcome, reference: Outcome, tolerance: float | None = None) -> str | None:
    """Return in words what differs, or None.

    tolerance  relative to the norm; by default the rounding of sums in another order
    """
    for what, one, other in (
        ("the loss", [ours.loss], [reference.loss]),
        ("a gradient", ours.gradients, reference.gradients),
        ("a buffer or attribute", ours.state.tensors, reference.state.tensors),
    ):
        smallest = SMALLEST * max((_norm(each) for each in other), default=0.0)
        if len(one) != len(other) or not all(
            agree(a, b, smallest, tolerance) for a, b in zip(one, other, strict=True)
        ):
            return f"{what} is another"
    if ours.state.plain != reference.state.plain:
        return "an attribute is another"
    if not all(map(_same_generator, ours.state.generators, reference.state.generators)):
        return "another number of random numbers is drawn"
    return None


def _norm(tensor: Tensor | None) -> float:
    if tensor is None or not tensor.is_floating_point():
        return 0.0
    return float(tensor.double().nan_to_num(0, 0, 0).norm())


def agree(
    ours: Tensor | None,
    reference: Tensor | None,
    smallest: float = 0.0,
    tolerance: float | None = None,
) -> bool:
    """Return whether two tensors are equal to rounding, NaN and infinity in the same places.

    smallest   the norm below which a tensor is no more precise than one of this norm
    tolerance  relative to the norm; by default that of the dtype
    """
    if ours is None or reference is None:
        return ours is reference
    if ours.shape != reference.shape or ours.dtype != reference.dtype:
        return False
    if torch.equal(ours, reference):
        return True
    if not ours.is_floating_point():
        return False
    if tolerance is None:
        tolerance = TOLERANCES.get(ours.dtype, TOLERANCE_16_BIT)
    ours, reference = ours.double(), reference.double()
    finite = reference.isfinite()
    same_nan = torch.equal(ours.isnan(), reference.isnan())
    if not same_nan or not torch.equal(ours[~finite].nan_to_num(), reference[~finite].nan_to_num()):
        return False
    off = (ours[finite] - reference[finite]).norm()
    return bool(off <= tolerance * max(float(reference[finite].norm()), smallest))


def _same_generator(ours: Any, reference: Any) -> bool:
    if isinstance(ours, Tensor):
        return torch.equal(ours, reference)
    if isinstance(ours, list):
        return all(map(torch.equal, ours, reference))
    return bool(ours == reference)
