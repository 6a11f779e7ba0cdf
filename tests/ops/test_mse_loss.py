"""What is true of the squared error beyond the table of cases."""

import pytest
import torch

from bptrain.ops import mse_loss


def test_the_difference_is_all_it_saves() -> None:
    x = torch.randn(4, 5, requires_grad=True)
    saved = mse_loss(x, torch.randn(4, 5)).grad_fn.saved_tensors
    (d,) = [each for each in saved if each is not None]
    assert d.shape == x.shape


def test_shapes_that_torch_would_broadcast_are_refused() -> None:
    with pytest.raises(ValueError, match="same shape"):
        mse_loss(torch.randn(4, 1), torch.randn(4))


def test_a_weight_of_another_shape_is_refused() -> None:
    with pytest.raises(ValueError, match=r"weight has shape \[5\]"):
        mse_loss(torch.randn(4, 5), torch.randn(4, 5), weight=torch.ones(5))


def test_a_weighted_mean_does_not_change_with_the_weights_scale() -> None:
    x, t, w = torch.randn(3, 6, dtype=torch.float64)
    torch.testing.assert_close(mse_loss(x, t, weight=w.abs()), mse_loss(x, t, weight=7 * w.abs()))


def test_an_unknown_reduction_is_refused() -> None:
    with pytest.raises(ValueError, match="'avg'"):
        mse_loss(torch.randn(4), torch.randn(4), "avg")
