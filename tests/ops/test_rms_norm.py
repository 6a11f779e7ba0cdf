"""What is true of root-mean-square normalization beyond the table of cases."""

import pytest
import torch

from bptrain.ops import rms_norm


def test_a_sample_has_a_mean_square_of_one() -> None:
    y = rms_norm(torch.randn(4, 7, dtype=torch.float64), [7], eps=1e-12)
    torch.testing.assert_close(y.square().mean(1), torch.ones(4, dtype=torch.float64))


def test_the_input_gradient_is_orthogonal_to_a_scaling_of_a_sample() -> None:
    x = torch.randn(4, 7, dtype=torch.float64, requires_grad=True)
    rms_norm(x, [7], eps=1e-12).backward(torch.randn_like(x))
    assert x.grad is not None
    along = (x.grad * x.detach()).sum(1)
    torch.testing.assert_close(along, torch.zeros(4, dtype=torch.float64), atol=1e-9, rtol=0)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16])
def test_without_eps_it_is_that_of_the_statistics_dtype(dtype: torch.dtype) -> None:
    x = torch.full((2, 4), 1e-4).to(dtype)
    torch.testing.assert_close(rms_norm(x, [4]), torch.nn.functional.rms_norm(x, [4]))


def test_only_the_input_and_a_number_per_sample_are_saved() -> None:
    x = torch.randn(3, 8, requires_grad=True)
    saved = []

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        saved.append(tensor)
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        rms_norm(x, [8])
    assert [tuple(tensor.shape) for tensor in saved] == [(3, 8), (3, 1)]
    assert saved[0].data_ptr() == x.data_ptr()


def test_a_weight_of_another_dtype_leaves_the_inputs() -> None:
    x = torch.randn(3, 8).bfloat16().requires_grad_()
    weight = torch.rand(8, requires_grad=True)
    y = rms_norm(x, [8], weight)
    assert y.dtype == torch.bfloat16
    y.backward(torch.ones_like(y))
    assert x.grad is not None
    assert weight.grad is not None
    assert (x.grad.dtype, weight.grad.dtype) == (torch.bfloat16, torch.float32)


def test_wrong_shapes_are_named() -> None:
    with pytest.raises(ValueError, match="expected it to end with the axes of normalized_shape"):
        rms_norm(torch.zeros(2, 3), [2])
    with pytest.raises(ValueError, match=r"weight has shape \[2\], expected \[3\]"):
        rms_norm(torch.zeros(2, 3), [3], torch.ones(2))
