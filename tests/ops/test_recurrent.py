"""What the recurrent operations refuse, and how."""

import pytest
import torch
from torch import Tensor

from bptrain.ops import gru_cell, lstm, lstm_cell, rnn_tanh

X = torch.zeros(3, 2, 5)


def parameters(gates: int = 4, projection: int = 0) -> list[Tensor]:
    P = projection or 4
    shapes = [(gates * 4, 5), (gates * 4, P), (gates * 4,), (gates * 4,)]
    return [torch.zeros(each) for each in [*shapes, *[(P, 4)] * bool(projection)]]


def call(input: Tensor = X, hx: object = None, params: object = None, **options: object) -> object:
    given = {"has_biases": True, "num_layers": 1, "dropout": 0.0, "train": True}
    given |= {"bidirectional": False} | options
    return lstm(input, hx, parameters() if params is None else params, **given)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"input": torch.zeros(3, 5)}, "expected three axes"),
        ({"input": torch.zeros(0, 2, 5)}, "expected at least one"),
        ({"input": torch.zeros(3, 2, 6)}, "input has 6 features, expected 5"),
        (
            {"hx": (torch.zeros(1, 3, 4), torch.zeros(1, 2, 4))},
            r"\[1, 3, 4\], expected \[1, 2, 4\]",
        ),
        (
            {"hx": (torch.zeros(1, 2, 4), torch.zeros(2, 2, 4))},
            r"\[2, 2, 4\], expected \[1, 2, 4\]",
        ),
        (
            {"hx": (torch.zeros(1, 2, 4), torch.zeros(1, 2, 4).double())},
            "torch.float64, expected the input's torch.float32",
        ),
        ({"params": parameters()[:3]}, "params has 3 tensors, expected 4"),
        ({"params": []}, "params has 0 tensors"),
        ({"num_layers": 2}, "params has 4 tensors"),
        ({"has_biases": False}, "params has 4 tensors"),
        ({"dropout": 1.5}, "dropout is 1.5, expected 0 to 1"),
        ({"batch_sizes": torch.tensor([2, 1])}, r"expected \[3, I\]"),
        (
            {"input": torch.zeros(3, 5), "batch_sizes": torch.tensor([1, 2])},
            "expected the largest first",
        ),
    ],
)
def test_arguments_that_do_not_fit_are_named(arguments: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call(**arguments)


def test_a_projection_shapes_the_states() -> None:
    states = (torch.zeros(1, 2, 3), torch.zeros(1, 2, 4))
    y, h, c = call(hx=states, params=parameters(projection=3))
    assert (y.shape, h.shape, c.shape) == ((3, 2, 3), (1, 2, 3), (1, 2, 4))
    with pytest.raises(ValueError, match="expected"):
        call(hx=(states[1], states[1]), params=parameters(projection=3))


def test_a_cell_refuses_what_does_not_fit() -> None:
    W_ih, W_hh, *_ = parameters()
    with pytest.raises(ValueError, match=r"expected \[N, I\]"):
        lstm_cell(X, None, W_ih, W_hh)
    with pytest.raises(ValueError, match=r"\[3, 4\], expected \[2, 4\]"):
        gru_cell(torch.zeros(2, 5), torch.zeros(3, 4), W_ih[:12], W_hh[:12])


def test_a_cell_may_have_one_bias_alone() -> None:
    x, W_ih, W_hh = torch.randn(2, 5), torch.randn(12, 5), torch.randn(12, 4)
    b, h = torch.randn(12), torch.randn(2, 4)
    zeros = torch.zeros(12)
    for given, full in (((b, None), (b, zeros)), ((None, b), (zeros, b))):
        expected = torch.gru_cell(x, h, W_ih, W_hh, *full)
        torch.testing.assert_close(gru_cell(x, h, W_ih, W_hh, *given), expected)


def test_states_may_be_wider_than_the_input_under_autocast_alone() -> None:
    h = torch.zeros(1, 2, 4)
    params = parameters(1)
    arguments = (h, [each.bfloat16() for each in params], True, 1, 0.0, True, False)
    with pytest.raises(ValueError, match=r"expected the input's torch\.bfloat16"):
        rnn_tanh(X.bfloat16(), *arguments)
    with torch.autocast("cpu", torch.bfloat16):
        assert rnn_tanh(X.bfloat16(), *arguments)[1].dtype == torch.bfloat16
