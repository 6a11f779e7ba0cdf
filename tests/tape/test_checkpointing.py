"""Segments keep their inputs alone, compute the rest again, and give the same gradients."""

from collections.abc import Callable
from copy import deepcopy
from pathlib import Path

import pytest
import torch
from networks import NETWORKS
from small_files import CONFIGS
from test_equal_gradients import assert_equal, trained
from torch.utils._pytree import tree_leaves
from typer.testing import Result

from bptrain import nn
from bptrain.tape import Autograd, Step
from bptrain.tape.segments import Segment

Bptrain = Callable[..., Result]


@pytest.mark.parametrize("kind", ["blocks", "sqrt"])
@pytest.mark.parametrize("name", NETWORKS)
def test_the_steps_are_autograds_bit_for_bit(name: str, kind: str) -> None:
    torch.manual_seed(0)
    network = NETWORKS[name]()
    step = Step(network.model, network.loss, checkpointing=kind)
    reference = Autograd(deepcopy(network.model), deepcopy(network.loss))
    assert_equal(trained(step, network), trained(reference, network))
    assert step.reasons == []


def kept_bytes(step: Step, x: torch.Tensor, y: torch.Tensor) -> int:
    """Return the bytes that the forward pass keeps for the backward pass, besides parameters."""
    run = step.begin((x,), (y,))
    run.forward()
    parameters = {p.untyped_storage().data_ptr() for p in step.model.parameters()}
    tensors = [each for each in tree_leaves(run.saved) if isinstance(each, torch.Tensor)]
    storages = {each.untyped_storage().data_ptr(): each.untyped_storage() for each in tensors}
    return sum(s.nbytes() for place, s in storages.items() if place not in parameters)


def deep(layers: int) -> torch.nn.Module:
    modules: list[torch.nn.Module] = []
    for _ in range(layers):
        modules += [nn.Linear(32, 32), nn.LayerNorm(32), nn.GELU()]
    return torch.nn.Sequential(*modules)


def test_what_is_kept_grows_with_the_square_root_of_the_depth() -> None:
    x, y = torch.randn(64, 32), torch.randn(64, 32)
    kept = {
        (kind, depth): kept_bytes(Step(deep(depth), nn.MSELoss(), checkpointing=kind), x, y)
        for kind in ("none", "blocks", "sqrt")
        for depth in (16, 64)
    }
    assert kept["none", 64] > 3.5 * kept["none", 16]
    assert kept["sqrt", 64] < 0.3 * kept["none", 64]
    assert kept["sqrt", 64] < 2.6 * kept["sqrt", 16]
    assert kept["blocks", 64] < 0.45 * kept["none", 64]


def segments_of(step: Step) -> list[list[str]]:
    (program,) = step._programs.values()
    return [
        [entry.layer for entry in each.entries]
        for each in program.entries
        if isinstance(each, Segment)
    ]


def test_a_block_is_a_container_or_a_layer_with_weights_and_what_follows() -> None:
    torch.manual_seed(0)
    network = NETWORKS["resnet"]()
    step = Step(network.model, network.loss, checkpointing="blocks")
    step(network.inputs, *network.targets)
    blocks = {layer.rpartition(".")[0] for layers in segments_of(step) for layer in layers}
    assert {"layer1.0", "layer2.0", "layer3.0"} <= blocks
    model = torch.nn.Sequential(nn.Linear(5, 4), nn.Tanh(), nn.Linear(4, 4), nn.Tanh())
    model.append(nn.Linear(4, 3))
    step = Step(model, nn.MSELoss(), checkpointing="blocks")
    step(torch.randn(6, 5), torch.randn(6, 3))
    assert segments_of(step) == [["0", "1"], ["2", "3"]]


def test_random_numbers_and_statistics_are_those_of_the_first_time() -> None:
    torch.manual_seed(0)
    layers = [nn.Linear(8, 8), nn.BatchNorm1d(8), nn.Dropout(0.5)]
    model = torch.nn.Sequential(*deepcopy(layers), *deepcopy(layers), nn.Linear(8, 3))
    step = Step(model, nn.MSELoss(), checkpointing="blocks")
    for _ in range(3):
        step(torch.randn(6, 8), torch.randn(6, 3))
    assert int(model[1].num_batches_tracked) == 3


@pytest.mark.parametrize("kind", ["blocks", "sqrt"])
def test_a_run_with_checkpointing_is_the_run_without(bptrain: Bptrain, kind: str) -> None:
    words = [CONFIGS / "digits_cnn.yaml", "train.steps=3", "data.batch_size=100"]
    for checkpointing in ("none", kind):
        result = bptrain(
            "fit", *words, f"train.checkpointing={checkpointing}", "--run-dir", checkpointing
        )
        assert result.exit_code == 0, result.stderr
    names = [f"{each}/checkpoints/step-000003" for each in ("none", kind)]
    first, second = (sorted(Path(name).glob("*.safetensors")) for name in names)
    assert [path.read_bytes() for path in first] == [path.read_bytes() for path in second]


def test_autograd_computes_nothing_again(bptrain: Bptrain) -> None:
    result = bptrain(
        "fit", CONFIGS / "digits_mlp.yaml", "engine=autograd", "train.checkpointing=sqrt"
    )
    assert result.exit_code == 2
    assert "train.checkpointing" in result.stderr
    assert "engine is autograd" in result.stderr
