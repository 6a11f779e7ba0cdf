"""Data sets whose training images are augmented: which batches are changed, and whole runs."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from image_sets import write_cifar10, write_folder
from small_files import write_mnist

from bptrain.config import load_config
from bptrain.data.augment.color import ColorJitterConfig, NoiseConfig
from bptrain.data.augment.geometry import CropConfig, FlipConfig
from bptrain.data.augment.mixing import CutMixConfig, MixupConfig
from bptrain.data.batches import Batch
from bptrain.data.images.cifar import CIFAR10Config
from bptrain.data.images.digits import DigitsConfig
from bptrain.data.images.image_folder import ImageFolderConfig
from bptrain.data.images.images_config import Augmentation
from bptrain.data.images.mnist import MNISTConfig
from bptrain.data.splits import Dataset, Samples
from bptrain.errors import UsageError
from bptrain.experiment.config import ExperimentConfig
from bptrain.experiment.loss_choice import choose_loss
from bptrain.losses import BaseLossConfig
from bptrain.losses.cross_entropy import CrossEntropyConfig
from bptrain.problem import Problem

EVERY_KIND = """
    - {kind: flip}
    - {kind: crop, padding: 1}
    - {kind: rotation, degrees: 10}
    - {kind: color_jitter}
    - {kind: erasing}
    - {kind: noise}
    - {kind: mixup, alpha: 0.2}
    - {kind: cutmix, alpha: 1.0}
