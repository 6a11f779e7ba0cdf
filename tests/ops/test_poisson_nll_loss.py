"""What is true of the loss of counts beyond the table of cases."""

import math

import pytest
import torch

from bptrain.ops import poisson_nll_loss


def test_it_is_least_where_the_rate_is_the_count() -> None:
    x = torch.tensor([2.0, 5.0]).log().requires_grad_()
    poisson_nll_loss(x, torch.tensor([2.0, 5.0])).backward()
    torch.testing.assert_close(x.grad, torch.zeros(2))


def test_with_full_it_is_about_the_negative_log_likelihood() -> None:
    loss = poisson_nll_loss(torch.tensor([3.0]), torch.tensor([7.0]), log_input=False, full=True)
    exact = 3 - 7 * math.log(3) + math.log(math.factorial(7))
    assert loss.item() == pytest.approx(exact, abs=0.02)  # Stirling's error is 1 / (12 t)


def test_the_slope_by_a_count_of_zero_has_no_term_of_stirlings() -> None:
    t = torch.zeros(1, requires_grad=True)
    poisson_nll_loss(torch.tensor([0.5]), t, full=True).backward()
    assert t.grad.item() == -0.5


def test_whole_numbers_are_counts_in_every_mode() -> None:
    x, t = torch.rand(3, dtype=torch.float64), torch.tensor([0, 1, 5])
    ours = poisson_nll_loss(x, t, full=True)
    torch.testing.assert_close(ours, poisson_nll_loss(x, t.double(), full=True))


def test_other_shapes_are_refused() -> None:
    with pytest.raises(ValueError, match="same shape"):
        poisson_nll_loss(torch.rand(4, 1), torch.rand(4))
