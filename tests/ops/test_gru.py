"""What is true of the GRU beyond the table of cases."""

import torch
from torch import Tensor

from bptrain.ops import gru

T, N, IN, H = 50, 2, 3, 4


def parameters(r: float = 0, z: float = 0, n: float = 0) -> list[Tensor]:
    """Return parameters whose gates are what the biases say."""
    bias = torch.tensor([r, z, n], dtype=torch.float64).repeat_interleave(H)
    zeros = [torch.zeros(3 * H, width, dtype=torch.float64) for width in (IN, H)]
    return [*zeros, bias, torch.zeros_like(bias)]


def run(params: list[Tensor], h_0: Tensor) -> tuple[Tensor, Tensor]:
    x = torch.randn(T, N, IN, dtype=torch.float64)
    return gru(x, h_0, params, True, 1, 0.0, True, False)


def test_an_open_update_gate_keeps_the_state_and_its_gradient() -> None:
    h_0 = torch.randn(1, N, H, dtype=torch.float64, requires_grad=True)
    _, h = run(parameters(z=1e3), h_0)
    assert h.equal(h_0)
    h.sum().backward()
    assert h_0.grad.tolist() == torch.ones(1, N, H).tolist()


def test_a_shut_update_gate_forgets_the_state() -> None:
    h_0 = torch.randn(1, N, H, dtype=torch.float64, requires_grad=True)
    _, h = run(parameters(z=-1e3, n=0.5), h_0)
    torch.testing.assert_close(h, torch.full_like(h, 0.5).tanh())
    h.sum().backward()
    assert not h_0.grad.any()


def test_five_numbers_are_saved_for_each_unit_and_step() -> None:
    h_0 = torch.randn(1, N, H, dtype=torch.float64, requires_grad=True)
    params = parameters()
    y, _ = run(params, h_0)
    own = {each.data_ptr() for each in params}
    saved = [t for t in y.grad_fn.saved_tensors if t is not None and t.data_ptr() not in own]
    assert sorted(tuple(each.shape) for each in saved) == [(T * N, 4 * H), ((T + 1) * N, H)]
