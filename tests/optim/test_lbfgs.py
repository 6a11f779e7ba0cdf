"""L-BFGS is torch's, converges as it should, and is restored."""

from collections.abc import Callable
from copy import deepcopy
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from bptrain.optim.lbfgs import LBFGSConfig


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
            LBFGSConfig(tolerance_change=0.05),
            {"line_search_fn": "strong_wolfe", "tolerance_change": 0.05},
        ),
        (
            LBFGSConfig(iterations=3, history=2, tolerance_grad=0.1, tolerance_change=1e-3),
            {
                "max_iter": 3,
                "history_size": 2,
                "line_search_fn": "strong_wolfe",
                "tolerance_grad": 0.1,
                "tolerance_change": 1e-3,
            },
        ),
    ],
)
def test_it_takes_torchs_steps(config: LBFGSConfig, options: dict[str, Any]) -> None:
    model, reference_model = network(), network()
    optimizer = config.build(model)
    reference = torch.optim.LBFGS(reference_model.parameters(), **options)
    loss, reference_loss = closure_of(model, optimizer), closure_of(reference_model, reference)
    for _ in range(4):
        assert optimizer.step(loss) == reference.step(reference_loss)
    for mine, theirs in zip(model.parameters(), reference_model.parameters(), strict=True):
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


def test_it_has_as_many_state_tensors_as_its_config_says() -> None:
    model = network()
    config = LBFGSConfig(iterations=4, history=2)
    optimizer = config.build(model)
    optimizer.step(closure_of(model, optimizer))
    parameters = sum(p.numel() for p in model.parameters())
    entries = optimizer.state[next(model.parameters())].values()
    tensors = [t for e in entries for t in (e if isinstance(e, list) else [e])]
    state = [t for t in tensors if isinstance(t, Tensor) and t.numel() == parameters]
    assert len(state) == config.states


@pytest.mark.parametrize("line_search", ["strong_wolfe", None])
@pytest.mark.parametrize("steps", [1, 3])
def test_its_state_restores_it_in_a_new_optimizer(line_search: Any, steps: int) -> None:
    config = LBFGSConfig(iterations=2, history=3, lr=0.5, line_search=line_search)
    model, other = network(), network()
    optimizer, restored = config.build(model), config.build(other)
    for _ in range(steps):
        optimizer.step(closure_of(model, optimizer))
    other.load_state_dict(model.state_dict())
    restored.load_state_dict(deepcopy(optimizer.state_dict()))  # as from a file
    for _ in range(2):
        losses = [o.step(closure_of(m, o)) for m, o in ((model, optimizer), (other, restored))]
        assert losses[0] == losses[1]
    for mine, theirs in zip(other.parameters(), model.parameters(), strict=True):
        assert mine.equal(theirs)


def test_it_has_no_weight_decay() -> None:
    assert "weight_decay" not in LBFGSConfig.model_fields
