"""What is true of the absolute error beyond the table of cases."""

import pytest
import torch

from bptrain.ops import l1_loss


def test_a_sign_of_one_byte_is_all_it_saves() -> None:
    x = torch.randn(4, 5, requires_grad=True)
    saved = l1_loss(x, torch.randn(4, 5)).grad_fn.saved_tensors
    (s,) = [each for each in saved if each is not None]
    assert (s.shape, s.dtype) == (x.shape, torch.int8)


def test_shapes_that_torch_would_broadcast_are_refused() -> None:
    with pytest.raises(ValueError, match="same shape"):
        l1_loss(torch.randn(4, 1), torch.randn(4))
    with pytest.raises(ValueError, match=r"weight has shape \[5\]"):
        l1_loss(torch.randn(4, 5), torch.randn(4, 5), weight=torch.ones(5))


def test_a_weighted_mean_does_not_change_with_the_weights_scale() -> None:
    x, t, w = torch.randn(3, 6, dtype=torch.float64)
    torch.testing.assert_close(l1_loss(x, t, weight=w.abs()), l1_loss(x, t, weight=7 * w.abs()))
