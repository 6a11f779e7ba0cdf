"""What the tests of every case share: the table as parameters, the devices there are.

A module computes what its operation does, and the scans over time are the same lines around every
cell: by default, the slower tests run over every case of an operation, of the cells after the LSTM
over few, and over the first case of each module. `scripts/sweep` runs them over all.
"""

from collections.abc import Callable
from functools import wraps
from typing import TypeVar

import pytest
import torch
from case_groups import every_case
from cases import CASES
from cases.case import Case, ModuleCase, OpCase, differentiated

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


OTHER_SCANS = ("rnn_tanh", "rnn_relu", "gru")
# what a cell has a part in: its biases, and the states that drop out of a step and come in
OF_EACH_CELL = ("states given", "no bias", "packed", "packed, both directions", "NaN")


def repeats_a_scan(case: Case) -> bool:
    """Return whether a case arranges scans of a cell as another case does those of an LSTM."""
    return isinstance(case, OpCase) and case.op in OTHER_SCANS and case.name not in OF_EACH_CELL


def is_later(cases: list[Case]) -> Callable[[Case], bool]:
    """Return whether a case follows another of its operation or module."""
    first = {case.label.partition(":")[0]: case.label for case in reversed(cases)}
    labels = set(first.values())
    return lambda case: case.label not in labels


def sparing_modules(
    cases: list[Case], first_apart: bool = False
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Return the decorator that runs a test over cases.

    Slow are those of a module but for the first, and those that repeat a scan.
    """
    later = is_later(cases)

    def is_slow(case: Case) -> bool:
        return repeats_a_scan(case) or (isinstance(case, ModuleCase) and later(case))

    return every_case(cases, is_slow, first_apart)


# the first case of each operation apart, as a test that `-m quick` may select
ALL = every_case(CASES, first_apart=True)
MOST = sparing_modules(CASES)
SMOOTH = sparing_modules([case for case in CASES if case.smooth], first_apart=True)


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
