"""What is true of dropout beyond the table of cases."""

import pytest
import torch
from torch import Tensor
from torch.func import functionalize
from torch.fx.experimental.proxy_tensor import make_fx

from bptrain.ops import dropout, dropout1d, dropout2d
from bptrain.ops.dropout import CHUNK, FEW, drawn


def saved_bytes(y: Tensor) -> int:
    return sum(each.nbytes for each in y.grad_fn.saved_tensors if each is not None)


def test_one_byte_is_saved_for_each_unit_or_channel() -> None:
    x = torch.randn(4, 6, 5, 5, requires_grad=True)
    assert saved_bytes(dropout(x)) == 4 * 6 * 5 * 5
    assert saved_bytes(dropout2d(x)) == 4 * 6
    assert saved_bytes(dropout1d(torch.randn(4, 6, 5, requires_grad=True))) == 4 * 6


def test_nothing_is_saved_or_drawn_where_every_unit_is_dropped() -> None:
    x = torch.randn(4, 6, 5, requires_grad=True)
    before = torch.get_rng_state()
    for y in (dropout(x, 1), dropout1d(x, 1)):
        assert saved_bytes(y) == 0
        assert not y.any()
    assert torch.get_rng_state().equal(before)


def test_the_mean_over_the_masks_is_the_input() -> None:
    torch.manual_seed(0)
    y = dropout(torch.ones(100_000), p=0.3)
    # a unit's variance is p / (1 - p) = 0.43: five standard errors of the mean are 0.0103
    assert y.mean().item() == pytest.approx(1, abs=0.0103)
    torch.testing.assert_close(y.unique(), torch.tensor([0.0, 1 / 0.7]))


def test_the_gradient_passes_where_the_signal_passed() -> None:
    x = torch.ones(50, requires_grad=True)
    y = dropout(x)
    y.backward(torch.ones(50))
    assert x.grad.equal(y)


def test_the_input_itself_comes_back_where_nothing_is_dropped() -> None:
    x = torch.randn(2, 3, 4)
    assert dropout(x, training=False) is x
    assert dropout2d(x, 0) is x


@pytest.mark.parametrize("p", [0.5, 0.2])
def test_the_mask_follows_the_memory_of_a_transposed_input_as_torchs_does(p: float) -> None:
    x = torch.randn(5, 4).t()
    torch.manual_seed(0)
    ours = dropout(x, p)
    torch.manual_seed(0)
    torch.testing.assert_close(ours, torch.nn.functional.dropout(x, p))


@pytest.mark.filterwarnings("ignore:dropout2d")
def test_three_axes_are_channels_of_lines_to_dropout2d_as_to_torchs() -> None:
    x = torch.randn(4, 3, 2)
    torch.manual_seed(0)
    ours = dropout2d(x)
    torch.manual_seed(0)
    torch.testing.assert_close(ours, torch.nn.functional.dropout2d(x))


@pytest.mark.parametrize("p", [-0.1, 1.1, float("nan")])
def test_what_is_no_probability_is_refused(p: float) -> None:
    with pytest.raises(ValueError, match="expected a probability from 0 to 1"):
        dropout(torch.zeros(2), p)


def test_inputs_without_channels_are_refused() -> None:
    with pytest.raises(ValueError, match=r"expected \[N, C, W\] or \[C, W\]"):
        dropout1d(torch.zeros(2))
    with pytest.raises(ValueError, match=r"expected \[N, C, H, W\]"):
        dropout2d(torch.zeros(2, 2))


LAYOUTS = {
    "few": torch.ones(FEW - 1),
    "many": torch.ones(FEW),
    "chunks": torch.ones(2 * CHUNK + 5),
    "transposed": torch.ones(300, 200).t(),
    "few, transposed": torch.ones(3, 2, 5).transpose(0, 2),
    "channels last": torch.ones(3, 4, 50, 60).to(memory_format=torch.channels_last),
    "strided": torch.ones(7, 900, 5)[:, ::2],
    "expanded": torch.ones(70, 1).expand(70, 90),
}


@pytest.mark.parametrize("p", [0.1, 0.5, 0.77])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_mask_is_the_one_that_bernoulli_draws(layout: str, p: float) -> None:
    x = LAYOUTS[layout]
    torch.manual_seed(3)
    expected = torch.empty_like(x, dtype=torch.bool).bernoulli_(1 - p)
    state = torch.get_rng_state()
    torch.manual_seed(3)
    with torch.no_grad():
        mask = drawn(x, p)
    assert torch.equal(mask, expected)
    assert mask.stride() == expected.stride()
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_graph_without_writing_in_place_draws_the_same_mask(layout: str) -> None:
    x = LAYOUTS[layout]
    graph = make_fx(functionalize(lambda x: drawn(x, 0.3)))(x)
    masks = []
    for draw in (graph, lambda x: drawn(x, 0.3)):
        torch.manual_seed(3)
        masks.append(draw(x))
    assert torch.equal(*masks)
