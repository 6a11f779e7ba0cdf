"""What is true of softsign beyond the table of cases."""

import torch

from bptrain.ops import softsign


def test_its_output_is_all_it_saves() -> None:
    y = softsign(torch.randn(4, 5, requires_grad=True))
    (saved,) = y.grad_fn.saved_tensors
    assert saved.data_ptr() == y.data_ptr()


def test_it_saturates_more_slowly_than_tanh() -> None:
    x = torch.tensor([-20.0, 20.0], requires_grad=True)
    softsign(x).sum().backward()
    torch.testing.assert_close(x.grad, torch.full((2,), 1 / 21**2))
