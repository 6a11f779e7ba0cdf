"""What is true of the hinge embedding loss beyond the table of cases."""

import pytest
import torch

from bptrain.ops import hinge_embedding_loss


def test_a_slope_of_one_byte_is_all_it_saves() -> None:
    x = torch.randn(4, 5, requires_grad=True)
    saved = hinge_embedding_loss(x, torch.ones(4, 5)).grad_fn.saved_tensors
    (s,) = [each for each in saved if each is not None]
    assert (s.shape, s.dtype) == (x.shape, torch.int8)


def test_wrong_arguments_are_refused() -> None:
    with pytest.raises(ValueError, match="same shape"):
        hinge_embedding_loss(torch.rand(4, 1), torch.ones(4))
    with pytest.raises(ValueError, match="target requires a gradient"):
        hinge_embedding_loss(torch.rand(4), torch.ones(4, requires_grad=True))
