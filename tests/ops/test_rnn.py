"""What is true of Elman's network beyond the table of cases."""

import pytest
import torch

from bptrain.ops import rnn_relu, rnn_tanh

T, N, H = 20, 2, 3


def gradient_of_the_first_state(factor: float) -> float:
    """Return h'_0 for h'_T = 1, where each unit reads itself alone, times `factor`."""
    x = torch.zeros(T, N, 1, dtype=torch.float64)
    h_0 = torch.full((1, N, H), 1e-6, dtype=torch.float64, requires_grad=True)
    W_hh = factor * torch.eye(H, dtype=torch.float64)
    params = [torch.zeros(H, 1, dtype=torch.float64), W_hh]
    _, h = rnn_relu(x, h_0, params, False, 1, 0.0, True, False)
    h.sum().backward()
    return float(h_0.grad[0, 0, 0])


@pytest.mark.parametrize("factor", [0.5, 1.0, 2.0])
def test_the_gradient_is_multiplied_at_every_step(factor: float) -> None:
    assert gradient_of_the_first_state(factor) == factor**T


@pytest.mark.parametrize("op", [rnn_tanh, rnn_relu])
def test_its_output_is_all_that_is_saved_of_it(op) -> None:
    x = torch.randn(T, N, 1, dtype=torch.float64, requires_grad=True)
    params = [torch.randn(H, 1, dtype=torch.float64), torch.randn(H, H, dtype=torch.float64)]
    y, _ = op(x, None, params, False, 1, 0.0, True, False)
    own = {each.data_ptr() for each in params}
    (saved,) = [t for t in y.grad_fn.saved_tensors if t is not None and t.data_ptr() not in own]
    assert saved.untyped_storage().data_ptr() == y.untyped_storage().data_ptr()
