"""L-BFGS is torch's, converges as it should, and saves its state as tensors alone."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from bptrain.optim.lbfgs import LBFGSConfig, packed, unpacked


def closure_of(model: nn.Module, optimizer: torch.optim.Optimizer) -> Callable[[], Tensor]:
    generator = torch.Generator().manual_seed(1)
    inputs, targets = (torch.randn(20, n, generator=generator) for n in (4, 2))

    def loss() -> Tensor:
        optimizer.zero_grad()
        value = ((model(inputs) - targets) ** 2).mean()
        value.backward()
        return value

    return loss


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 2))


@pytest.mark.parametrize(
    ("config", "options"),
    [
        (LBFGSConfig(), {"line_search_fn": "strong_wolfe"}),
        (LBFGSConfig(line_search=None, lr=0.1), {"lr": 0.1}),
        (
            LBFGSConfig(iterations=3, history=2, tolerance_grad=1e-2, tolerance_change=1e-3),
            {
                "max_iter": 3,
                "history_size": 2,
                "line_search_fn": "strong_wolfe",
                "tolerance_grad": 1e-2,
                "tolerance_change": 1e-3,
            },
        ),
    ],
)
def test_it_takes_the_steps_of_torch(config: LBFGSConfig, options: dict[str, Any]) -> None:
    model, twin = network(), network()
    optimizer = config.build(model)
    reference = torch.optim.LBFGS(twin.parameters(), **options)
    loss, reference_loss = closure_of(model, optimizer), closure_of(twin, reference)
    for _ in range(4):
        assert optimizer.step(loss) == reference.step(reference_loss)
    for mine, theirs in zip(model.parameters(), twin.parameters(), strict=True):
        assert mine.equal(theirs)


def test_it_finds_the_least_squares_solution_of_a_linear_model() -> None:
    model = nn.Linear(4, 2, bias=False)
    optimizer = LBFGSConfig().build(model)
    loss = closure_of(model, optimizer)
    for _ in range(3):
        optimizer.step(loss)
    generator = torch.Generator().manual_seed(1)
    inputs, targets = (torch.randn(20, n, generator=generator) for n in (4, 2))
    exact = torch.linalg.lstsq(inputs, targets).solution.T
    torch.testing.assert_close(model.weight.detach(), exact, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("steps", [0, 1, 3])
def test_its_state_dict_is_tensors_alone_and_says_how_many(steps: int) -> None:
    model = network()
    config = LBFGSConfig(iterations=4, history=2)
    optimizer = config.build(model)
    for _ in range(steps):
        optimizer.step(closure_of(model, optimizer))
    state = optimizer.state_dict()["state"].get(0, {})
    assert all(isinstance(value, Tensor) for value in state.values())
    parameters = sum(p.numel() for p in model.parameters())
    kept = sum(v.numel() for v in state.values() if v.dim() and v.shape[-1] == parameters)
    assert kept == (config.states * parameters if steps else 0)


def test_the_saved_state_is_that_of_a_single_direction_too() -> None:
    model = network()
    optimizer = LBFGSConfig(iterations=1).build(model)  # no history yet: its lists are empty
    optimizer.step(closure_of(model, optimizer))
    state = optimizer.state[next(model.parameters())]
    assert state["old_dirs"] == []
    again = unpacked(packed(state))
    assert again["old_dirs"] == again["old_stps"] == again["ro"] == []
    assert (again["n_iter"], again["H_diag"]) == (1, 1)
    assert again["prev_loss"] == state["prev_loss"]


def test_it_has_no_weight_decay() -> None:
    assert "weight_decay" not in LBFGSConfig.model_fields
