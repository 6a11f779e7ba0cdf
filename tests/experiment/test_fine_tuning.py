"""Fine-tuning: weights of one training begin another, frozen below, and no run needs their file."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw
from safetensors.torch import load_file, save_file

from bptrain.config import load_config
from bptrain.experiment.build import build
from bptrain.experiment.config import ExperimentConfig
from bptrain.experiment.plan import plan
from bptrain.experiment.starting_weights import starting_weights
from bptrain.models.pretrained import torchvisions
from bptrain.rundir.checkpoint import newest_valid

PRESET = "mobilenet_v3_small"
CONFIG = """\
name: tuned
data: {kind: image_folder, root: images, size: 32, channels: 3, batch_size: 8, test_fraction: 0.25}
model: {kind: pretrained, preset: mobilenet_v3_small, weights: weights.safetensors}
optimizer: {kind: adamw, lr: 2.0e-3}
train: {epochs: 2}
"""


def draw_shapes(root: Path, images: int = 12) -> None:
    """Draw discs and boxes of any color at any place, one class each."""
    random = np.random.default_rng(0)
    for name in ("disc", "box"):
        (root / name).mkdir(parents=True)
        for number in range(images):
            image = Image.new("RGB", (32, 32), tuple(random.integers(0, 80, 3).tolist()))
            left, top = random.integers(2, 12, 2).tolist()
            around = (left, top, left + 16, top + 16)
            pen = ImageDraw.Draw(image)
            draw = pen.ellipse if name == "disc" else pen.rectangle
            draw(around, fill=tuple(random.integers(120, 255, 3).tolist()))
            image.save(root / name / f"{number}.png")


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Draw the images, write a pretrained network's weights and the config; return the folder."""
    folder = tmp_path_factory.mktemp("written")
    draw_shapes(folder / "images")
    torch.manual_seed(1)
    save_file(torchvisions(PRESET, "cpu").state_dict(), folder / "weights.safetensors")
    (folder / "tuned.yaml").write_text(CONFIG)
    return folder


@pytest.fixture
def images(written: Path, tmp_path: Path) -> Path:
    """Return a copy of the folder that holds the images, the weights and the config."""
    shutil.copytree(written, tmp_path, dirs_exist_ok=True)
    return tmp_path


def weights_of(run: Path) -> dict[str, Any]:
    return dict(newest_valid(run / "checkpoints")[1].model)


def test_frozen_blocks_stay_those_of_the_file_and_the_run_needs_it_no_more(
    bptrain: Callable, images: Path
) -> None:
    words = ["tuned.yaml", "model.freeze=all but head", "--run-dir", "run"]
    stopped = bptrain("fit", *words, "train.epochs=1")
    assert stopped.exit_code == 0, stopped.stderr
    assert "parameters are not trained" in stopped.stdout + stopped.stderr
    given = load_file(images / "weights.safetensors")
    (images / "weights.safetensors").unlink()
    resumed = bptrain("fit", *words, "--resume")
    assert resumed.exit_code == 0, resumed.stderr
    found = weights_of(images / "run")
    for name, tensor in given.items():
        if not name.startswith("classifier.3."):
            assert found[f"network.{name}"].equal(tensor), name
    assert found["network.classifier.3.weight"].shape == (2, 1024)
    said = bptrain("predict", "run", "images/disc/0.png")
    assert said.exit_code == 0, said.stderr


