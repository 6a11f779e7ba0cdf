"""What is true of binary cross-entropy beyond the table of cases."""

import pytest
import torch

from bptrain.ops import binary_cross_entropy


def test_a_small_probability_keeps_its_digits() -> None:
    x = torch.tensor([1e-9])  # 1 - x rounds to 1 in float32
    assert binary_cross_entropy(x, torch.zeros(1)).item() == pytest.approx(1e-9, rel=1e-6)


def test_the_slope_by_the_label_is_finite_at_certainty() -> None:
    t = torch.tensor([0.5, 0.5], requires_grad=True)
    binary_cross_entropy(torch.tensor([0.0, 1.0]), t, reduction="sum").backward()
    torch.testing.assert_close(t.grad, torch.tensor([100.0, -100.0]))


def test_no_more_than_the_inputs_is_saved() -> None:
    x, t = torch.rand(4, 5, requires_grad=True), torch.rand(4, 5)
    saved = [s for s in binary_cross_entropy(x, t).grad_fn.saved_tensors if s is not None]
    assert [each.data_ptr() for each in saved] == [x.data_ptr(), t.data_ptr()]


def test_wrong_arguments_are_refused() -> None:
    x = torch.rand(4, 5)
    with pytest.raises(ValueError, match="same shape"):
        binary_cross_entropy(x, torch.rand(4))
    with pytest.raises(ValueError, match="does not broadcast"):
        binary_cross_entropy(x, x, weight=torch.ones(4))
    with pytest.raises(ValueError, match="weight requires a gradient"):
        binary_cross_entropy(x, x, weight=torch.ones(5, requires_grad=True))
