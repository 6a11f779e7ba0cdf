"""What is true of the affine map beyond the table of cases."""

import torch

from bptrain.ops import linear
from bptrain.ops.linear import Needs, Saved, backward


def saved_by(output: torch.Tensor) -> list[tuple[int, ...]]:
    saved = [tensor for tensor in output.grad_fn.saved_tensors if tensor is not None]
    return [tuple(tensor.shape) for tensor in saved]


def test_only_what_the_needed_gradients_read_is_saved() -> None:
    x, W = torch.randn(4, 5), torch.randn(3, 5)
    assert saved_by(linear(x, W.clone().requires_grad_())) == [(4, 5)]
    assert saved_by(linear(x.clone().requires_grad_(), W)) == [(3, 5)]
    b = torch.randn(3, requires_grad=True)
    assert saved_by(linear(x, W, b)) == []


def test_a_gradient_that_is_not_needed_is_not_computed() -> None:
    saved = Saved(torch.randn(4, 5), torch.randn(3, 5))
    for needed in range(3):
        needs = Needs(*(number == needed for number in range(3)))
        gradients = backward(torch.randn(4, 3), saved, needs)
        assert [each is not None for each in gradients] == list(needs)
