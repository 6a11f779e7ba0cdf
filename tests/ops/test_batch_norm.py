"""What is true of batch normalization beyond the table of cases."""

import pytest
import torch

from bptrain.ops import batch_norm


def test_the_input_gradient_is_orthogonal_to_a_shift_and_to_a_scaling_of_a_channel() -> None:
    x = torch.randn(8, 3, 5, dtype=torch.float64, requires_grad=True)
    batch_norm(x, None, None, training=True, eps=1e-12).backward(torch.randn_like(x))
    assert x.grad is not None
    torch.testing.assert_close(x.grad.sum((0, 2)), torch.zeros(3, dtype=torch.float64))
    along = (x.grad * x.detach()).sum((0, 2))
    torch.testing.assert_close(along, torch.zeros(3, dtype=torch.float64), atol=1e-9, rtol=0)


@pytest.mark.parametrize("shape", [(1, 3), (1, 3, 1, 1)])
def test_a_single_value_per_channel_is_refused_in_training(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="more than 1 value per channel"):
        batch_norm(torch.zeros(shape), None, None, training=True)


def test_wrong_arguments_are_named() -> None:
    x, three, four = torch.zeros(2, 3), torch.ones(3), torch.ones(4)
    with pytest.raises(ValueError, match=r"expected \[N, C, ...\]"):
        batch_norm(three, None, None, training=True)
    with pytest.raises(ValueError, match=r"weight has shape \[4\], expected \[3\]"):
        batch_norm(x, three, three, four)
    with pytest.raises(ValueError, match="running_var has shape"):
        batch_norm(x, three, four)
    with pytest.raises(ValueError, match=r"eps is 0\.0, expected a positive number"):
        batch_norm(x, None, None, training=True, eps=0.0)
    with pytest.raises(ValueError, match="expected both or none"):
        batch_norm(x, three, None)
    with pytest.raises(ValueError, match="expected both in evaluation"):
        batch_norm(x, None, None)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_16_bit_statistics_keep_the_digits_of_a_large_mean(dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    x = (torch.randn(64, 3) + 90).to(dtype).requires_grad_()
    grad = torch.randn(64, 3).to(dtype)
    wide = x.detach().double().requires_grad_()
    weight = torch.ones(3, dtype=dtype, requires_grad=True)
    batch_norm(x, None, None, weight, training=True).backward(grad)
    exact_weight = torch.ones(3, dtype=torch.float64, requires_grad=True)
    batch_norm(wide, None, None, exact_weight, training=True).backward(grad.double())
    half_a_unit = torch.finfo(dtype).eps
    for ours, exact in ((x.grad, wide.grad), (weight.grad, exact_weight.grad)):
        assert ours is not None
        assert exact is not None
        assert (ours.double() - exact).abs().max() <= half_a_unit * exact.abs().max()


def test_evaluation_with_frozen_parameters_saves_one_number_per_channel() -> None:
    x = torch.randn(4, 3, 5, requires_grad=True)
    saved = []

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        saved.append(tensor)
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        batch_norm(x, torch.zeros(3), torch.ones(3), torch.ones(3), torch.zeros(3))
    assert [tensor.shape for tensor in saved] == [torch.Size([3])]


def test_running_statistics_are_no_part_of_the_graph() -> None:
    x = torch.randn(4, 3, requires_grad=True)
    mean, variance = torch.zeros(3), torch.ones(3)
    batch_norm(x, mean, variance, training=True)
    assert not mean.requires_grad
    assert not variance.requires_grad
