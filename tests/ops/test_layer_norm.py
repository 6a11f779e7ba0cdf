"""What is true of layer normalization beyond the table of cases."""

import pytest
import torch

from bptrain.ops import layer_norm


def test_the_input_gradient_is_orthogonal_to_a_shift_and_to_a_scaling_of_a_sample() -> None:
    x = torch.randn(4, 9, dtype=torch.float64, requires_grad=True)
    weight = torch.rand(9, dtype=torch.float64)
    layer_norm(x, [9], weight, eps=1e-12).backward(torch.randn_like(x))
    assert x.grad is not None
    zero = torch.zeros(4, dtype=torch.float64)
    torch.testing.assert_close(x.grad.sum(1), zero, atol=1e-9, rtol=0)
    torch.testing.assert_close((x.grad * x.detach()).sum(1), zero, atol=1e-9, rtol=0)


@pytest.mark.parametrize("has_weight", [True, False])
def test_bfloat16_statistics_keep_the_digits_of_a_large_mean(has_weight: bool) -> None:
    torch.manual_seed(0)
    x = (torch.randn(8, 64) + 90).bfloat16().requires_grad_()
    wide = x.detach().double().requires_grad_()
    grad = torch.randn(8, 64).bfloat16()
    weight = torch.ones(64).bfloat16() if has_weight else None
    layer_norm(x, [64], weight).backward(grad)
    layer_norm(wide, [64]).backward(grad.double())
    assert x.grad is not None
    assert wide.grad is not None
    error = (x.grad.double() - wide.grad).abs().max() / wide.grad.abs().max()
    assert error <= torch.finfo(torch.bfloat16).eps


def test_wrong_shapes_are_named() -> None:
    x = torch.zeros(2, 3)
    with pytest.raises(ValueError, match=r"input has shape \[2, 3\], expected it to end with"):
        layer_norm(x, [4])
    with pytest.raises(ValueError, match="expected it to end with"):
        layer_norm(x, [])
    with pytest.raises(ValueError, match="expected it to end with"):
        layer_norm(x, [5, 2, 3])
    with pytest.raises(ValueError, match=r"bias has shape \[1\], expected \[3\]"):
        layer_norm(x, [3], bias=torch.zeros(1))
