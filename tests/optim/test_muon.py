"""Muon takes the hidden matrices, AdamW the rest, and the two work and are saved as one."""

from copy import deepcopy
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from bptrain.errors import UsageError
from bptrain.models.cnn import CNNConfig
from bptrain.models.mlp import MLPConfig
from bptrain.models.rnn import RNNConfig
from bptrain.optim.combined import CombinedOptimizer
from bptrain.optim.groups import hidden_matrices
from bptrain.optim.muon import MuonConfig
from bptrain.problem import Problem

IMAGES = Problem("classification", (1, 8, 8), 10)
TEXT = Problem("language_model", (6,), 9, vocabulary=9, is_sequence=True)


def mlp() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 8), nn.LayerNorm(8), nn.Tanh(), nn.Linear(8, 3))


def set_gradients(model: nn.Module, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    for p in model.parameters():
        p.grad = torch.randn(p.shape, generator=generator)


@pytest.mark.parametrize(
    ("config", "problem", "expected"),
    [
        (MLPConfig(hidden=[8, 4]), IMAGES, {"linear1.weight", "linear2.weight"}),
        (MLPConfig(hidden=[8], normalization="layer"), IMAGES, {"linear1.weight"}),
        (CNNConfig(preset="lenet"), Problem("classification", (1, 28, 28), 10),
         {"linear1.weight", "linear2.weight"}),
        (RNNConfig(cell="gru", hidden=5), TEXT, {"gru.weight_ih_l0", "gru.weight_hh_l0"}),
        (RNNConfig(hidden=5, tied=True), TEXT, {"lstm.weight_ih_l0", "lstm.weight_hh_l0"}),
    ],
)  # fmt: skip
def test_the_hidden_matrices_are_neither_embedding_nor_output_nor_kernel(
    config: Any, problem: Problem, expected: set[str]
) -> None:
    model = config.build(problem, "cpu")
    matrices = hidden_matrices(model)
    assert {n for n, p in model.named_parameters() if any(p is m for m in matrices)} == expected


@pytest.mark.parametrize(
    ("config", "options"),
    [
        (MuonConfig(), {"lr": 0.02, "weight_decay": 0.1}),
        (
            MuonConfig(
                lr=0.05,
                momentum=0.8,
                nesterov=False,
                newton_schulz_steps=3,
                adjust_lr="match_rms_adamw",
                weight_decay=0.2,
            ),
            {
                "lr": 0.05,
                "momentum": 0.8,
                "nesterov": False,
                "ns_steps": 3,
                "adjust_lr_fn": "match_rms_adamw",
                "weight_decay": 0.2,
            },
        ),
    ],
)
def test_it_matches_torchs_muon_and_adamw(config: MuonConfig, options: dict[str, Any]) -> None:
    model, reference_model = mlp(), mlp()
    optimizer = config.build(model)
    others = [p for n, p in reference_model.named_parameters() if n != "0.weight"]
    apart = [
        torch.optim.Muon([reference_model[0].weight], **options),
        torch.optim.AdamW(others, lr=1e-3, weight_decay=options["weight_decay"], foreach=False),
    ]
    for seed in range(4):
        set_gradients(model, seed)
        set_gradients(reference_model, seed)
        optimizer.step()
        for each in apart:
            each.step()
    for mine, theirs in zip(model.parameters(), reference_model.parameters(), strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-5, atol=1e-6)


def test_the_options_of_adamw_reach_it() -> None:
    config = MuonConfig(adamw_lr=0.5, adamw_betas=[0.1, 0.2], adamw_eps=0.3)
    group = config.build(mlp()).param_groups[1]
    assert (group["lr"], group["betas"], group["eps"]) == (0.5, (0.1, 0.2), 0.3)


def test_a_learning_rate_set_in_the_groups_reaches_both_also_after_a_restore() -> None:
    model = mlp()
    optimizer = MuonConfig(weight_decay=0.0).build(model)
    set_gradients(model, 0)
    optimizer.step()
    optimizer.load_state_dict(optimizer.state_dict())
    before = [p.detach().clone() for p in model.parameters()]
    for group in optimizer.param_groups:
        group["lr"] = 0.0
    optimizer.step()
    assert all(p.equal(old) for p, old in zip(model.parameters(), before, strict=True))
    for group in optimizer.param_groups:
        group["lr"] = 0.1
    optimizer.step()
    assert not any(p.equal(old) for p, old in zip(model.parameters(), before, strict=True))


def test_a_state_dict_restores_both_in_a_new_optimizer() -> None:
    model, other = mlp(), mlp()
    optimizer, restored = (MuonConfig().build(each) for each in (model, other))
    for seed in range(3):
        set_gradients(model, seed)
        optimizer.step()
    other.load_state_dict(model.state_dict())
    restored.load_state_dict(deepcopy(optimizer.state_dict()))  # as from a file
    saved = optimizer.state_dict()["state"]
    assert [set(saved[index]) for index in (0, 1)] == [
        {"momentum_buffer"},
        {"step", "exp_avg", "exp_avg_sq"},
    ]
    for seed in (7, 8):
        for each, its in ((model, optimizer), (other, restored)):
            set_gradients(each, seed)
            its.step()
    for mine, theirs in zip(other.parameters(), model.parameters(), strict=True):
        assert mine.equal(theirs)
    assert restored.state[other[3].bias]["step"].item() == 5


def test_zero_grad_and_the_closure_reach_both() -> None:
    model = mlp()
    optimizer = MuonConfig().build(model)

    def loss() -> Tensor:
        optimizer.zero_grad()
        assert all(p.grad is None for p in model.parameters())
        value: Tensor = model(torch.ones(2, 6)).square().sum()
        value.backward()
        return value

    first, second = optimizer.step(loss), optimizer.step(loss)
    assert first > second
    assert all(p in optimizer.state for p in model.parameters())


def test_the_initial_state_of_an_optimizer_is_preserved() -> None:
    model = mlp()
    weights = [p for p in model.parameters() if p.dim() == 2]
    vectors = [p for p in model.parameters() if p.dim() == 1]
    combined = CombinedOptimizer(
        [
            torch.optim.Adagrad(weights, initial_accumulator_value=0.5),
            torch.optim.SGD(vectors, lr=0.1),
        ]
    )
    assert combined.state[weights[0]]["sum"].eq(0.5).all()
    set_gradients(model, 0)
    combined.step()
    assert combined.state[weights[0]]["sum"].gt(0.5).all()


@pytest.mark.parametrize("model", [nn.Linear(3, 2), nn.Sequential(nn.Conv1d(1, 1, 1))])
def test_a_model_without_hidden_matrices_is_refused(model: nn.Module) -> None:
    with pytest.raises(UsageError, match="no hidden weight matrix") as error:
        MuonConfig().build(model)
    assert "adamw" in error.value.hint


def test_a_torch_without_muon_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(torch.optim, "Muon")
    with pytest.raises(UsageError, match="does not have"):
        MuonConfig().build(mlp())