def test_a_run_resumes_where_its_weights_have_moved_to(
    bptrain: Callable, images: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ["model.freeze=all but head", "--run-dir", images / "run"]
    assert bptrain("fit", "tuned.yaml", *words, "train.epochs=1").exit_code == 0
    (images / "elsewhere").mkdir()
    monkeypatch.chdir(images / "elsewhere")  # beside the config the weights are found
    resumed = bptrain("fit", images / "tuned.yaml", *words, "--resume", "train.epochs=1")
    assert resumed.exit_code == 0, resumed.stderr
    assert "model.weights" not in resumed.stdout
    other = bptrain("fit", images / "tuned.yaml", *words, "--resume", "model.weights=none")
    assert other.exit_code == 2
    assert "another model.weights" in other.stderr


def test_the_export_of_a_run_begins_another_with_other_classes(
    bptrain: Callable, images: Path
) -> None:
    assert bptrain("fit", "tuned.yaml", "--run-dir", "first", "train.epochs=1").exit_code == 0
    assert bptrain("export", "first", "first.safetensors").exit_code == 0
    draw_shapes(images / "more")
    draw_shapes(images / "third")
    (images / "third" / "disc").rename(images / "more" / "other")
    words = ["data.root=more", "model.weights=first.safetensors", "model.freeze=all but head"]
    second = bptrain("fit", "tuned.yaml", *words, "--run-dir", "second", "train.epochs=1")
    assert second.exit_code == 0, second.stderr
    before, after = (load_file(images / "first.safetensors"), weights_of(images / "second"))
    for name, tensor in before.items():
        if name.startswith("network.") and not name.startswith("network.classifier.3."):
            assert after[name].equal(tensor), name
    assert len(after["network.classifier.3.bias"]) == 3


def test_prefixes_that_wrappers_add_and_a_head_of_other_classes_do_not_matter(
    bptrain: Callable, images: Path
) -> None:
    given = load_file(images / "weights.safetensors")
    given["classifier.3.weight"], given["classifier.3.bias"] = torch.ones(7, 1024), torch.ones(7)
    save_file({f"module.{name}": each for name, each in given.items()}, images / "w.safetensors")
    words = ["model.weights=w.safetensors", "train.steps=1", "model.freeze=all but head"]
    result = bptrain("fit", "tuned.yaml", *words, "--run-dir", "run")
    assert result.exit_code == 0, result.stderr
    kept = weights_of(images / "run")["network.features.0.0.weight"]
    assert kept.equal(given["features.0.0.weight"])


def test_a_file_of_another_network_is_refused_by_its_names(bptrain: Callable, images: Path) -> None:
    result = bptrain("fit", "tuned.yaml", "model.preset=resnet18", "--run-dir", "run")
    assert result.exit_code == 4, result.stderr
    assert "not the weights of resnet18" in result.stderr


def test_without_a_network_the_download_is_exit_3(
    bptrain: Callable, images: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def offline(*_: Any, **__: Any) -> None:
        raise OSError("Name or service not known")

    monkeypatch.setattr("torch.hub.download_url_to_file", offline)
    monkeypatch.setenv("TORCH_HOME", str(images / "empty"))
    result = bptrain("fit", "tuned.yaml", "model.weights=imagenet", "--run-dir", "run")
    assert result.exit_code == 3, result.stderr
    assert "cannot be downloaded" in result.stderr
    assert "model.weights=FILE" in result.stderr


def test_each_block_has_a_rate_and_frozen_ones_no_state(images: Path) -> None:
    words = ["model.freeze=10", "optimizer.layer_decay=0.5"]
    words.append(f"model.weights={images / 'weights.safetensors'}")
    made = plan(load_config(ExperimentConfig, images / "tuned.yaml", words))
    experiment = build(made, starting_weights(made))
    groups = experiment.update.optimizer.param_groups
    trained = [p for p in experiment.model.parameters() if p.requires_grad]
    assert sum(len(group["params"]) for group in groups) == len(trained)
    # of 14 blocks and the head 5 are trained: the head at the config's rate
    assert [group["lr"] for group in groups] == [2e-3 * 0.5**depth for depth in range(5)]
    head = experiment.model.network.classifier[3]
    assert groups[0]["params"] == list(head.parameters())
    assert made.frozen == sum(
        p.numel() for p in experiment.model.parameters() if not p.requires_grad
    )
