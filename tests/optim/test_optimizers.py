"""Every optimizer matches torch's with every option, learns, and has the state it declares."""

from collections.abc import Callable
from typing import Any, get_args

import pytest
import torch
from torch import Tensor, nn

from bptrain.optim import OptimizerConfig
from bptrain.optim.adagrad import AdagradConfig, RMSpropConfig
from bptrain.optim.adam import AdamConfig, AdamWConfig, NAdamConfig, RAdamConfig
from bptrain.optim.lbfgs import LBFGSConfig
from bptrain.optim.muon import MuonConfig
from bptrain.optim.sgd import SGDConfig

ALL = get_args(get_args(OptimizerConfig)[0])
PLAIN: dict[str, Any] = {"foreach": False}  # torch's own loop over the tensors, to compare with
ADAM: dict[str, Any] = {"lr": 0.03, "eps": 1e-3, "weight_decay": 0.1}

CASES: list[tuple[Any, Callable[..., torch.optim.Optimizer], dict[str, Any]]] = [
    (SGDConfig(), torch.optim.SGD, {"lr": 0.1, "momentum": 0.9}),
    (
        SGDConfig(lr=0.3, momentum=0.8, nesterov=True, weight_decay=0.1),
        torch.optim.SGD,
        {"lr": 0.3, "momentum": 0.8, "nesterov": True, "weight_decay": 0.1},
    ),
    (AdamConfig(), torch.optim.Adam, {}),
    (AdamConfig(betas=[0.8, 0.9], **ADAM), torch.optim.Adam, {"betas": (0.8, 0.9), **ADAM}),
    (AdamWConfig(), torch.optim.AdamW, {}),
    (AdamWConfig(betas=[0.8, 0.9], **ADAM), torch.optim.AdamW, {"betas": (0.8, 0.9), **ADAM}),
    (NAdamConfig(), torch.optim.NAdam, {}),
    (
        NAdamConfig(betas=[0.8, 0.9], momentum_decay=0.1, decoupled_weight_decay=True, **ADAM),
        torch.optim.NAdam,
        {"betas": (0.8, 0.9), "momentum_decay": 0.1, "decoupled_weight_decay": True, **ADAM},
    ),
    (RAdamConfig(), torch.optim.RAdam, {}),
    (
        RAdamConfig(betas=[0.8, 0.9], decoupled_weight_decay=True, **ADAM),
        torch.optim.RAdam,
        {"betas": (0.8, 0.9), "decoupled_weight_decay": True, **ADAM},
    ),
    (RMSpropConfig(), torch.optim.RMSprop, {"lr": 1e-3}),
    (
        RMSpropConfig(alpha=0.8, momentum=0.5, **ADAM),
        torch.optim.RMSprop,
        {"alpha": 0.8, "momentum": 0.5, **ADAM},
    ),
    (AdagradConfig(), torch.optim.Adagrad, {}),
    (
        AdagradConfig(lr_decay=0.2, initial_accumulator_value=0.5, **ADAM),
        torch.optim.Adagrad,
        {"lr_decay": 0.2, "initial_accumulator_value": 0.5, **ADAM},
    ),
]


def gradients_of(model: nn.Module, generator: torch.Generator) -> list[Tensor]:
    return [torch.randn(p.shape, generator=generator) for p in model.parameters()]


@pytest.mark.parametrize(("config", "theirs", "options"), CASES)
def test_an_optimizer_does_what_torch_does_with_the_same_gradients(
    config: Any, theirs: Callable[..., torch.optim.Optimizer], options: dict[str, Any]
) -> None:
    torch.manual_seed(0)
    model, reference_model = nn.Linear(5, 3), nn.Linear(5, 3)
    reference_model.load_state_dict(model.state_dict())
    optimizer, reference = (
        config.build(model),
        theirs(reference_model.parameters(), **options, **PLAIN),
    )
    generator = torch.Generator().manual_seed(1)
    for step in range(8):  # radam trusts its mean square from the sixth on
        for group in (*optimizer.param_groups, *reference.param_groups):
            group["lr"] = config.lr / (1 + step)
        gradients = gradients_of(model, generator)
        for each in (model, reference_model):
            for parameter, gradient in zip(each.parameters(), gradients, strict=True):
                parameter.grad = gradient.clone()
        optimizer.step()
        reference.step()
    for mine, reference_value in zip(model.parameters(), reference_model.parameters(), strict=True):
        torch.testing.assert_close(mine, reference_value, rtol=2e-5, atol=1e-6)


@pytest.mark.parametrize("config", [*(case[0] for case in CASES), SGDConfig(momentum=0.0)])
def test_an_optimizer_has_as_many_state_tensors_as_its_config_says(config: Any) -> None:
    model = nn.Linear(2, 3)
    optimizer = config.build(model)
    model(torch.ones(1, 2)).sum().backward()
    optimizer.step()
    tensors = [v for v in optimizer.state[model.weight].values() if v.numel() == 6]
    assert len(tensors) == config.states


@pytest.mark.parametrize("kind", ALL, ids=lambda kind: kind.__name__)
def test_every_optimizer_lowers_the_loss_of_a_small_model(kind: type) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 16), nn.Tanh(), nn.Linear(16, 2))
    inputs, targets = torch.randn(32, 4), torch.randn(32, 2)
    optimizer = kind().build(model)

    def loss() -> Tensor:
        optimizer.zero_grad()
        value = ((model(inputs) - targets) ** 2).mean()
        value.backward()
        return value

    before = loss().item()
    for _ in range(200):
        optimizer.step(loss)
    assert loss().item() < 0.9 * before


@pytest.mark.parametrize("kind", ALL, ids=lambda kind: kind.__name__)
def test_only_lbfgs_calls_the_model_several_times_in_a_step(kind: type) -> None:
    model = nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 1))
    optimizer = kind().build(model)
    calls = 0

    def loss() -> Tensor:
        nonlocal calls
        calls += 1
        optimizer.zero_grad()
        value = ((model(torch.eye(2)) - 1) ** 2).sum()
        value.backward()
        return value

    returned = optimizer.step(loss)
    assert isinstance(returned, Tensor)
    assert (calls > 1) == kind.searches == (kind is LBFGSConfig)


def test_adamw_decouples_weight_decay_and_adam_does_not() -> None:
    updates = []
    for config in (AdamConfig(weight_decay=0.5), AdamWConfig(weight_decay=0.5)):
        model = nn.Linear(1, 1, bias=False)
        nn.init.constant_(model.weight, 4.0)
        model.weight.grad = torch.tensor([[1e-3]])
        config.build(model).step()
        updates.append(4 - model.weight.item())
    assert updates[0] == pytest.approx(1e-3, rel=1e-2)
    assert updates[1] == pytest.approx(1e-3 + 1e-3 * 0.5 * 4, rel=1e-2)


def test_nesterov_without_momentum_is_refused() -> None:
    with pytest.raises(ValueError, match="momentum"):
        SGDConfig(momentum=0.0, nesterov=True)


def test_only_lbfgs_and_muon_are_missing_from_the_comparison_with_torch() -> None:
    assert {type(case[0]) for case in CASES} == set(ALL) - {LBFGSConfig, MuonConfig}
