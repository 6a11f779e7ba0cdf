"""What is true of GELU beyond the table of cases."""

import pytest
import torch

from bptrain.ops import gelu
from bptrain.ops.kernels import use_kernels


def test_it_is_not_monotonic_so_its_output_does_not_tell_its_slope() -> None:
    x = torch.tensor([-0.7518 - 1e-3, -0.7518 + 1e-3], requires_grad=True)
    gelu(x).sum().backward()
    left, right = x.grad.tolist()
    assert left < 0 < right


def test_its_tanh_formula_is_near() -> None:
    x = torch.linspace(-6, 6, 2001, dtype=torch.float64)
    apart = (gelu(x) - gelu(x, approximate="tanh")).abs().max()
    assert 4e-4 < apart < 5e-4


def test_a_formula_that_is_not_known_is_named() -> None:
    with pytest.raises(ValueError, match="approximate is 'sigmoid', expected 'none' or 'tanh'"):
        gelu(torch.ones(2), approximate="sigmoid")  # type: ignore[arg-type]


@pytest.mark.parametrize("approximate", ["none", "tanh"])
@pytest.mark.parametrize("kernels", ["fused", "formula"])
def test_what_float16_holds_stays_finite(kernels: str, approximate: str) -> None:
    x = torch.tensor([-60000, -300, 300, 60000], dtype=torch.float16, requires_grad=True)
    with use_kernels(kernels):
        y = gelu(x, approximate)
    y.sum().backward()
    assert y.tolist() == [0, 0, 300, 60000]
    assert x.grad.tolist() == [0, 0, 1, 1]


def test_its_formula_does_not_cancel_far_below_zero() -> None:
    x = torch.tensor([-5.0])
    with use_kernels("formula"):
        assert gelu(x).item() == pytest.approx(gelu(x.double()).item(), rel=1e-5)
