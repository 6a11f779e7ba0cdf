"""What is true of the leaky ReLU beyond the table of cases."""

import torch

from bptrain.ops import leaky_relu, linear


def test_its_saved_output_is_the_next_layers_saved_input() -> None:
    y = leaky_relu(torch.randn(4, 5, requires_grad=True))
    z = linear(y, torch.randn(3, 5, requires_grad=True))
    (saved,) = y.grad_fn.saved_tensors
    saved_by_linear, _ = z.grad_fn.saved_tensors
    assert saved.data_ptr() == saved_by_linear.data_ptr() == y.data_ptr()


def test_a_negative_slope_saves_the_input_whose_sign_the_output_hides() -> None:
    x = torch.tensor([-2.0, 2.0], requires_grad=True)
    y = leaky_relu(x, negative_slope=-1)
    (saved,) = y.grad_fn.saved_tensors
    y.sum().backward()
    assert y.tolist() == [2, 2]
    assert saved.data_ptr() == x.data_ptr()
    assert x.grad.tolist() == [-1, 1]


def test_a_product_that_underflows_still_tells_the_sign() -> None:
    x = torch.tensor([-1e-30], requires_grad=True)
    leaky_relu(x, negative_slope=1e-30).backward(torch.ones(1))
    assert x.grad.item() == torch.tensor(1e-30).item()
