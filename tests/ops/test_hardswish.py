"""What is true of hard swish beyond the table of cases."""

import pytest
import torch

from bptrain.ops import hardswish
from bptrain.ops.kernels import use_kernels


def test_it_is_not_monotonic_so_its_output_does_not_tell_its_slope() -> None:
    x = torch.tensor([-1.5 - 1e-3, -1.5 + 1e-3], requires_grad=True)
    hardswish(x).sum().backward()
    left, right = x.grad.tolist()
    assert left < 0 < right


@pytest.mark.parametrize("kernels", ["fused", "formula"])
def test_what_float16_holds_stays_finite(kernels: str) -> None:
    x = torch.tensor([-60000, 60000], dtype=torch.float16)
    with use_kernels(kernels):
        assert hardswish(x).equal(torch.tensor([0, 60000], dtype=torch.float16))
