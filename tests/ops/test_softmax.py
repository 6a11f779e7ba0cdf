"""What is true of softmax beyond the table of cases."""

import pytest
import torch

from bptrain.ops import log_softmax, softmax


def test_its_output_is_all_it_saves() -> None:
    y = softmax(torch.randn(4, 5, requires_grad=True), 1)
    (saved,) = y.grad_fn.saved_tensors
    assert saved.data_ptr() == y.data_ptr()


def test_adding_to_all_scores_changes_nothing_so_gradients_sum_to_0() -> None:
    x = torch.randn(4, 5, dtype=torch.float64, requires_grad=True)
    softmax(x, 1).backward(torch.randn(4, 5, dtype=torch.float64))
    torch.testing.assert_close(x.grad.sum(1), torch.zeros(4).double(), rtol=0, atol=1e-15)


def test_a_gradient_of_a_wider_softmax_comes_back_in_the_dtype_of_its_input() -> None:
    x = torch.randn(4, 5, dtype=torch.bfloat16, requires_grad=True)
    y = softmax(x, 1, dtype=torch.float32)
    y.square().sum().backward()
    assert y.dtype == torch.float32
    assert x.grad.dtype == torch.bfloat16


def test_integers_become_probabilities_in_a_dtype_that_is_given() -> None:
    y = softmax(torch.tensor([0, 1]), 0, dtype=torch.float64)
    torch.testing.assert_close(y, torch.tensor([0.0, 1.0]).double().softmax(0))


@pytest.mark.parametrize("function", [softmax, log_softmax])
@pytest.mark.parametrize("dim", [2, -3])
def test_an_axis_that_input_does_not_have_is_refused(function, dim: int) -> None:
    with pytest.raises(ValueError, match=rf"dim is {dim}, expected -2 to 1 for input of shape"):
        function(torch.ones(4, 6), dim)
