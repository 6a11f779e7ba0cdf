"""What is true of instance normalization beyond the table of cases."""

import pytest
import torch

from bptrain.ops import group_norm, instance_norm


def test_it_is_group_normalization_with_a_group_for_each_channel() -> None:
    x = torch.randn(2, 3, 4, 5, dtype=torch.float64, requires_grad=True)
    weight = torch.rand(3, dtype=torch.float64, requires_grad=True)
    grad = torch.randn_like(x)
    ours = torch.autograd.grad(instance_norm(x, weight=weight), [x, weight], grad)
    reference = torch.autograd.grad(group_norm(x, 3, weight), [x, weight], grad)
    torch.testing.assert_close(ours, reference)


@pytest.mark.parametrize("shape", [(0, 3, 5), (2, 3, 0)])
def test_an_empty_input_has_zero_gradients_and_moves_nothing(shape: tuple[int, ...]) -> None:
    x = torch.zeros(shape, requires_grad=True)
    weight, bias = (torch.ones(3, requires_grad=True) for _ in range(2))
    mean, variance = torch.zeros(3), torch.ones(3)
    instance_norm(x, mean, variance, weight, bias).sum().backward()
    assert x.grad is not None
    assert x.grad.shape == shape
    for each in (weight.grad, bias.grad, mean):
        torch.testing.assert_close(each, torch.zeros(3))
    torch.testing.assert_close(variance, torch.ones(3))


def test_wrong_arguments_are_named() -> None:
    x = torch.zeros(2, 3, 4)
    with pytest.raises(ValueError, match="more than 1 value in each channel"):
        instance_norm(x[..., :1])
    with pytest.raises(ValueError, match=r"bias has shape \[6\], expected \[3\]"):
        instance_norm(x, bias=torch.ones(6))
    with pytest.raises(ValueError, match="expected both in evaluation"):
        instance_norm(x, use_input_stats=False)
    with pytest.raises(ValueError, match="eps is -1"):
        instance_norm(x, eps=-1.0)
