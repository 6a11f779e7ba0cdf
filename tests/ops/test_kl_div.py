"""What is true of the divergence beyond the table of cases."""

import pytest
import torch

from bptrain.ops import kl_div


def test_it_is_zero_where_prediction_and_target_agree() -> None:
    p = torch.rand(4, 5, dtype=torch.float64).softmax(1)
    for target, log_target in ((p, False), (p.log(), True)):
        loss = kl_div(p.log(), target, "batchmean", log_target)
        assert loss.item() == pytest.approx(0, abs=1e-15)


def test_the_slope_at_a_target_of_zero_is_the_limit() -> None:
    t = torch.tensor([0.0, 1.0], requires_grad=True)
    kl_div(torch.zeros(2), t, "sum").backward()
    assert t.grad.tolist() == [-torch.inf, 1]


def test_the_prediction_is_not_saved_for_its_own_gradient() -> None:
    x, t = torch.randn(4, 5, requires_grad=True), torch.rand(4, 5)
    saved = [s for s in kl_div(x, t, "sum").grad_fn.saved_tensors if s is not None]
    assert [each.data_ptr() for each in saved] == [t.data_ptr()]


def test_wrong_arguments_are_refused() -> None:
    with pytest.raises(ValueError, match="same shape"):
        kl_div(torch.randn(4, 5), torch.rand(5))
    with pytest.raises(ValueError, match="'avg'"):
        kl_div(torch.randn(4), torch.rand(4), "avg")
