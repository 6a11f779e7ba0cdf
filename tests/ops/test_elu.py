"""What is true of the exponential linear units beyond the table of cases."""

import math

import pytest
import torch
from torch import Tensor

from bptrain.ops import celu, elu, selu


def saved_by(y: Tensor) -> Tensor:
    (saved,) = y.grad_fn.saved_tensors
    return saved


def test_the_output_is_all_they_save() -> None:
    x = torch.randn(4, 5, requires_grad=True)
    for y in (elu(x), elu(x, 0.5), celu(x), celu(x, 3), selu(x), elu(x, 0)):
        assert saved_by(y).data_ptr() == y.data_ptr()


def test_a_negative_alpha_saves_the_input() -> None:
    x = torch.randn(4, 5, requires_grad=True)
    for y in (elu(x, -0.5), celu(x, -0.5)):
        assert saved_by(y).data_ptr() == x.data_ptr()


def test_a_saturated_unit_has_a_gradient_of_0_and_not_nan() -> None:
    x = torch.tensor([-1e30, -1e3], requires_grad=True)
    for y in (elu(x), celu(x), selu(x)):
        (gradient,) = torch.autograd.grad(y.sum(), x)
        assert gradient.tolist() == [0, 0]


def test_celus_slope_is_not_rounded_to_float32_with_alpha() -> None:
    x = torch.tensor([-0.2], dtype=torch.float64, requires_grad=True)
    celu(x, alpha=0.3).backward(torch.ones(1).double())
    assert x.grad.item() == pytest.approx(math.exp(-0.2 / 0.3), rel=1e-14)


def test_celu_has_no_kink() -> None:
    x = torch.tensor([-1e-9, 1e-9], dtype=torch.float64, requires_grad=True)
    celu(x, alpha=0.25).sum().backward()
    assert x.grad.tolist() == pytest.approx([1, 1], abs=1e-8)


def test_selu_preserves_mean_0_and_variance_1() -> None:
    z = torch.linspace(-12, 12, 200_001, dtype=torch.float64)
    density = (-z * z / 2).exp() / math.sqrt(2 * math.pi)
    y = selu(z)
    mean, square = (torch.trapezoid(moment * density, z).item() for moment in (y, y * y))
    assert mean == pytest.approx(0, abs=1e-8)
    assert square == pytest.approx(1, abs=1e-8)


def test_celu_refuses_an_alpha_of_0() -> None:
    with pytest.raises(ValueError, match="alpha is 0"):
        celu(torch.ones(2), alpha=0)
