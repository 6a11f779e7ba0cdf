"""What the tests of every case share: the table as parameters, the devices there are.

A module computes what its operation does: by default, the slower tests run over every case of an
operation and the first case of each module. `scripts/sweep` runs them over all.
"""

from collections.abc import Iterable, Iterator
from typing import Any

import pytest
import torch
from cases import CASES
from cases.case import Case, ModuleCase

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
