"""What is true of alpha dropout beyond the table of cases."""

import pytest
import torch

from bptrain.ops import alpha_dropout
from bptrain.ops.alpha_dropout import FLOOR, scale


def test_the_lowest_value_of_selu_is_known() -> None:
    assert torch.selu(torch.tensor(-1e9).double()).item() == pytest.approx(-FLOOR, rel=1e-12)


def test_one_byte_is_saved_for_each_unit() -> None:
    (saved,) = alpha_dropout(torch.randn(4, 6, requires_grad=True), 0.5, True).grad_fn.saved_tensors
    assert saved.nbytes == 4 * 6


def test_nothing_is_drawn_where_every_unit_is_dropped() -> None:
    before = torch.get_rng_state()
    assert not alpha_dropout(torch.ones(4, 6), 1, True).any()
    assert torch.get_rng_state().equal(before)


@pytest.mark.parametrize("p", [0.1, 0.5])
def test_mean_and_variance_are_restored(p: float) -> None:
    torch.manual_seed(0)
    y = alpha_dropout(torch.randn(200_000), p, True)
    # five standard errors: 5 / sqrt(n) = 0.011 of the mean; of the variance, whose fourth moment
    # is below 5 here, 5 sqrt(4 / n) = 0.022
    assert y.mean().item() == pytest.approx(0, abs=0.011)
    assert y.var().item() == pytest.approx(1, abs=0.022)


def test_a_unit_at_selus_lowest_value_does_not_show_whether_it_was_dropped() -> None:
    torch.manual_seed(0)
    y = alpha_dropout(torch.full((100,), -FLOOR, dtype=torch.float64), 0.5, True)
    assert y.unique().numel() == 1
    assert y[0].item() == pytest.approx(-0.5 * scale(0.5) * FLOOR)


def test_the_mask_follows_the_memory_of_a_transposed_input_as_torchs_does() -> None:
    x = torch.randn(5, 4).t()
    torch.manual_seed(0)
    ours = alpha_dropout(x, 0.3, True)
    torch.manual_seed(0)
    torch.testing.assert_close(ours, torch.nn.functional.alpha_dropout(x, 0.3, True))


def test_what_is_no_probability_is_refused() -> None:
    with pytest.raises(ValueError, match="expected a probability"):
        alpha_dropout(torch.zeros(2), 2)
