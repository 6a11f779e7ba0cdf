"""What is true of the means over windows beyond the table of cases."""

import pytest
import torch

from bptrain.ops import avg_pool1d, avg_pool2d
from bptrain.ops.kernels import Kernels, use_kernels


def test_nothing_is_saved() -> None:
    x = torch.randn(2, 3, 4, 6, requires_grad=True)
    assert avg_pool2d(x, 2).grad_fn.saved_tensors == ()


def test_a_plane_of_ones_gets_the_number_of_windows_over_each_position() -> None:
    x = torch.zeros(1, 1, 4, requires_grad=True)
    avg_pool1d(x, 2, stride=1).backward(torch.full((1, 1, 3), 2.0))
    assert x.grad.tolist() == [[[1, 2, 2, 1]]]


def test_a_divisor_of_zero_is_refused() -> None:
    with pytest.raises(ValueError, match="divisor_override is 0"):
        avg_pool2d(torch.zeros(1, 1, 4, 4), 2, divisor_override=0)


def test_windows_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ValueError, match="at most half"):
        avg_pool2d(torch.zeros(1, 1, 4, 4), 2, padding=2)
    with pytest.raises(ValueError, match=r"avg_pool1d of input \[1, 1, 4\].*has no output"):
        avg_pool1d(torch.zeros(1, 1, 4), 5)
    with pytest.raises(ValueError, match=r"expected \[N, C, W\] or \[C, W\]"):
        avg_pool1d(torch.zeros(1, 1, 4, 4), 2)


@pytest.mark.parametrize("kernels", ["fused", "formula"])
def test_the_mean_of_a_window_whose_sum_overflows_float16(kernels: Kernels) -> None:
    x = torch.full((1, 1, 2000), 50, dtype=torch.float16)
    with use_kernels(kernels):
        assert avg_pool1d(x, 2000).item() == 50
