"""What is true of the adaptive means beyond the table of cases."""

import pytest
import torch

from bptrain.ops import adaptive_avg_pool1d, adaptive_avg_pool2d
from bptrain.ops.adaptive_avg_pool import Saved, backward
from bptrain.ops.shape_and_layout import shape_and_layout


def test_nothing_is_saved() -> None:
    x = torch.randn(2, 3, 4, 6, requires_grad=True)
    for size in (1, 2, (2, 3)):
        assert adaptive_avg_pool2d(x, size).grad_fn.saved_tensors == ()


def test_the_gradient_of_a_global_mean_is_one_number_a_plane() -> None:
    x = torch.randn(2, 3, 8, 8)
    grad_x = backward(torch.randn(2, 3, 1, 1), Saved((1, 1), shape_and_layout(x)))
    assert grad_x.shape == x.shape
    assert grad_x.untyped_storage().nbytes() == 2 * 3 * 4


def test_none_leaves_the_length_of_a_line() -> None:
    x = torch.randn(2, 3, 5)
    assert adaptive_avg_pool1d(x, None).equal(x)  # torch's own function refuses None


def test_shapes_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ValueError, match="output_size is"):
        adaptive_avg_pool2d(torch.zeros(1, 1, 4, 4), 0)
    with pytest.raises(ValueError, match=r"expected \[N, C, H, W\]"):
        adaptive_avg_pool2d(torch.zeros(4, 4), 1)
    with pytest.raises(ValueError, match=r"expected \[N, C, W\]"):
        adaptive_avg_pool1d(torch.zeros(4), 1)
