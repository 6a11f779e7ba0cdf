"""CIFAR, EMNIST and folders of images: reading, splits, batches and predictions."""

import hashlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from image_sets import (
    TRAIN_FILES,
    photos,
    picture,
    write_cifar10,
    write_cifar100,
    write_emnist,
    write_folder,
)
from PIL import Image
from small_files import CONFIGS, write_mnist
from torch import Tensor
from torchvision import datasets

from bptrain.data.batches import Reorderable
from bptrain.data.images.cifar import CIFAR10Config, CIFAR100Config
from bptrain.data.images.cifar_pickle import read_pickled_dict
from bptrain.data.images.emnist import EMNISTConfig
from bptrain.data.images.image_folder import ImageFolderConfig
from bptrain.data.images.image_splits import ImagesInMemory, ImagesOnDisk
from bptrain.data.images.mnist import FashionMNISTConfig, KMNISTConfig
from bptrain.data.images.published_checksums import PUBLISHED, Published
from bptrain.data.splits import Parts, Samples, standardize
from bptrain.errors import DataError, UsageError
from bptrain.experiment.loss_choice import balanced
from bptrain.losses.cross_entropy import CrossEntropyConfig

LABELS = np.arange(40) % 10


@pytest.mark.parametrize("version", ["binary", "python", "python2"])
def test_each_version_of_cifar10_holds_the_same_images(tmp_path: Path, version: str) -> None:
    root = write_cifar10(tmp_path, version)
    dataset = CIFAR10Config(root=str(root), validation_fraction=0).build(0)
    expected = np.concatenate([photos(LABELS, seed) for seed in range(len(TRAIN_FILES))])
    raw = torch.from_numpy(expected).view(-1, 3, 32, 32)
    mean, std = (torch.tensor(dataset.prepared[x]) for x in ("mean", "std"))
    found = dataset.train.inputs * std.view(3, 1, 1) + mean.view(3, 1, 1)
    torch.testing.assert_close(found, raw.float(), atol=1e-3, rtol=0)
    assert dataset.train.targets.tolist() == LABELS.tolist() * 5
    assert (len(dataset.train), len(dataset.test)) == (200, 40)
    assert len(dataset.problem.names) == 10


def test_arrays_are_read_in_either_order_and_protocol(tmp_path: Path) -> None:
    import pickle

    pixels = photos(LABELS, 0)
    for number, held in enumerate([pixels, np.asfortranarray(pixels)]):
        for protocol in (3, 4):
            path = tmp_path / f"{number}-{protocol}"
            path.write_bytes(pickle.dumps({"data": held, "also": (None, True, -1, "é")}, protocol))
            read = read_pickled_dict(path)
            assert np.array_equal(read["data"], pixels)
            assert read["also"] == (None, True, -1, "é")


@pytest.mark.parametrize("version", ["binary", "python"])
def test_cifar100_is_read_with_its_fine_labels(tmp_path: Path, version: str) -> None:
    root = write_cifar100(tmp_path, version)
    dataset = CIFAR100Config(root=str(root), validation_fraction=0).build(0)
    assert dataset.train.targets.tolist() == [number % 100 for number in range(300)]
    assert dataset.problem.names == ()  # the folder has no list of them


def test_the_binary_version_is_read_where_both_are_there(tmp_path: Path) -> None:
    write_cifar10(tmp_path, "binary", images=20)
    write_cifar10(tmp_path, "python", images=40)
    assert len(CIFAR10Config(root=str(tmp_path)).build(0).test) == 20


@pytest.mark.parametrize(
    "version",
    [pytest.param("binary", marks=pytest.mark.slow), "python"],  # they hold the same, see above
)
def test_a_set_in_cifars_layout_is_learned_by_an_mlp(
    bptrain: Callable, tmp_path: Path, version: str
) -> None:
    root = write_cifar10(tmp_path / "root", version, images=100)
    words = [f"data.root={root}", "train.epochs=8", "schedule.warmup_steps=5"]
    words += ["model.hidden=[64]", "data.batch_size=32"]
    result = bptrain("fit", CONFIGS / "cifar10_mlp.yaml", *words)
    assert result.exit_code == 0, result.output
    assert float(result.stdout.split("test accuracy ")[1].split("%")[0]) >= 90


