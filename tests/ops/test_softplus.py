"""What is true of softplus beyond the table of cases."""

import pytest
import torch

from bptrain.ops import softplus
from bptrain.ops.kernels import use_kernels


def test_it_is_infinite_nowhere() -> None:
    x = torch.tensor([-1e30, 1e30], requires_grad=True)
    y = softplus(x)
    y.sum().backward()
    assert y.tolist() == [0, x[1].item()]
    assert x.grad.tolist() == [0, 1]


def test_two_inputs_around_a_low_threshold_share_an_output() -> None:
    x = torch.tensor([0.95, 1.25], dtype=torch.float64, requires_grad=True)
    y = softplus(x, threshold=1)
    y.sum().backward()
    assert y[0] > y[1]
    assert x.grad[0] < x.grad[1] == 1


def test_a_beta_of_0_is_refused() -> None:
    with pytest.raises(ValueError, match="beta is 0"):
        softplus(torch.ones(2), beta=0)


@pytest.mark.parametrize("kernels", ["fused", "formula"])
def test_an_exponential_that_float16_cannot_hold_is_not_computed(kernels: str) -> None:
    x = torch.tensor([-60000, -11.5, 11.5, 20], dtype=torch.float16, requires_grad=True)
    with use_kernels(kernels):
        y = softplus(x)
    y.sum().backward()
    assert y.tolist() == pytest.approx([0, 1e-5, 11.5, 20], abs=1e-6)
    assert x.grad.tolist() == pytest.approx([0, 1e-5, 1, 1], abs=1e-6)
