"""What the tests of every case share: the table as parameters, the devices there are.

A module computes what its operation does: by default, the slower tests run over every case of an
operation and the first case of each module. `scripts/sweep` runs them over all.
"""

from collections.abc import Callable, Iterable, Iterator
from functools import wraps
from typing import Any, TypeVar

import pytest
import torch
from cases import CASES
from cases.case import Case, ModuleCase, differentiated

from bptrain.ops.kernels import Kernels
from bptrain.verify.kernels_used import kernels_used
from bptrain.verify.named_tensors import Tensors
from bptrain.verify.parity import outcomes

Result = TypeVar("Result")

DEVICES = [
    "cpu",
    *[pytest.param("cuda", marks=pytest.mark.cuda)] * torch.cuda.is_available(),
]
every_device = pytest.mark.parametrize("device", DEVICES)


def every_case(cases: list[Case]) -> pytest.MarkDecorator:
    """Return the decorator that runs a test over the cases."""
    return pytest.mark.parametrize("case", cases, ids=lambda case: case.label)


def sparing_modules(cases: Iterable[Any]) -> Iterator[Any]:
    """Yield cases as parameters: of a module's cases all but the first are slow."""
    seen: set[str] = set()
    for case in cases:
        is_slow = isinstance(case, ModuleCase) and case.module in seen
        if isinstance(case, ModuleCase):
            seen.add(case.module)
        yield pytest.param(case, id=case.label, marks=pytest.mark.slow if is_slow else ())


ALL = every_case(CASES)
MOST = pytest.mark.parametrize("case", list(sparing_modules(CASES)))
SMOOTH = pytest.mark.parametrize("case", list(sparing_modules(c for c in CASES if c.smooth)))


def once_per_case(function: Callable[..., Result]) -> Callable[..., Result]:
    """Make a function of a case keep its results: many tests ask for the same ones."""
    found: dict[tuple[str, ...], Result] = {}

    @wraps(function)
    def look_up(case: Case, *others: str) -> Result:
        key = (case.label, *others)
        if key not in found:
            found[key] = function(case, *others)
        return found[key]

    return look_up


@once_per_case
def drawn(case: Case) -> tuple[Tensors, list[str]]:
    """Return the tensors of a case in float64, not to be changed, and which are differentiated."""
    tensors = case.draw(torch.float64, "cpu")
    return tensors, differentiated(case, tensors)


@once_per_case
def whole(case: Case) -> Tensors:
    """Return the outputs and all gradients of ours for what `drawn` returns."""
    return outcomes(case.ours, *drawn(case), 1)


@once_per_case
def kernels_of(case: Case, device: str) -> tuple[Kernels, ...]:
    """Return the choices of kernels that make a difference to a case."""
    tensors = case.draw(torch.float64, device)
    return kernels_used(case.ours, tensors, differentiated(case, tensors))
