"""A saved state that its owner did not write is refused, where torch would take it in silence."""

from typing import Any

import pytest
import torch

from bptrain.train.optimizer_entries import refuse_other_search
from bptrain.train.states import Generators

CPU = torch.device("cpu")
NUMBERS = 3


def test_a_generators_state_is_a_vector() -> None:
    generators = Generators(CPU)
    saved = generators.state()
    generators.restore(saved)
    with pytest.raises(ValueError, match="generator's state cpu"):
        generators.restore({"cpu": saved["cpu"].unsqueeze(0)})
    with pytest.raises(ValueError, match="mapping is needed"):
        generators.restore(saved["cpu"])
    with pytest.raises(ValueError, match="where a tensor is needed"):
        generators.restore({"cpu": 1})


def searched() -> dict[str, Any]:
    """Return the state of L-BFGS after two steps."""
    weights = torch.nn.Parameter(torch.tensor([1.0, 2.0, 3.0]))
    optimizer = torch.optim.LBFGS([weights], max_iter=2)

    def loss() -> torch.Tensor:
        optimizer.zero_grad()
        value = weights.square().sum()
        value.backward()
        return value

    optimizer.step(loss)
    return dict(optimizer.state[weights])


def test_the_state_of_a_search_is_accepted() -> None:
    refuse_other_search(searched(), NUMBERS, 100)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("t", 2**70),
        ("t", float("nan")),
        ("H_diag", torch.tensor(float("nan"))),
        ("d", torch.full((NUMBERS,), float("inf"))),
        ("prev_flat_grad", torch.zeros(NUMBERS + 1)),
    ],
)
def test_a_number_that_no_search_holds_is_refused(name: str, value: Any) -> None:
    with pytest.raises(ValueError, match=r"of the search|where the search has"):
        refuse_other_search({**searched(), name: value}, NUMBERS, 100)
