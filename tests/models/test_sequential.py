"""Layers from YAML: inferred sizes, branches, names that can run nothing, errors at their lines."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from graphs import foreign_nodes
from pydantic import ValidationError

from bptrain import nn
from bptrain.config import load_config, to_yaml
from bptrain.errors import ConfigKeyError, UsageError
from bptrain.experiment.config import ExperimentConfig
from bptrain.models import summarize
from bptrain.models.layer_table import INFERRED, LAYERS, arguments_of, required
from bptrain.models.sequential import SequentialConfig
from bptrain.problem import Problem
from bptrain.verify import check
from bptrain.verify.finite_differences import Sampling

IMAGES = Problem("classification", (3, 8, 8), 10)
NUMBERS = Problem("classification", (6,), 10)
SEQUENCES = Problem("classification", (12, 6), 10, is_sequence=True)
TOKENS = Problem("classification", (12,), 10, vocabulary=50, is_sequence=True)


def conv(channels: int, **rest: Any) -> dict:
    return {"Conv2d": {"out_channels": channels, "kernel_size": 3, "padding": 1, **rest}}


def build(layers: list, problem: Problem = IMAGES, **options: Any) -> torch.nn.Module:
    return SequentialConfig(layers=layers, **options).build(problem, "cpu")


def test_omitted_sizes_are_inferred() -> None:
    layers = [conv(4), "BatchNorm2d", "ReLU", {"MaxPool2d": 2}, {"GroupNorm": 2}, "Flatten"]
    model = build([*layers, "LayerNorm", {"Linear": 10}])
    assert repr(model[0]) == "Conv2d(3, 4, kernel_size=(3, 3), stride=(1, 1), padding=(1, 1))"
    assert model[1].num_features == 4
    assert (model[4].num_groups, model[4].num_channels) == (2, 4)
    assert model[6].normalized_shape == (64,)
    assert model[7].in_features == 64
    assert model(torch.randn(2, 3, 8, 8)).shape == (2, 10)


def test_a_list_of_layers_is_torchs_sequential_of_the_same_layers() -> None:
    ours = build([conv(4), "GELU", "Flatten", {"Linear": 10}])
    theirs = torch.nn.Sequential(
        torch.nn.Conv2d(3, 4, 3, padding=1),
        torch.nn.GELU(),
        torch.nn.Flatten(),
        torch.nn.Linear(256, 10),
    )
    ours.load_state_dict(theirs.state_dict())
    x = torch.randn(2, 3, 8, 8)
    torch.testing.assert_close(ours(x), theirs(x))


@pytest.mark.parametrize("name", LAYERS)
def test_a_layer_that_may_be_named_is_ours_and_torchs(name: str) -> None:
    assert LAYERS[name] is getattr(nn, name)
    assert issubclass(LAYERS[name], getattr(torch.nn, name))
    assert set(required(arguments_of(name))) <= set(arguments_of(name))


def test_what_is_inferred_is_an_argument_of_some_layer() -> None:
    known = {key for name in LAYERS for key in arguments_of(name)}
    assert set(INFERRED) <= known
    assert not {"device", "dtype", "_weight"} & known


def test_a_residual_adds_its_input_to_its_branch() -> None:
    model = build([{"residual": [conv(3), "Tanh"]}, "Flatten", {"Linear": 10}])
    x = torch.randn(2, 3, 8, 8)
    torch.testing.assert_close(model[0](x), torch.tanh(model[0].branch[0](x)) + x)


@pytest.mark.parametrize(
    ("branch", "problem", "projection"),
    [
        ([conv(6, stride=2)], IMAGES, "Conv2d(3, 6, kernel_size=(1, 1), stride=(2, 2))"),
        ([{"Linear": 9}, "ReLU"], NUMBERS, "Linear(in_features=6, out_features=9, bias=True)"),
        ([{"Linear": 9}], SEQUENCES, "Linear(in_features=6, out_features=9, bias=True)"),
        (
            [{"Conv1d": {"out_channels": 5, "kernel_size": 1}}],
            SEQUENCES,
            "Conv1d(12, 5, kernel_size=(1,), stride=(1,))",
        ),
    ],
)
def test_a_projection_makes_the_input_the_shape_of_the_branch(
    branch: list, problem: Problem, projection: str
) -> None:
    layers = [{"residual": branch, "projection": True}, "Flatten", {"Linear": 10}]
    model = build(layers, problem)
    assert repr(model[0].projection) == projection
    assert model(torch.randn(2, *problem.input_shape)).shape == (2, 10)


def test_branches_are_concatenated() -> None:
    pools = [[{"AdaptiveAvgPool2d": 1}], [{"AdaptiveMaxPool2d": 1}, "ReLU"]]
    model = build([{"concat": pools}, "Flatten", {"Linear": 10}])
    x = torch.randn(2, 3, 8, 8)
    means, largest = x.mean((2, 3)), x.amax((2, 3)).relu()
    torch.testing.assert_close(model[0](x).flatten(1), torch.cat([means, largest], 1))


def test_every_node_is_ours_and_every_gradient_is_correct() -> None:
    torch.manual_seed(0)
    layers = [
        conv(4),
        {"GroupNorm": 2},
        "SiLU",
        {"residual": [conv(6, stride=2), "Mish"], "projection": True},
        {"concat": [["Tanh"], [conv(2)]]},
        {"AdaptiveAvgPool2d": 2},
        "Flatten",
        {"Linear": 10},
    ]
    model, x = build(layers, init="orthogonal"), torch.randn(3, 3, 8, 8)
    assert foreign_nodes([model(x)]) == set()
    report = check(model, x, sampling=Sampling(elements=4, directions=1))
    assert report.ok, report.summary
    rows = summarize(SequentialConfig(layers=layers).build(IMAGES, "meta"), IMAGES, 3)
    assert sum(row.parameters for row in rows) == sum(p.numel() for p in model.parameters())
    assert [row.name for row in rows][3:7] == [
        "3.projection", "3.branch.0", "3.branch.1", "3.add",
    ]  # fmt: skip


def test_time_last_transposes_a_sequence() -> None:
    layers = [{"Conv1d": {"out_channels": 5, "kernel_size": 3}}, "Flatten", {"Linear": 10}]
    model = build(layers, SEQUENCES, time_last=True)
    assert model[0].in_channels == 6
    assert model(torch.randn(2, 12, 6)).shape == (2, 10)


def test_an_embedding_has_as_many_rows_as_the_vocabulary() -> None:
    model = build([{"Embedding": 7}, "Flatten", {"Linear": 10}], TOKENS)
    assert model[0].weight.shape == (50, 7)
    assert model(torch.randint(50, (2, 12))).shape == (2, 10)


def test_a_tagging_problem_has_an_output_at_each_step() -> None:
    problem = Problem("tagging", (12, 6), 4, is_sequence=True)
    model = build([{"Linear": 8}, "ReLU", {"Linear": 4}], problem)
    assert model(torch.randn(2, 12, 6)).shape == (2, 12, 4)


@pytest.mark.parametrize(
    ("layer", "key", "words"),
    [
        ("Relu", (), "there is no layer Relu"),
        ("os.system", (), "there is no layer os.system"),
        ("__class__", (), "there is no layer __class__"),
        ("CrossEntropyLoss", (), "there is no layer CrossEntropyLoss"),
        (3, (), "a layer is its name"),
        (None, (), "a layer is its name"),
        ({}, (), "a layer is its name"),
        ({"ReLU": {}, "Tanh": {}}, (), "a layer is its name"),
        ({"Conv2d": {"kernel_size": 3}}, ("Conv2d",), "Conv2d needs out_channels"),
        ({"Conv2d": 16}, ("Conv2d",), "Conv2d needs kernel_size"),
        ({"Linear": {"out_featurs": 3}}, ("Linear", "out_featurs"), "no such argument"),
        ({"Linear": {"device": "cuda"}}, ("Linear", "device"), "no such argument"),
        ({"Linear": {"out_features": 3, "bias": "no"}}, ("Linear", "bias"), "true or false"),
        ({"Linear": 3.5}, ("Linear",), "out_features of Linear must be a whole number"),
        ({"Linear": True}, ("Linear",), "out_features of Linear must be a whole number"),
        ({"Linear": "10"}, ("Linear",), "out_features of Linear must be a whole number"),
        ({"Dropout": float("nan")}, ("Dropout",), "p of Dropout must be a number"),
        ({"MaxPool2d": {"kernel_size": {"a": 1}}}, ("MaxPool2d", "kernel_size"), "a list of"),
        ({"Tanh": 3}, ("Tanh",), "no such argument"),
        ({"ReLU": {"inplace": True}}, ("ReLU", "inplace"), "no such argument"),
        ({"residual": []}, ("residual",), "at least 1 item"),
        ({"residual": ["Relu"]}, ("residual", 0), "there is no layer Relu"),
        ({"residual": ["ReLU"], "projecton": True}, ("projecton",), "Extra inputs"),
        ({"concat": [["ReLU"], ["Relu"]]}, ("concat", 1, 0), "there is no layer Relu"),
    ],
)
def test_a_wrong_layer_is_refused_at_its_own_key(layer: object, key: tuple, words: str) -> None:
    with pytest.raises(ValidationError) as refused:
        SequentialConfig(layers=["ReLU", layer])
    [error] = refused.value.errors()
    assert error["loc"] == ("layers", 1, *key)
    assert words in error["msg"]


@pytest.mark.parametrize(
    ("layers", "key", "words"),
    [
        (["Flatten", conv(3)], (1,), r"Conv2d does not fit an input \[N, 192\]"),
        ([{"MaxPool2d": 9}], (0,), r"MaxPool2d does not fit an input \[N, 3, 8, 8\]"),
        ([{"Linear": {"in_features": 5, "out_features": 2}}], (0,), "Linear does not fit"),
        ([{"Linear": -1}], (0,), "Linear has invalid arguments"),
        ([{"Linear": 0}], (0,), "Linear"),
        ([{"Linear": 10**12}, {"Linear": 10**12}], (1,), "Linear has invalid arguments"),
        ([{"Linear": 10**30}], (0,), "Linear has invalid arguments"),
        ([{"Dropout": 2}], (0,), "Dropout has invalid arguments"),
        ([conv(4, groups=3)], (0,), "Conv2d has invalid arguments"),
        ([conv(4, padding="sane")], (0,), "Conv2d has invalid arguments"),
        ([{"MaxPool2d": {"kernel_size": 2, "return_indices": True}}], (0,), "several tensors"),
        (["BatchNorm1d"], (0,), "BatchNorm1d does not fit"),
        ([{"residual": [conv(4)]}], (0, "residual"), "cannot be added"),
        ([{"residual": ["Flatten"], "projection": True}], (0, "projection"), "projection returns"),
        ([{"concat": [["Flatten"], ["ReLU"]]}], (0,), "concat does not fit"),
        ([{"concat": [["ReLU"], [{"MaxPool2d": 9}]]}], (0, "concat", 1, 0), "MaxPool2d does not"),
        (["Flatten", {"Linear": 9}], (1,), r"returns \[N, 9\], this classification problem needs"),
        ([{"Linear": 10}], (0,), r"returns \[N, 3, 8, 10\]"),
    ],
)
def test_a_layer_that_does_not_fit_is_named(layers: list, key: tuple, words: str) -> None:
    config = SequentialConfig(layers=layers)
    with pytest.raises(ConfigKeyError, match=words) as refused:
        config.build(IMAGES, "meta")
    assert refused.value.key == ("model", "layers", *key)


@pytest.mark.parametrize(
    "problem",
    [
        Problem("classification", (12, 6), 10, is_sequence=True, varies=True),
        Problem("transcription", (12, 6), 10, is_sequence=True),
        Problem("language_model", (12,), 10, vocabulary=10, is_sequence=True),
    ],
)
def test_problems_with_lengths_or_carried_state_are_refused(problem: Problem) -> None:
    with pytest.raises(UsageError, match="cannot solve"):
        build([{"Linear": 10}], problem)


def test_time_last_is_for_sequences_only() -> None:
    with pytest.raises(ConfigKeyError, match=r"model.time_last: samples \[N, 3, 8, 8\]"):
        build([{"Linear": 10}], time_last=True)


TEXT = """data: {kind: digits}
model:
  kind: sequential
  layers:
    - {Conv2d: {out_channels: 8, kernel_size: 3}}
    - residual:
        - ReLU
        - {MaxPool2d: 2}
    - Flatten
    - {Linear: 10}
