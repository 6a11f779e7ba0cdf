"""What is true of the margin ranking loss beyond the table of cases."""

import pytest
import torch

from bptrain.ops import margin_ranking_loss


def test_one_tensor_is_saved_for_both_scores() -> None:
    a, b = torch.randn(2, 5, requires_grad=True)
    saved = margin_ranking_loss(a, b, torch.ones(5)).grad_fn.saved_tensors
    assert len([each for each in saved if each is not None]) == 1


def test_labels_may_be_whole_numbers() -> None:
    a, b, y = torch.randn(5, requires_grad=True), torch.randn(5), torch.tensor([1, -1, 1, -1, 1])
    (ours,) = torch.autograd.grad(margin_ranking_loss(a, b, y, margin=9), a)
    torch.testing.assert_close(ours, -y / 5)


def test_other_shapes_are_refused() -> None:
    with pytest.raises(ValueError, match="target has shape"):
        margin_ranking_loss(torch.rand(4), torch.rand(4), torch.ones(4, 1))
