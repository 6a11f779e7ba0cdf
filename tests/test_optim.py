"""Optimizers reach torch with every option; schedules are the curves they say."""

from math import cos, pi

import pytest
import torch
from torch import nn

from bptrain.optim.optimizers import AdamConfig, AdamWConfig, RMSpropConfig, SGDConfig
from bptrain.optim.schedules import ConstantConfig, CosineConfig, StepConfig


@pytest.mark.parametrize(
    ("config", "options"),
    [
        (
            SGDConfig(lr=0.3, momentum=0.8, nesterov=True, weight_decay=0.1),
            {"lr": 0.3, "momentum": 0.8, "nesterov": True, "weight_decay": 0.1},
        ),
        (
            AdamConfig(lr=0.3, betas=[0.8, 0.9], eps=1e-3, weight_decay=0.1),
            {"lr": 0.3, "betas": (0.8, 0.9), "eps": 1e-3, "weight_decay": 0.1},
        ),
        (
            AdamWConfig(lr=0.3, betas=[0.8, 0.9], eps=1e-3, weight_decay=0.1),
            {"lr": 0.3, "betas": (0.8, 0.9), "eps": 1e-3, "weight_decay": 0.1},
        ),
        (
            RMSpropConfig(lr=0.3, alpha=0.8, eps=1e-3, momentum=0.5, weight_decay=0.1),
            {"lr": 0.3, "alpha": 0.8, "eps": 1e-3, "momentum": 0.5, "weight_decay": 0.1},
        ),
    ],
    ids=lambda value: getattr(value, "kind", ""),
)
def test_every_option_reaches_the_optimizer(config: SGDConfig, options: dict) -> None:
    model = nn.Linear(2, 2)
    optimizer = config.build(model.parameters())
    assert {name: optimizer.defaults[name] for name in options} == options
    model(torch.ones(1, 2)).sum().backward()
    optimizer.step()
    tensors = [v for v in optimizer.state[model.weight].values() if v.numel() == 4]
    assert len(tensors) == config.states


def test_adamw_decays_apart_from_the_gradient_and_adam_does_not() -> None:
    updates = []
    for config in (AdamConfig(weight_decay=0.5), AdamWConfig(weight_decay=0.5)):
        weight = nn.Parameter(torch.tensor([4.0]))
        weight.grad = torch.tensor([1e-3])
        config.build([weight]).step()
        updates.append(4 - weight.item())
    assert updates[0] == pytest.approx(1e-3, rel=1e-2)
    assert updates[1] == pytest.approx(1e-3 + 1e-3 * 0.5 * 4, rel=1e-2)


def test_nesterov_without_momentum_is_refused() -> None:
    with pytest.raises(ValueError, match="momentum"):
        SGDConfig(momentum=0.0, nesterov=True)


def test_constant_stays() -> None:
    schedule = ConstantConfig().build(100, 10)
    assert {schedule(step) for step in range(100)} == {1.0}


@pytest.mark.parametrize("kind", [ConstantConfig, StepConfig, CosineConfig])
def test_the_warm_up_rises_in_equal_steps(kind: type[ConstantConfig]) -> None:
    schedule = kind(warmup_steps=4).build(1000, 500)
    assert [schedule(step) for step in range(4)] == pytest.approx([0.25, 0.5, 0.75, 1.0])


def test_steps_drop_by_epochs() -> None:
    schedule = StepConfig(every_epochs=2, gamma=0.1).build(100, 10)
    assert [schedule(step) for step in (0, 19, 20, 39, 40)] == pytest.approx([1, 1, 0.1, 0.1, 0.01])


def test_cosine_falls_from_one_to_its_end() -> None:
    schedule = CosineConfig(warmup_steps=10, final_factor=0.1).build(110, 10)
    assert schedule(10) == pytest.approx(1)
    assert schedule(60) == pytest.approx(0.1 + 0.9 * 0.5)
    assert schedule(35) == pytest.approx(0.1 + 0.9 * (1 + cos(pi / 4)) / 2)
    assert schedule(110) == pytest.approx(0.1)
    values = [schedule(step) for step in range(10, 111)]
    assert values == sorted(values, reverse=True)


def test_a_warm_up_longer_than_the_run_still_ends_nowhere_strange() -> None:
    schedule = CosineConfig(warmup_steps=100).build(10, 10)
    assert [schedule(step) for step in range(10)] == pytest.approx([i / 100 for i in range(1, 11)])
