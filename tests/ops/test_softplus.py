"""What is true of softplus beyond the table of cases."""

import pytest
import torch

from bptrain.ops import softplus


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
