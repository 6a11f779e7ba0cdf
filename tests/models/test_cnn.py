"""Convolution networks: torchvision's weights and outputs, shapes, gradients, refusals."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args

import pytest
import torch
import torchvision
from graphs import foreign_nodes
from pydantic import ValidationError

from bptrain import nn
from bptrain.errors import UsageError
from bptrain.models import summarize
from bptrain.models.cnn import CNNConfig, Preset
from bptrain.models.resnet import Block
from bptrain.models.stages import StageConfig
from bptrain.problem import Problem
from bptrain.verify import check
from bptrain.verify.finite_differences import Sampling

IMAGES = Problem("classification", (3, 32, 32), 10)
SEQUENCES = Problem("classification", (20, 6), 4, is_sequence=True)
SMALL = [StageConfig(channels=4), StageConfig(channels=6, pool="avg")]


def build(problem: Problem = IMAGES, **options: Any) -> torch.nn.Module:
    return CNNConfig(**options).build(problem, "cpu")


@pytest.mark.parametrize("preset", ["resnet18", "resnet34", "resnet50"])
def test_torchvisions_weights_load_and_give_torchvisions_outputs(preset: str) -> None:
    torch.manual_seed(0)
    theirs = getattr(torchvision.models, preset)(weights=None, num_classes=7)
    ours = build(Problem("classification", (3, 64, 64), 7), preset=preset)
    assert list(ours.state_dict()) == list(theirs.state_dict())
    ours.load_state_dict(theirs.state_dict())
    x = torch.randn(2, 3, 64, 64)
    for training in (True, False):  # the first moves the running statistics that the second reads
        ours.train(training)
        theirs.train(training)
        torch.testing.assert_close(ours(x), theirs(x))


def test_a_residual_network_for_small_images_is_the_papers() -> None:
    model = build(preset="resnet")
    # He et al. 2016, table 6: 0.27 million parameters in 20 layers
    assert sum(p.numel() for p in model.parameters()) == pytest.approx(0.27e6, rel=0.02)
    layers = [m for m in model.modules() if isinstance(m, (nn.Conv2d, nn.Linear))]
    assert len(layers) == 20 + 2  # and the two projections
    assert model.layer3(model.layer2(torch.zeros(1, 16, 32, 32))).shape == (1, 64, 8, 8)


@pytest.mark.parametrize(("preset", "convolutions"), [("vgg11", 8), ("vgg16", 13), ("lenet", 2)])
def test_a_preset_has_the_layers_of_its_name(preset: str, convolutions: int) -> None:
    model = build(preset=preset)
    assert sum(isinstance(m, nn.Conv2d) for m in model.modules()) == convolutions


def test_lenet_is_that_of_the_paper() -> None:
    # 28 x 28 digits, padded as the paper pads them: 61,706 with the last layer fully connected
    model = build(Problem("classification", (1, 28, 28), 10), preset="lenet")
    assert sum(p.numel() for p in model.parameters()) == 61_706


def test_the_stem_for_small_images_preserves_their_size() -> None:
    assert "maxpool" not in dict(build(preset="resnet18", stem="cifar").named_children())
    small, large = (build(preset="resnet18", stem=stem) for stem in ("cifar", "imagenet"))
    x = torch.zeros(1, 3, 32, 32)
    assert small.layer1(small.relu(small.conv1(x))).shape[2:] == (32, 32)
    assert large.layer1(large.maxpool(large.relu(large.conv1(x)))).shape[2:] == (8, 8)


@pytest.mark.parametrize("problem", [IMAGES, SEQUENCES], ids=["images", "sequences"])
@pytest.mark.parametrize("preset", [None, *get_args(Preset)])
def test_every_preset_is_summarized_and_every_node_is_ours(
    preset: str | None, problem: Problem
) -> None:
    options = {"preset": preset, "width": 0.1}
    if problem is SEQUENCES and preset in ("vgg11", "vgg16"):
        problem = Problem("classification", (40, 6), 4, is_sequence=True)
    rows = summarize(CNNConfig(**options).build(problem, "meta"), problem, 2)
    model = build(problem, **options)
    assert sum(row.parameters for row in rows) == sum(p.numel() for p in model.parameters())
    outputs = model(torch.randn(2, *problem.input_shape))
    assert rows[-1].output_shape == outputs.shape == (2, problem.outputs)
    assert foreign_nodes([outputs]) == set()


@pytest.mark.parametrize("preset", [None, "resnet", "resnet50"])
def test_the_summary_counts_what_a_real_forward_pass_saves(preset: str | None) -> None:
    config = CNNConfig(preset=preset, width=0.25)
    rows = summarize(config.build(IMAGES, "meta"), IMAGES, 2)
    model, saved = config.build(IMAGES, "cpu"), {}
    own = {each.data_ptr() for each in (*model.parameters(), *model.buffers())}

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        if tensor.data_ptr() not in own:
            saved[tensor.data_ptr()] = tensor
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        model(torch.randn(2, 3, 32, 32))
    assert sum(each.untyped_storage().nbytes() for each in saved.values()) == sum(
        row.saved_bytes for row in rows
    )


@pytest.mark.parametrize(
    "options",
    [
        {"stages": SMALL, "dropout": 0.5, "hidden": [5], "head": "flatten", "activation": "tanh"},
        {"stages": SMALL, "normalization": "group", "activation": "silu"},
        {"preset": "resnet", "depth": 8, "width": 0.2, "zero_init_residual": True},
    ],
)
def test_every_gradient_of_a_small_network_is_correct(options: dict) -> None:
    torch.manual_seed(0)
    # of each tensor one element, and all together along a random direction
    problem, sampling = Problem("classification", (2, 8, 8), 3), Sampling(elements=1, directions=1)
    report = check(build(problem, **options), torch.randn(3, 2, 8, 8), sampling=sampling)
    assert report.ok, report.summary


def test_a_sequence_is_convolved_over_time() -> None:
    model = build(
        SEQUENCES, stages=[StageConfig(channels=5, kernel=3, pool="none")], head="flatten"
    )
    x = torch.randn(3, 20, 6)
    assert model.stage1(x.transpose(1, 2)).shape == (3, 5, 20)
    changed = x.clone()
    changed[:, 10] += 1  # reaches the steps 9 to 11, whatever the feature
    model.eval()
    moved = model.stage1(changed.transpose(1, 2)) != model.stage1(x.transpose(1, 2))
    assert set(moved.any(1).any(0).nonzero().flatten().tolist()) <= {9, 10, 11}


def test_the_width_multiplies_the_channels() -> None:
    widths = [m.out_channels for m in build(width=0.5).modules() if isinstance(m, nn.Conv2d)]
    assert widths == [16, 16, 32, 32]


def test_a_convolution_has_a_bias_only_without_normalization() -> None:
    for normalization in ("batch", "group", "none"):
        model = build(normalization=normalization)
        assert (model.stage1.block1.conv.bias is not None) == (normalization == "none")


def test_a_regression_has_an_output_for_each_target() -> None:
    problem = Problem("regression", (1, 8, 8), 3)
    assert build(problem)(torch.randn(2, 1, 8, 8)).shape == (2, 3)


def test_zeroed_residuals_start_each_block_as_its_shortcut() -> None:
    model = build(preset="resnet", depth=8, zero_init_residual=True, init="kaiming")
    blocks = [m for m in model.modules() if isinstance(m, Block)]
    x = torch.randn(2, 16, 8, 8)
    assert len(blocks) == 3
    torch.testing.assert_close(blocks[0](x), torch.relu(x))


def test_convolutions_are_drawn_by_their_fan_in() -> None:
    torch.manual_seed(0)
    model = build(stages=[StageConfig(channels=64, blocks=2)], init="kaiming_normal")
    std = model.stage1.block2.conv.weight.std().item()
    assert std == pytest.approx((2 / (64 * 9)) ** 0.5, rel=0.02)


@pytest.mark.parametrize(
    ("problem", "words"),
    [
        (Problem("classification", (13,), 3), r"cannot read samples of the shape \[13\]"),
        (Problem("classification", (8, 8), 3), r"shape \[8, 8\]"),
        (Problem("classification", (20, 6), 3, is_sequence=True, varies=True), "differ in length"),
        (Problem("classification", (20,), 3, vocabulary=9, is_sequence=True), "not tokens"),
        (Problem("tagging", (20, 6), 3, is_sequence=True), "this tagging problem"),
    ],
)
def test_what_a_cnn_cannot_read_is_refused_with_a_hint(problem: Problem, words: str) -> None:
    with pytest.raises(UsageError, match=words) as refused:
        build(problem)
    assert "try: model.kind=" in str(refused.value)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"depth": 20}, "depth needs preset resnet; preset is null"),
        ({"preset": "resnet", "depth": 21}, "depth must be 6n + 2: 20 or 26, not 21"),
        ({"preset": "resnet", "stem": "cifar"}, "stem needs preset resnet18 or resnet34"),
        ({"preset": "vgg11", "stages": SMALL}, "stages needs preset null; preset is vgg11"),
        ({"preset": "resnet18", "hidden": [3]}, "hidden needs preset null or lenet"),
        ({"zero_init_residual": True}, "zero_init_residual needs preset resnet"),
        (
            {"preset": "resnet", "zero_init_residual": True, "normalization": "none"},
            "needs a normalization",
        ),
    ],
)
def test_options_without_effect_are_refused(options: dict, words: str) -> None:
    with pytest.raises(ValidationError, match=re.escape(words)):
        CNNConfig(**options)


def refused_config(bptrain: Callable, tmp_path: Path, text: str) -> str:
    (tmp_path / "small.yaml").write_text(text)
    result = bptrain("fit", "small.yaml", "--dry-run")
    assert result.exit_code == 2, result.stderr
    return result.stderr


def test_images_too_small_for_the_stages_are_refused_at_the_stage(
    bptrain: Callable, tmp_path: Path
) -> None:
    stages = "".join(f"    - {{channels: {n}}}\n" for n in (8, 8, 8, 9, 8))
    text = f"data: {{kind: digits}}\nmodel:\n  kind: cnn\n  stages:\n{stages}"
    stderr = refused_config(bptrain, tmp_path, text)
    assert "small.yaml:8: model.stages.3: the output would be empty for an input of 1 x 1" in stderr


def test_images_too_small_for_a_preset_are_refused(bptrain: Callable, tmp_path: Path) -> None:
    text = "data: {kind: digits}\nmodel: {kind: cnn, preset: vgg16}\n"
    stderr = refused_config(bptrain, tmp_path, text)
    assert (
        "small.yaml:2: model.preset: vgg16 halves its input too often for inputs of 8 x 8" in stderr
    )


def test_a_batch_of_one_is_refused_by_batch_normalization(
    bptrain: Callable, tmp_path: Path
) -> None:
    # 1,294 training samples: the last batch of 431 is a single one
    text = "data: {kind: digits, batch_size: 431}\nmodel: {kind: mlp, normalization: batch}\n"
    stderr = refused_config(bptrain, tmp_path, text)
    assert "small.yaml:1: data.batch_size: of 1,294 samples in batches of 431" in stderr
    (tmp_path / "good.yaml").write_text(text.replace("batch}", "layer}"))
    assert bptrain("fit", "good.yaml", "--dry-run").exit_code == 0
