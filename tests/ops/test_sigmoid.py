"""What is true of sigmoid beyond the table of cases."""

import torch

from bptrain.ops import sigmoid


def test_its_output_is_all_it_saves() -> None:
    y = sigmoid(torch.randn(4, 5, requires_grad=True))
    (saved,) = y.grad_fn.saved_tensors
    assert saved.data_ptr() == y.data_ptr()


def test_a_saturated_unit_has_a_gradient_of_0_and_not_nan() -> None:
    x = torch.tensor([-1e30, 1e30], requires_grad=True)
    sigmoid(x).sum().backward()
    assert x.grad.tolist() == [0, 0]
