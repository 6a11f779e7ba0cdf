"""What is true of the LSTM beyond the table of cases."""

import torch
from torch import Tensor

from bptrain.ops import lstm, lstm_cell

T, N, IN, H = 50, 2, 3, 4


def parameters(i: float = 0, f: float = 0, g: float = 0, o: float = 0) -> list[Tensor]:
    """Return parameters whose gates are what the biases say."""
    bias = torch.tensor([i, f, g, o], dtype=torch.float64).repeat_interleave(H)
    zeros = [torch.zeros(4 * H, width, dtype=torch.float64) for width in (IN, H)]
    return [*zeros, bias, torch.zeros_like(bias)]


def last_c(params: list[Tensor], c_0: Tensor) -> Tensor:
    x = torch.randn(T, N, IN, dtype=torch.float64)
    return lstm(x, (torch.zeros_like(c_0), c_0), params, True, 1, 0.0, True, False)[2]


def test_an_open_forget_gate_carries_the_gradient_back_unfaded() -> None:
    c_0 = torch.randn(1, N, H, dtype=torch.float64, requires_grad=True)
    last_c(parameters(i=-1e3, f=1e3), c_0).sum().backward()
    assert c_0.grad.tolist() == torch.ones(1, N, H).tolist()


def test_a_shut_forget_gate_stops_the_gradient_at_once() -> None:
    c_0 = torch.randn(1, N, H, dtype=torch.float64, requires_grad=True)
    last_c(parameters(f=-1e3), c_0).sum().backward()
    assert not c_0.grad.any()


def test_five_numbers_are_saved_for_each_unit_and_step() -> None:
    x = torch.randn(T, N, IN, dtype=torch.float64, requires_grad=True)
    params = parameters()
    y, *_ = lstm(x, None, params, True, 1, 0.0, True, False)
    own = {each.data_ptr() for each in params}
    saved = [t for t in y.grad_fn.saved_tensors if t is not None and t.data_ptr() not in own]
    assert sorted(tuple(each.shape) for each in saved) == [(T * N, 4 * H), ((T + 1) * N, H)]


def test_the_states_are_saved_only_for_the_gradient_of_the_weight_that_read_them() -> None:
    params = parameters()
    params[1].requires_grad_()
    y, *_ = lstm(torch.randn(T, N, IN).double(), None, params, True, 1, 0.0, True, False)
    shapes = [tuple(each.shape) for each in y.grad_fn.saved_tensors if each is not None]
    assert shapes.count(((T + 1) * N, H)) == 2  # c and h
    assert (T, N, IN) not in shapes


def test_one_step_saves_no_recurrent_weight_unless_the_first_states_gradient_is_needed() -> None:
    params = [each.requires_grad_() for each in parameters()]
    x = torch.randn(N, IN, dtype=torch.float64)
    h, c = torch.zeros(2, N, H, dtype=torch.float64).unbind()
    for needs_h in (False, True):
        y, _ = lstm_cell(x, (h.detach().requires_grad_(needs_h), c), *params)
        assert any(t is params[1] for t in y.grad_fn.saved_tensors) == needs_h


def test_autocast_returns_float16_as_it_returns_bfloat16() -> None:
    params = [each.float() for each in parameters()]
    x = torch.randn(T, N, IN)
    with torch.autocast("cpu", torch.float16):
        y, h, c = lstm(x, None, params, True, 1, 0.0, True, False)
    assert {y.dtype, h.dtype, c.dtype} == {torch.float16}
