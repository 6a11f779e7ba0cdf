"""What is true of binary cross-entropy of logits beyond the table of cases."""

import pytest
import torch

from bptrain.ops import binary_cross_entropy_with_logits
from bptrain.ops.kernels import Kernels, use_kernels


def test_a_certain_and_wrong_logit_has_a_gradient_of_1() -> None:
    x = torch.tensor([1e4, -1e4], requires_grad=True)
    loss = binary_cross_entropy_with_logits(x, torch.tensor([0.0, 1.0]), reduction="sum")
    loss.backward()
    assert loss.item() == 2e4
    assert x.grad.tolist() == [1, -1]


@pytest.mark.parametrize("kernels", ["fused", "formula"])
def test_a_tiny_loss_is_not_rounded_to_zero(kernels: Kernels) -> None:
    with use_kernels(kernels):
        loss = binary_cross_entropy_with_logits(torch.tensor([20.0]), torch.tensor([1.0]))
    assert loss.item() == pytest.approx(2.0612e-9, rel=1e-4)


def test_logits_of_16_bits_are_saved_as_they_came_under_autocast() -> None:
    x, t = torch.randn(4, dtype=torch.bfloat16, requires_grad=True), torch.ones(4)
    with torch.autocast("cpu", torch.bfloat16):
        loss = binary_cross_entropy_with_logits(x, t)
    saved = [each for each in loss.grad_fn.saved_tensors if each is not None]
    assert [each.data_ptr() for each in saved] == [x.data_ptr(), t.data_ptr()]
    assert loss.dtype == torch.float32


def test_wrong_arguments_are_refused() -> None:
    x = torch.randn(4, 5)
    with pytest.raises(ValueError, match="same shape"):
        binary_cross_entropy_with_logits(x, torch.rand(4))
    with pytest.raises(ValueError, match="pos_weight has shape"):
        binary_cross_entropy_with_logits(x, x, pos_weight=torch.ones(4))
    with pytest.raises(ValueError, match="pos_weight requires a gradient"):
        binary_cross_entropy_with_logits(x, x, pos_weight=torch.ones(5, requires_grad=True))