def test_a_failed_download_says_where_the_folders_belong(
    bptrain: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise OSError("no network")

    monkeypatch.setattr("torchvision.datasets.utils.download_and_extract_archive", fail)
    result = bptrain("fit", CONFIGS / "cifar10_mlp.yaml", f"data.root={tmp_path}")
    assert result.exit_code == 3
    assert "could not be downloaded" in result.stderr
    assert "cifar-10-batches-py" in result.stderr


def test_a_file_of_an_originals_name_and_size_must_be_the_original(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = write_cifar10(tmp_path, "python")
    path = root / "cifar-10-batches-py" / "data_batch_3"
    published = {"data_batch_3": Published(path.stat().st_size, "0" * 32)}
    monkeypatch.setitem(PUBLISHED, "cifar-10-batches-py", published)
    with pytest.raises(DataError, match="data_batch_3: damaged, or not the published file"):
        CIFAR10Config(root=str(root)).build(0)
    md5 = hashlib.md5(path.read_bytes()).hexdigest()
    monkeypatch.setitem(published, "data_batch_3", published["data_batch_3"]._replace(md5=md5))
    assert len(CIFAR10Config(root=str(root)).build(0).test) == 40


def test_checksums_are_torchvisions() -> None:
    for source in (datasets.MNIST, datasets.FashionMNIST, datasets.KMNIST):
        ours = PUBLISHED[f"{source.__name__}/raw"]
        assert {name: each.md5 for name, each in ours.items()} == dict(source.resources)
    for source in (datasets.CIFAR10, datasets.CIFAR100):
        meta = {source.meta["filename"]: source.meta["md5"]}
        theirs = {**dict(source.train_list + source.test_list), **meta}
        for name, each in PUBLISHED[source.base_folder].items():
            assert each.md5 == theirs[name]


def test_names_of_classes_are_torchvisions() -> None:
    assert list(FashionMNISTConfig.names) == datasets.FashionMNIST.classes
    assert list(KMNISTConfig.names) == datasets.KMNIST.classes
    for split, names in datasets.EMNIST.classes_split_dict.items():
        assert EMNISTConfig(split=split).class_names() == tuple(n for n in names if n != "N/A")


@pytest.mark.parametrize(
    ("split", "classes", "first"), [("balanced", 47, 0), ("letters", 26, 1), ("digits", 10, 0)]
)
def test_emnist_images_are_upright_and_labels_count_from_0(
    tmp_path: Path, split: str, classes: int, first: int
) -> None:
    root = write_emnist(tmp_path, split, classes, first)
    dataset = EMNISTConfig(root=str(root), split=split).build(0)
    assert dataset.problem.outputs == len(dataset.problem.names) == classes
    assert dataset.test.targets.tolist() == list(range(classes))
    rows = dataset.test.inputs.mean((1, 3)).argmax(1)  # the bright row is a column in the file
    assert rows[:10].tolist() == list(range(10))


def test_a_letter_of_label_0_is_refused(tmp_path: Path) -> None:
    root = write_emnist(tmp_path, "letters", 26, 0)
    with pytest.raises(DataError, match="label 0 in row 0, expected 1 to 26"):
        EMNISTConfig(root=str(root), split="letters").build(0)


def test_kmnist_is_read_from_its_own_folder(tmp_path: Path, mnist_files: dict) -> None:
    root = write_mnist(tmp_path, mnist_files, "KMNIST")
    dataset = KMNISTConfig(root=str(root)).build(0)
    assert dataset.problem.names[:3] == ("o", "ki", "su")


def test_color_images_are_standardized_by_channel() -> None:
    pixels = torch.stack([torch.full((4, 4), 10.0), torch.arange(16.0).view(4, 4)]).unsqueeze(0)
    samples = Samples(pixels, torch.zeros(1, dtype=torch.int64))
    scaled, constants = standardize(Parts(samples, None, None), by_channel=True)
    assert constants["mean"] == [10.0, 7.5]
    assert constants["std"] == [1.0, pytest.approx(np.arange(16).std())]
    assert scaled.train.inputs[0, 0].equal(torch.zeros(4, 4))
    assert scaled.train.inputs[0, 1].mean().item() == pytest.approx(0, abs=1e-6)


def folder_config(root: Path, **changes: object) -> ImageFolderConfig:
    return ImageFolderConfig(root=str(root), size=16, **changes)


def every_batch(config: ImageFolderConfig) -> list[tuple[Tensor, Tensor]]:
    """Return two training epochs and the other splits, as served."""
    dataset = config.build(3)
    sources = [(dataset.train.serve(5, seed=7), epoch) for epoch in (0, 1, 0)]
    sources += [(dataset.validation.serve(5), 0), (dataset.test.serve(5), 0)]
    return [
        (*batch.inputs, *batch.targets)
        for source, epoch in sources
        for batch in source.epoch(epoch)
    ]


@pytest.mark.parametrize(
    ("channels", "workers"),
    [(1, 0), (3, 2), *(pytest.param(*each, marks=pytest.mark.slow) for each in ((1, 2), (3, 0)))],
)
def test_memory_and_workers_serve_the_same_batches(
    tmp_path: Path, channels: int, workers: int
) -> None:
    root = write_folder(tmp_path, images=15)
    held = every_batch(folder_config(root, channels=channels))
    torch.manual_seed(5)
    before = torch.get_rng_state()
    read = every_batch(folder_config(root, channels=channels, workers=workers, memory_bytes=0))
    assert torch.get_rng_state().equal(before)  # what dropout draws does not hang on the loader
    for (images, classes), (others, theirs) in zip(held, read, strict=True):
        assert images.equal(others)
        assert classes.equal(theirs)
        assert images.shape[1:] == (channels, 16, 16)


@pytest.mark.parametrize("memory_bytes", [0, 2**20])
def test_classes_of_a_folder_are_balanced_in_the_batches_and_in_the_loss(
    tmp_path: Path, memory_bytes: int
) -> None:
    made = folder_config(write_folder(tmp_path, images=15), memory_bytes=memory_bytes)
    read = made.build(0)
    ordered = read.train.serve(4, seed=0)
    assert isinstance(ordered, Reorderable)
    batches = ordered.in_order(lambda samples, seed, epoch: torch.arange(samples).flip(0))
    served = torch.cat([batch.targets[0] for batch in batches.epoch(0)])
    assert served.tolist() == read.train.targets.flip(0).tolist()
    assert len(set(served.tolist())) > 1
    loss = balanced(CrossEntropyConfig(class_weights="balanced"), read.train, read.problem)
    counts = read.train.targets.bincount()
    assert isinstance(loss, CrossEntropyConfig)
    assert loss.class_weights == pytest.approx((len(served) / len(counts) / counts).tolist())


def test_memory_bytes_decides_whether_images_stay_in_memory(tmp_path: Path) -> None:
    root = write_folder(tmp_path)
    needed = 24 * 3 * 16 * 16
    held = folder_config(root, memory_bytes=needed).build(0)
    read = folder_config(root, memory_bytes=needed - 1).build(0)
    assert isinstance(held.train, ImagesInMemory)
    assert isinstance(read.train, ImagesOnDisk)
    assert held.prepared == read.prepared
    assert held.bytes > needed > read.bytes


def test_mean_and_std_are_those_of_the_training_images(tmp_path: Path) -> None:
    dataset = folder_config(write_folder(tmp_path)).build(0)
    pixels = dataset.train.pixels.double()
    assert dataset.prepared["mean"] == pytest.approx(pixels.mean((0, 2, 3)).tolist())
    assert dataset.prepared["std"] == pytest.approx(pixels.std((0, 2, 3), correction=0).tolist())
    assert dataset.prepared["classes"] == ["cat", "dog"]


def test_fractions_are_held_out_by_class_and_the_test_images_stay(tmp_path: Path) -> None:
    root = write_folder(tmp_path, images=25)
    first, second = (folder_config(root, test_fraction=0.2).build(seed) for seed in (0, 1))
    assert first.test.targets.bincount().tolist() == [5, 5]
    assert first.validation.targets.bincount().tolist() == [2, 2]  # a tenth of the other 40
    assert first.test.pixels.equal(second.test.pixels)
    assert not first.validation.pixels.equal(second.validation.pixels)


def test_a_folder_with_train_val_and_test_is_used_as_it_is(tmp_path: Path) -> None:
    write_folder(tmp_path / "train")
    write_folder(tmp_path / "test", images=3)
    dataset = folder_config(tmp_path, validation_fraction=0).build(0)
    assert (len(dataset.train), dataset.validation, len(dataset.test)) == (24, None, 6)
    write_folder(tmp_path / "val", images=2)
    dataset = folder_config(tmp_path).build(0)
    assert (len(dataset.train), len(dataset.validation), len(dataset.test)) == (24, 4, 6)


def test_only_images_in_class_folders_are_read(tmp_path: Path) -> None:
    root = write_folder(tmp_path, images=4)
    (root / "cat" / "Thumbs.db").write_bytes(b"x")
    (root / "cat" / "._000.png").write_bytes(b"x")
    (root / "dog" / "notes.txt").write_text("x")
    (root / "labels.csv").write_text("x")
    (root / ".cache").mkdir()
    picture(0, 9).save(root / "cat" / "LOUD.PNG")
    linked = root / "dog" / "link.png"
    linked.symlink_to(root / "cat" / "000.png")
    dataset = folder_config(root, test_fraction=0, validation_fraction=0).build(0)
    assert dataset.train.targets.bincount().tolist() == [5, 5]


def test_a_file_to_predict_equals_its_training_input(tmp_path: Path) -> None:
    root = write_folder(tmp_path)
    config = folder_config(root, test_fraction=0, validation_fraction=0)
    dataset = config.build(0)
    path = root / "dog" / "003.png"
    trained = next(dataset.train.serve(24).epoch(0)).inputs[0][12 + 3]
    assert config.prepare([str(path)], dataset.prepared).inputs[0].equal(trained)
    with pytest.raises(DataError, match=r"gone\.png: not found"):
        config.prepare([str(root / "gone.png")], dataset.prepared)


def test_cifar_prepares_a_photo_with_the_mean_and_std_of_each_channel(tmp_path: Path) -> None:
    root = write_cifar10(tmp_path / "root")
    config = CIFAR10Config(root=str(root), validation_fraction=0)
    dataset = config.build(0)
    pixels = photos(LABELS, 0)[7].reshape(3, 32, 32).transpose(1, 2, 0)
    Image.fromarray(pixels).save(tmp_path / "photo.png")
    prepared = config.prepare([str(tmp_path / "photo.png")], dataset.prepared)
    assert prepared.inputs[0].equal(dataset.train.inputs[7])


def test_an_image_that_breaks_during_training_is_named(tmp_path: Path) -> None:
    root = write_folder(tmp_path)
    for workers in (0, 1):
        dataset = folder_config(root, memory_bytes=0, workers=workers).build(0)
        path = Path(dataset.train.files[0])
        content = path.read_bytes()
        path.write_bytes(b"gone bad")
        with pytest.raises(DataError, match=path.name):
            list(dataset.train.serve(4, seed=0).epoch(0))
        path.write_bytes(content)


def test_images_have_no_windows_of_time(tmp_path: Path) -> None:
    root = write_folder(tmp_path)
    for memory_bytes in (0, 2**30):
        dataset = folder_config(root, memory_bytes=memory_bytes).build(0)
        with pytest.raises(UsageError, match=r"train\.bptt"):
            dataset.train.serve(4, window=3)


@pytest.mark.parametrize("memory_bytes", [0, 2**30])
def test_a_folder_of_images_is_learned_by_an_mlp(
    bptrain: Callable, tmp_path: Path, memory_bytes: int
) -> None:
    root = write_folder(tmp_path / "root", images=30)
    words = [f"data.root={root}", f"data.memory_bytes={memory_bytes}", "schedule.warmup_steps=1"]
    words += ["train.epochs=10", "model.hidden=[32]"]
    result = bptrain("fit", CONFIGS / "image_folder_mlp.yaml", *words)
    assert result.exit_code == 0, result.output
    assert "test accuracy 100.00%" in result.stdout
