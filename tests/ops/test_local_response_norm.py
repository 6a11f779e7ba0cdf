"""What is true of local response normalization beyond the table of cases."""

import pytest
import torch

from bptrain.ops import local_response_norm


def test_squares_that_overflow_fp16_do_not_zero_a_channel() -> None:
    x = torch.full((1, 3, 2), 300.0, dtype=torch.float16, requires_grad=True)
    y = local_response_norm(x, 3)
    exact = local_response_norm(x.detach().double(), 3)
    torch.testing.assert_close(y.double(), exact, rtol=1e-3, atol=0)
    y.sum().backward()
    assert x.grad is not None
    assert x.grad.isfinite().all()


def test_a_channel_outside_the_window_has_no_effect() -> None:
    x = torch.randn(1, 6, 2)
    other = x.clone()
    other[:, 0] += 10
    near, far = local_response_norm(x, 3, 1.0), local_response_norm(other, 3, 1.0)
    assert near[:, 2:].equal(far[:, 2:])
    assert not near[:, 1].equal(far[:, 1])


def test_the_input_and_one_tensor_of_its_size_are_saved() -> None:
    x = torch.randn(2, 5, 3, requires_grad=True)
    saved = []

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        saved.append(tensor)
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        local_response_norm(x, 3)
    assert [tensor.shape for tensor in saved] == [x.shape, x.shape]


def test_wrong_arguments_are_named() -> None:
    with pytest.raises(ValueError, match=r"input has shape \[2, 3\], expected"):
        local_response_norm(torch.zeros(2, 3), 3)
    with pytest.raises(ValueError, match="size is 0, expected 1 or more"):
        local_response_norm(torch.zeros(2, 3, 4), 0)
