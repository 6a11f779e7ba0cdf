"""Weight decay applies to all parameters, or to all but biases and normalization parameters."""

from typing import Any, get_args

import pytest
import torch
from torch import nn

from bptrain.models.mlp import MLPConfig
from bptrain.optim import OptimizerConfig
from bptrain.optim.adagrad import AdagradConfig
from bptrain.optim.adam import AdamWConfig
from bptrain.optim.groups import decay_groups, norms_and_biases
from bptrain.optim.muon import MuonConfig
from bptrain.optim.sgd import SGDConfig
from bptrain.problem import Problem

DECAYING = [
    kind for kind in get_args(get_args(OptimizerConfig)[0]) if "weight_decay" in kind.model_fields
]


class Wide(nn.Module):
    """Layers with parameters of every kind, and one weight that two layers share."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(5, 4)
        self.conv = nn.Conv1d(4, 4, 3)
        self.batch = nn.BatchNorm1d(4)
        self.layer = nn.LayerNorm((2, 4))  # its parameters have two axes
        self.rms = nn.RMSNorm((2, 4))
        self.rnn = nn.LSTM(4, 4)
        self.hidden = nn.Linear(4, 4)
        self.output = nn.Linear(4, 5)
        self.output.weight = self.embedding.weight


def names_of(model: nn.Module, parameters: list[nn.Parameter]) -> set[str]:
    return {name for name, p in model.named_parameters() if any(p is each for each in parameters)}


def test_norms_and_biases_are_found_whatever_their_axes() -> None:
    model = Wide()
    excluded = names_of(model, list(norms_and_biases(model)))
    weights = {name for name, _ in model.named_parameters()} - excluded
    assert weights == {
        "embedding.weight",
        "conv.weight",
        "rnn.weight_ih_l0",
        "rnn.weight_hh_l0",
        "hidden.weight",
    }


@pytest.mark.parametrize("kind", DECAYING, ids=lambda kind: kind.__name__)
@pytest.mark.parametrize("all_decay", [True, False])
def test_every_parameter_is_in_one_group_and_decays_as_the_config_says(
    kind: type, all_decay: bool
) -> None:
    model = Wide()
    config = kind(weight_decay=0.25, decay_norm_and_bias=all_decay)
    groups = config.build(model).param_groups
    listed = [p for group in groups for p in group["params"]]
    assert len(listed) == len(set(listed)) == len(list(model.parameters()))
    excluded = [p for group in groups if group["weight_decay"] == 0 for p in group["params"]]
    assert {group["weight_decay"] for group in groups} == ({0.25} if all_decay else {0.25, 0.0})
    assert names_of(model, excluded) == (
        set() if all_decay else names_of(model, list(norms_and_biases(model)))
    )


@pytest.mark.parametrize("kind", DECAYING, ids=lambda kind: kind.__name__)
def test_without_a_gradient_weights_decay_and_excluded_parameters_stay(kind: type) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 3), nn.LayerNorm(3), nn.Linear(3, 2))
    optimizer = kind(weight_decay=0.5, decay_norm_and_bias=False).build(model)
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    for _ in range(6):
        for p in model.parameters():
            p.grad = torch.zeros_like(p)
        optimizer.step()
    for name, p in model.named_parameters():
        if p.dim() == 2:
            assert p.norm() < before[name].norm(), name
        else:
            assert p.equal(before[name]), name


def test_by_default_there_is_one_group_in_the_order_of_the_model() -> None:
    model = Wide()
    for config in (SGDConfig(weight_decay=0.1), AdamWConfig()):
        (group,) = config.build(model).param_groups
        ours, theirs = group["params"], list(model.parameters())
        assert all(a is b for a, b in zip(ours, theirs, strict=True))


@pytest.mark.parametrize(
    ("model", "counts"),
    [
        (nn.Linear(2, 2, bias=False), [1]),  # nothing to spare
        (nn.BatchNorm1d(3), [2]),  # nothing else
        (nn.Linear(2, 2), [1, 1]),
    ],
)
def test_an_empty_group_is_left_out(model: nn.Module, counts: list[int]) -> None:
    groups = decay_groups(model, 0.1, decay_norm_and_bias=False)
    assert [len(group["params"]) for group in groups] == counts


def test_our_own_normalizations_are_excluded_as_torchs_are() -> None:
    problem = Problem("classification", (6,), 3)
    model: Any = MLPConfig(hidden=[4, 4], normalization="layer").build(problem, "cpu")
    excluded = names_of(model, list(norms_and_biases(model)))
    assert {"norm1.weight", "norm1.bias", "linear1.bias", "output.bias"} <= excluded
    assert not {"linear1.weight", "output.weight"} & excluded


def test_muon_always_decays_its_matrices() -> None:
    model = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 2))
    groups = MuonConfig(weight_decay=0.3, decay_norm_and_bias=False).build(model).param_groups
    assert [group["weight_decay"] for group in groups] == [0.3, 0.3, 0.0]


@pytest.mark.parametrize("kind", [SGDConfig, AdamWConfig, AdagradConfig])
def test_layer_decay_gives_earlier_layers_smaller_rates(kind: Any) -> None:
    model = nn.Sequential(nn.Linear(3, 3), nn.ReLU(), nn.Linear(3, 3), nn.Linear(3, 2))
    config = kind(lr=0.1, layer_decay=0.5, weight_decay=0.3, decay_norm_and_bias=False)
    groups = config.build(model).param_groups
    found = {p: (group["lr"], group["weight_decay"]) for group in groups for p in group["params"]}
    for layer, lr in ((model[3], 0.1), (model[2], 0.05), (model[0], 0.025)):
        assert found[layer.weight] == (lr, 0.3)
        assert found[layer.bias] == (lr, 0.0)
    assert groups[0]["lr"] == 0.1  # which is the rate that is logged


def test_a_tied_weight_has_the_rate_of_its_first_place() -> None:
    model = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3))
    model[1].weight = model[0].weight
    groups = AdamWConfig(lr=0.1, layer_decay=0.5).build(model).param_groups
    found = {p: group["lr"] for group in groups for p in group["params"]}
    assert found == {model[1].bias: 0.1, model[0].weight: 0.05, model[0].bias: 0.05}


def test_frozen_parameters_are_in_no_group() -> None:
    model = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3), nn.Linear(3, 2))
    model[0].requires_grad_(False)
    for config in (SGDConfig(), AdamWConfig(layer_decay=0.9), MuonConfig()):
        held = {p for group in config.build(model).param_groups for p in group["params"]}
        assert held == {*model[1].parameters(), *model[2].parameters()}
