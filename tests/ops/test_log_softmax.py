"""What is true of the logarithm of softmax beyond the table of cases."""

import torch

from bptrain.ops import log_softmax, softmax


def test_its_output_is_all_it_saves() -> None:
    y = log_softmax(torch.randn(4, 5, requires_grad=True), 1)
    (saved,) = y.grad_fn.saved_tensors
    assert saved.data_ptr() == y.data_ptr()


def test_a_probability_that_underflows_has_a_logarithm_and_a_gradient() -> None:
    x = torch.tensor([0.0, -1000.0], requires_grad=True)
    y = log_softmax(x, 0)
    y[1].backward()
    assert softmax(x, 0)[1] == 0
    assert y.tolist() == [0, -1000]
    assert x.grad.tolist() == [-1, 1]
