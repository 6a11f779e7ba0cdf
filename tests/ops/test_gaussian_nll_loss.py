"""What is true of the normal log-likelihood beyond the table of cases."""

import pytest
import torch
from torch.distributions import Normal

from bptrain.ops import gaussian_nll_loss


def test_with_full_it_is_the_negative_log_likelihood() -> None:
    x, t = torch.randn(2, 6, dtype=torch.float64)
    v = torch.rand(6, dtype=torch.float64) + 0.1
    ours = gaussian_nll_loss(x, t, v, full=True, reduction="none")
    torch.testing.assert_close(ours, -Normal(x, v.sqrt()).log_prob(t))


def test_a_shared_variance_is_saved_in_its_own_shape() -> None:
    x, v = torch.randn(8, 100, requires_grad=True), torch.rand(8)
    saved = gaussian_nll_loss(x, torch.zeros(8, 100), v).grad_fn.saved_tensors
    assert sorted(each.numel() for each in saved if each is not None) == [8, 800]


def test_a_variance_of_zero_can_grow_again() -> None:
    v = torch.zeros(1, requires_grad=True)
    gaussian_nll_loss(torch.ones(1), torch.zeros(1), v).backward()
    assert v.grad.item() < 0


@pytest.mark.parametrize("shape", [(2,), (1, 1, 5), (3, 5), (2, 3, 4)], ids=str)
def test_a_variance_that_fits_nowhere_is_refused(shape: tuple[int, ...]) -> None:
    x = torch.randn(2, 3, 5)
    with pytest.raises(ValueError, match="var has shape"):
        gaussian_nll_loss(x, x, torch.ones(shape))


def test_a_negative_number_is_no_variance() -> None:
    with pytest.raises(ValueError, match=r"var is -1\.0"):
        gaussian_nll_loss(torch.ones(1), torch.ones(1), -1.0)