"""


def test_errors_name_the_line_of_the_layer(bptrain: Callable, tmp_path: Path) -> None:
    for name, (old, new), expected in (
        ("read", ("- ReLU", "- ReLu6"), ":7: model.layers.1.residual.0\n  given:   ReLu6"),
        ("meant", ("kernel_size", "kernel_sise"), "did you mean: kernel_size"),
        ("built", ("MaxPool2d: 2", "MaxPool2d: 7"), ":8: model.layers.1.residual.1: MaxPool2d"),
        ("added", ("", ""), ":6: model.layers.1.residual: the input is [N, 8, 6, 6]"),
    ):
        (tmp_path / f"{name}.yaml").write_text(TEXT.replace(old, new) if old else TEXT)
        for command in (["fit", f"{name}.yaml", "--dry-run"], ["check", f"{name}.yaml"]):
            result = bptrain(*command)
            assert result.exit_code == 2
            assert expected in result.stderr
    result = bptrain("fit", "added.yaml", "model.layers.1.residual=[{Linear: 3}]")
    assert "override 'model.layers.1.residual=[{Linear: 3}]': model.layers.1.residual" in (
        result.stderr
    )


def test_a_written_list_of_layers_reads_back_equal(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(TEXT)
    config = load_config(ExperimentConfig, path)
    path.write_text(to_yaml(config))
    assert load_config(ExperimentConfig, path) == config
