"""What the tests of every case share: the table as parameters, the devices there are."""

import pytest
import torch
from cases import CASES
from cases.case import Case

DEVICES = [
    "cpu",
    *[pytest.param("cuda", marks=pytest.mark.cuda)] * torch.cuda.is_available(),
]
every_device = pytest.mark.parametrize("device", DEVICES)


def every_case(cases: list[Case]) -> pytest.MarkDecorator:
    """Return the decorator that runs a test over the cases."""
    return pytest.mark.parametrize("case", cases, ids=lambda case: case.label)


ALL = every_case(CASES)
SMOOTH = every_case([case for case in CASES if case.smooth])
