"""What is true of the hard sigmoid beyond the table of cases."""

import torch

from bptrain.ops import hardsigmoid


def test_an_output_of_1_may_still_be_on_the_line() -> None:
    x = torch.tensor([3.0]).nextafter(torch.zeros(1)).requires_grad_()
    y = hardsigmoid(x)
    y.backward(torch.ones(1))
    assert y.item() == 1
    assert x.grad.item() == torch.tensor(1 / 6).item()
