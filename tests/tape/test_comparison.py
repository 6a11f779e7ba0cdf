"""Which outcomes of two ways to run a step count as equal."""

import pytest
import torch

from bptrain.tape.comparison import Outcome, agree, difference
from bptrain.tape.state import State

ONE = torch.ones(4)
STATE = State([], [], [], [torch.get_rng_state(), [], 0])


def outcome(*gradients: torch.Tensor | None) -> Outcome:
    return Outcome(torch.tensor(1.0), list(gradients), STATE)


@pytest.mark.parametrize(
    ("ours", "equal"),
    [
        (ONE, True),
        (ONE * (1 + 1e-6), True),
        (ONE * (1 + 1e-3), False),
        (ONE.double(), False),
        (torch.ones(5), False),
        (torch.tensor([1, 1, 1, torch.nan]), False),
        (torch.tensor([1, 1, 1, torch.inf]), False),
        (None, False),
    ],
)
def test_tensors_agree_to_rounding(ours: torch.Tensor | None, equal: bool) -> None:
    assert agree(ours, ONE) == equal


def test_what_is_not_finite_must_be_in_the_same_places() -> None:
    reference = torch.tensor([1, torch.nan, torch.inf])
    assert agree(reference.clone(), reference)
    assert agree(torch.tensor([1 + 1e-6, torch.nan, torch.inf]), reference)
    assert not agree(torch.tensor([1, torch.inf, torch.nan]), reference)
    assert not agree(torch.tensor([1, torch.nan, -torch.inf]), reference)
    assert not agree(torch.tensor([1, 0, torch.inf]), reference)


def test_a_gradient_that_cancels_is_compared_with_the_largest() -> None:
    rounding = torch.tensor([1e-8, -2e-8])
    assert difference(outcome(ONE, rounding), outcome(ONE, -rounding)) is None
    assert difference(outcome(rounding), outcome(-rounding)) == "a gradient is another"
    small = torch.tensor([1e-3, 1e-3])
    assert difference(outcome(ONE, small), outcome(ONE, 1.1 * small)) == "a gradient is another"


def test_whole_numbers_are_equal_or_not() -> None:
    assert agree(torch.tensor([1, 2]), torch.tensor([1, 2]))
    assert not agree(torch.tensor([1, 2]), torch.tensor([1, 3]))
