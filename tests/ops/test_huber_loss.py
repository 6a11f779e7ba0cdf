"""What is true of Huber's loss and of smooth L1 beyond the table of cases."""

import pytest
import torch

from bptrain.ops import huber_loss, l1_loss, mse_loss, smooth_l1_loss


def test_the_clipped_error_is_all_it_saves() -> None:
    x = torch.randn(4, 5, requires_grad=True)
    saved = huber_loss(x, torch.zeros(4, 5), delta=0.5).grad_fn.saved_tensors
    (c,) = [each for each in saved if each is not None]
    assert c.equal(x.detach().clamp(-0.5, 0.5))


def test_its_ends_are_the_squared_and_the_absolute_error() -> None:
    x, t = torch.randn(2, 6, dtype=torch.float64)
    torch.testing.assert_close(2 * huber_loss(x, t, delta=1e3), mse_loss(x, t))
    torch.testing.assert_close(smooth_l1_loss(x, t, beta=1e-12), l1_loss(x, t))


@pytest.mark.parametrize("delta", [0.0, -1.0])
def test_a_delta_that_is_not_above_0_is_refused(delta: float) -> None:
    with pytest.raises(ValueError, match=str(delta)):
        huber_loss(torch.zeros(2), torch.zeros(2), delta=delta)


def test_a_beta_below_0_is_refused() -> None:
    with pytest.raises(ValueError, match="beta is -1"):
        smooth_l1_loss(torch.zeros(2), torch.zeros(2), beta=-1)


def test_other_shapes_are_refused() -> None:
    for loss in (huber_loss, smooth_l1_loss):
        with pytest.raises(ValueError, match="same shape"):
            loss(torch.randn(4, 1), torch.randn(4))