"""


def config_of(folder: Path, augment: str = EVERY_KIND, loss: str = "cross_entropy") -> Path:
    path = folder / "config.yaml"
    path.write_text(
        f"data:\n  kind: digits\n  augment: {augment}\n"
        f"model: {{kind: mlp, hidden: [16]}}\nloss: {{kind: {loss}}}\ndevice: cpu\n"
        "train: {epochs: 2}\nmonitor: {log_every: 5}\n"
    )
    return path


def every_kind(folder: Path) -> Dataset:
    config = load_config(ExperimentConfig, config_of(folder))
    return config.data.build(0)


def epoch_of(dataset: Dataset, epoch: int, seed: int | None = 3) -> list[Batch]:
    return list(dataset.train.serve(100, seed).epoch(epoch))


def equal(ones: list[Batch], others: list[Batch]) -> bool:
    return all(
        one.inputs[0].equal(other.inputs[0]) and one.targets[0].equal(other.targets[0])
        for one, other in zip(ones, others, strict=True)
    )


def test_an_epoch_is_bitwise_reproducible_and_differs_from_the_next(tmp_path: Path) -> None:
    dataset = every_kind(tmp_path)
    first = epoch_of(dataset, 1)
    torch.manual_seed(99)
    assert equal(first, epoch_of(dataset, 1))
    # as a resumed run begins: nothing was served before
    assert equal(first, epoch_of(every_kind(tmp_path), 1))
    assert not equal(first, epoch_of(dataset, 2))
    assert not equal(first, epoch_of(dataset, 1, seed=4))


def test_only_training_batches_are_augmented(tmp_path: Path) -> None:
    plain, augmented = DigitsConfig().build(0), every_kind(tmp_path)
    for name in ("validation", "test"):
        one, other = getattr(plain, name), getattr(augmented, name)
        for seed in (None, 3):
            assert equal(list(one.serve(50, seed).epoch(0)), list(other.serve(50, seed).epoch(0)))
    assert equal(epoch_of(plain, 0, seed=None), epoch_of(augmented, 0, seed=None))
    assert not equal(epoch_of(plain, 0), epoch_of(augmented, 0))


def test_mixed_targets_are_probabilities_and_others_remain_classes() -> None:
    shifted = DigitsConfig(augment=[CropConfig(padding=1)]).build(0)
    mixed = DigitsConfig(augment=[MixupConfig()]).build(0)
    (batch, *_), (mixed_batch, *_) = epoch_of(shifted, 0), epoch_of(mixed, 0)
    assert batch.targets[0].dtype == torch.int64
    assert mixed_batch.targets[0].shape == (100, 10)
    assert mixed.problem.mixes
    assert not shifted.problem.mixes


def test_without_transforms_a_data_set_is_unchanged() -> None:
    assert DigitsConfig(augment=[]).build(0).train.augment is None


def test_a_split_keeps_its_transforms_when_it_moves() -> None:
    dataset = DigitsConfig(augment=[NoiseConfig()]).build(0)
    assert dataset.to(torch.device("cpu")).train.augment == dataset.train.augment is not None


@pytest.mark.parametrize("kind", ["digits", "mnist"])
def test_black_and_white_are_the_darkest_and_the_brightest_pixel(
    tmp_path: Path, mnist_files: dict, kind: str
) -> None:
    augment = [FlipConfig()]
    if kind == "digits":
        dataset = DigitsConfig(augment=augment).build(0)
    else:
        root = write_mnist(tmp_path, mnist_files)
        dataset = MNISTConfig(root=str(root), augment=augment).build(0)
    assert isinstance(dataset.train, Samples)
    assert isinstance(dataset.train.augment, Augmentation)
    (black,), (white,) = dataset.train.augment.info.black, dataset.train.augment.info.white
    raw = dataset.prepared
    assert black == pytest.approx(-raw["mean"] / raw["std"])
    assert white == pytest.approx(({"digits": 16, "mnist": 255}[kind] - raw["mean"]) / raw["std"])
    if kind == "digits":
        assert dataset.train.inputs.min().item() == pytest.approx(black)
        assert dataset.train.inputs.max().item() == pytest.approx(white)


def test_black_is_computed_for_each_channel() -> None:
    images = Samples(torch.zeros(4, 3, 8, 8), torch.zeros(4, dtype=torch.int64))
    problem = Problem("classification", (3, 8, 8), 2)
    prepared = {"mean": [10.0, 20.0, 30.0], "std": [10.0, 5.0, 1.0]}
    dataset = Dataset(problem, images, None, None, prepared)
    augmented = DigitsConfig(augment=[FlipConfig()]).augmented(dataset, white=20)
    assert isinstance(augmented.train, Samples)
    assert isinstance(augmented.train.augment, Augmentation)
    info = augmented.train.augment.info
    assert info.black == (-1.0, -4.0, -30.0)
    assert info.white == (1.0, 0.0, -10.0)


JITTERED = [FlipConfig(), ColorJitterConfig(saturation=0.2, hue=0.1), CutMixConfig()]


def test_images_in_memory_and_on_disk_are_augmented_alike(tmp_path: Path) -> None:
    root = str(write_folder(tmp_path, images=15))
    held, read = (
        ImageFolderConfig(root=root, size=16, augment=JITTERED, memory_bytes=limit)
        for limit in (2**30, 0)
    )
    held_set, read_set = held.build(3), read.build(3)
    assert equal(epoch_of(held_set, 1), epoch_of(read_set, 1))
    plain = ImageFolderConfig(root=root, size=16).build(3)
    assert not equal(epoch_of(plain, 1), epoch_of(held_set, 1))
    for each in (held_set, read_set):
        assert equal(epoch_of(plain, 0, seed=None), epoch_of(each, 0, seed=None))
        assert equal(list(plain.test.serve(9).epoch(0)), list(each.test.serve(9).epoch(0)))
        moved = each.to(torch.device("cpu"))
        assert equal(epoch_of(each, 1), epoch_of(moved, 1))


def test_color_photos_stay_between_black_and_white(tmp_path: Path) -> None:
    root = str(write_cifar10(tmp_path, "binary"))
    plain = CIFAR10Config(root=root).build(0)
    augmented = CIFAR10Config(root=root, augment=JITTERED).build(0)
    mean, std = (torch.tensor(plain.prepared[x]) for x in ("mean", "std"))
    for batch, other in zip(epoch_of(plain, 0), epoch_of(augmented, 0), strict=True):
        pixels = batch.inputs[0] * std.view(3, 1, 1) + mean.view(3, 1, 1)
        changed = other.inputs[0] * std.view(3, 1, 1) + mean.view(3, 1, 1)
        assert -0.01 <= changed.min() < changed.max() <= 255.01
        assert 1 < (pixels - changed).abs().mean() < 100


def test_training_with_every_transform_is_reproducible(bptrain: Callable, tmp_path: Path) -> None:
    losses = []
    for folder in ("a", "b"):
        result = bptrain("fit", config_of(tmp_path), "--run-dir", folder)
        assert result.exit_code == 0, result.stderr
        text = (tmp_path / folder / "metrics.jsonl").read_text()
        lines = [json.loads(line) for line in text.splitlines()]
        losses.append([v for line in lines for tag, v in line.items() if tag.endswith("/loss")])
    assert losses[0] == losses[1]
    assert len(losses[0]) > 8


@pytest.mark.parametrize("loss", ["cross_entropy", "bce_with_logits", "mse"])
def test_every_classification_loss_takes_class_probabilities(
    bptrain: Callable, tmp_path: Path, loss: str
) -> None:
    result = bptrain("fit", config_of(tmp_path, loss=loss), "train.steps=2")
    assert result.exit_code == 0, result.stderr


def test_gradients_with_class_probabilities_are_checked(bptrain: Callable, tmp_path: Path) -> None:
    result = bptrain("check", config_of(tmp_path, "[{kind: mixup}]"))
    assert result.exit_code == 0, result.stdout


def test_a_loss_of_single_classes_refuses_mixed_ones() -> None:
    class OneClassConfig(BaseLossConfig):
        kind: str = "mse"

    problem = Problem("classification", (4,), 3, mixes=True)
    with pytest.raises(UsageError, match="one class for each sample") as refused:
        choose_loss(OneClassConfig(), problem)
    assert "cross_entropy" in refused.value.hint
    assert "mixup" in refused.value.why
    choose_loss(CrossEntropyConfig(), problem)


@pytest.mark.parametrize(
    ("augment", "words"),
    [
        ("[{kind: crop, padding: 8}]", ["data.augment.0: crop", "padding of 8", "8 pixels"]),
        ("[{kind: flip}, {kind: color_jitter, hue: 0.1}]", ["data.augment.1", "hue", "1 channel"]),
        ("[{kind: erasing, area: [0.5, 0.2]}]", ["area", "0.5, is above the largest, 0.2"]),
        ("[{kind: mixup, alpha: 0}]", ["data.augment", "alpha", "greater than 0"]),
        ("[{kind: flipp}]", ["data.augment", "did you mean: flip"]),
        ("[{kind: flip, degrees: 3}]", ["degrees", "an unknown key", "direction"]),
        ("{kind: flip}", ["data.augment", "a list of at most 32 values"]),
    ],
)
def test_an_unsuitable_transform_is_refused_with_a_reason(
    bptrain: Callable, tmp_path: Path, augment: str, words: list[str]
) -> None:
    result = bptrain("fit", config_of(tmp_path, augment))
    assert result.exit_code == 2
    for word in words:
        assert word in result.stderr
