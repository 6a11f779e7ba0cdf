"""What is true of ReLU beyond the table of cases."""

import torch

from bptrain.ops import linear, relu


def test_its_saved_output_is_the_next_layers_saved_input() -> None:
    y = relu(torch.randn(4, 5, requires_grad=True))
    z = linear(y, torch.randn(3, 5, requires_grad=True))
    (saved_by_relu,) = y.grad_fn.saved_tensors
    saved_by_linear, _ = z.grad_fn.saved_tensors
    assert saved_by_relu.data_ptr() == saved_by_linear.data_ptr() == y.data_ptr()


def test_the_slope_at_the_kink_is_zero() -> None:
    x = torch.zeros(3, requires_grad=True)
    relu(x).sum().backward()
    assert x.grad.tolist() == [0, 0, 0]


def test_a_nan_reaches_the_gradient() -> None:
    x = torch.tensor([torch.nan, 1.0], requires_grad=True)
    y = relu(x)
    y.backward(torch.tensor([2.0, torch.nan]))
    assert y[0].isnan()
    assert x.grad[0] == 2
    assert x.grad[1].isnan()
