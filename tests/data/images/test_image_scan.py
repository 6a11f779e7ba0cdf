"""The pass over all images before training: bad files are all said, 16 bits keep their detail."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from image_sets import write_folder
from PIL import Image

from bptrain.data.images.image_folder import ImageFolderConfig
from bptrain.data.splits import Dataset
from bptrain.errors import DataError

LISTED = 10  # bad files that a message names


def config(root: Path, **changes: object) -> ImageFolderConfig:
    return ImageFolderConfig(root=str(root), size=8, **changes)


def spoil(root: Path, *names: str) -> None:
    for name in names:
        (root / name).write_bytes(b"no image")


def with_bad_files(root: Path, count: int) -> Path:
    """Return a folder in which the first images of each class are bad, `count` in all."""
    write_folder(root, images=20)
    spoil(root, *(f"{'cat' if n % 2 else 'dog'}/{n // 2:03}.png" for n in range(count)))
    return root


def raw(dataset: Dataset) -> torch.Tensor:
    """Return the training images as bytes."""
    images = torch.cat([batch.inputs[0] for batch in dataset.train.serve(64).epoch(0)])
    mean, std = (torch.tensor(dataset.prepared[key]).view(-1, 1, 1) for key in ("mean", "std"))
    return (images * std + mean).round()


@pytest.mark.parametrize("workers", [0, 2])
def test_all_bad_files_are_said_at_once(tmp_path: Path, workers: int) -> None:
    root = with_bad_files(tmp_path, 13)
    (root / "dog" / "000.png").write_bytes((root / "dog" / "019.png").read_bytes()[:90])
    with pytest.raises(DataError) as refused:
        config(root, workers=workers).build(0)
    said = str(refused.value)
    first, why, _ = said.splitlines()
    assert first == f"error: 13 files below {root} cannot be read"
    assert why.count(".png: ") == LISTED
    assert "; and 3 more" in said
    assert "cat/000.png: no image; " in why
    assert "data.on_bad_file: skip" in said
    assert len(said.splitlines()) <= 6
    assert " ... " not in said  # nothing is cut out of the list


@pytest.mark.parametrize("memory_bytes", [0, 2**30])
@pytest.mark.parametrize("workers", [0, 2])
def test_bad_files_are_skipped_counted_and_stored(
    tmp_path: Path, memory_bytes: int, workers: int
) -> None:
    root = with_bad_files(tmp_path, 3)
    found = config(
        root, on_bad_file="skip", memory_bytes=memory_bytes, workers=workers, test_fraction=0.2
    ).build(0)
    assert len(found.train) + len(found.validation or ()) + len(found.test or ()) == 37
    (note,) = found.notes
    assert note.startswith("left out: 3 of 40 files (data.on_bad_file: skip): ")
    bad = ["cat/000.png", "dog/000.png", "dog/001.png"]
    assert all(f"{name}: no image" in note for name in bad)
    assert found.prepared["left_out_files"] == bad
    assert raw(found).shape == (len(found.train), 3, 8, 8)
    counts = {name: each["samples"] for name, each in found.contents.items()}
    assert sum(counts.values()) == 37


def test_the_good_images_keep_their_split_and_their_statistics(tmp_path: Path) -> None:
    whole = config(write_folder(tmp_path / "whole", images=20), validation_fraction=0).build(0)
    found = config(
        with_bad_files(tmp_path / "some", 4), on_bad_file="skip", validation_fraction=0
    ).build(0)
    before, after = ({each.numpy().tobytes() for each in raw(data)} for data in (whole, found))
    assert after < before
    pixels = raw(found)
    assert found.prepared["mean"] == pytest.approx(pixels.mean((0, 2, 3)).tolist(), abs=1e-3)


def test_a_class_of_which_all_images_are_bad_is_refused(tmp_path: Path) -> None:
    root = write_folder(tmp_path, images=3)
    spoil(root, *(f"cat/{number:03}.png" for number in range(3)))
    with pytest.raises(DataError, match="no training image of class 'cat' is left"):
        config(root, on_bad_file="skip").build(0)


def test_a_split_of_which_all_images_are_bad_is_none(tmp_path: Path) -> None:
    for part in ("train", "val", "test"):
        write_folder(tmp_path / part, images=2)
    spoil(tmp_path, *(f"test/{name}/00{n}.png" for name in ("cat", "dog") for n in range(2)))
    found = config(tmp_path, on_bad_file="skip").build(0)
    assert (len(found.train), len(found.validation or ()), found.test) == (4, 4, None)
    assert found.contents.keys() == {"train", "validation"}


def test_new_labelled_data_is_judged_whole(tmp_path: Path) -> None:
    settings = config(write_folder(tmp_path / "old"), on_bad_file="skip")
    built = settings.build(0)
    with pytest.raises(DataError, match=r"error: 3 files below .* cannot be read") as refused:
        settings.labelled(with_bad_files(tmp_path / "new", 3), built.problem, built.prepared)
    assert "skip" not in str(refused.value)  # which would not help here


def test_a_resumed_run_sees_the_same_files_or_says_so(bptrain: Callable, tmp_path: Path) -> None:
    root = with_bad_files(tmp_path / "images", 2)
    good = (root / "cat" / "019.png").read_bytes()
    (tmp_path / "config.yaml").write_text(
        f"data: {{kind: image_folder, root: '{root}', size: 8, on_bad_file: skip}}\n"
        "model: {kind: mlp, hidden: []}\ntrain: {epochs: 1}\n"
    )
    fitted = bptrain("fit", tmp_path / "config.yaml", "--run-dir", "run")
    assert fitted.exit_code == 0, fitted.stderr
    assert "left out: 2 of 40 files" in fitted.stdout
    assert bptrain("evaluate", "run").exit_code == 0
    (root / "dog" / "000.png").write_bytes(good)
    resumed = ("fit", tmp_path / "config.yaml", "--run-dir", "run", "--resume", "train.epochs=2")
    for words in (("evaluate", "run"), resumed):
        refused = bptrain(*words)
        assert refused.exit_code == 3, refused.output
        assert "the data is not what it was" in refused.stderr


def write_wide(root: Path, brightest: int, images: int = 6) -> Path:
    """Write 16-bit images of two classes whose pixels use the values up to `brightest`."""
    for name in ("cat", "dog"):
        (root / name).mkdir(parents=True)
        for number in range(images):
            pixels = np.linspace(0, brightest, 64).reshape(8, 8).astype(np.uint16)
            ending = ("png", "tif")[number % 2]
            Image.fromarray(pixels).save(root / name / f"{number}.{ending}")
    return root


@pytest.mark.parametrize(
    ("brightest", "bits"), [(200, 8), (1023, 10), (4095, 12), (4096, 13), (65_535, 16)]
)
@pytest.mark.parametrize("memory_bytes", [0, 2**30])
def test_16_bits_are_scaled_by_the_range_that_is_used(
    tmp_path: Path, brightest: int, bits: int, memory_bytes: int
) -> None:
    root = write_wide(tmp_path, brightest)
    found = config(root, memory_bytes=memory_bytes).build(0)
    assert found.prepared["depth"] == bits
    expected = brightest >> (bits - 8)
    assert raw(found).max() == expected
    assert len(raw(found).unique()) == 64
    inputs = config(root).prepare([str(root / "cat" / "0.png")], found.prepared).inputs[0]
    assert any(inputs.equal(each) for each in found.train.serve(64).epoch(0).__next__().inputs[0])


def test_the_depth_can_be_given_and_brighter_pixels_are_white(tmp_path: Path) -> None:
    found = config(write_wide(tmp_path, 65_535), depth=12).build(0)
    assert "depth" not in found.prepared
    assert (raw(found) == 255).double().mean() > 0.9
    assert raw(config(tmp_path, depth=16).build(0)).unique().numel() == 64


def test_the_range_is_that_of_the_training_images(tmp_path: Path) -> None:
    write_wide(tmp_path / "train", 4095)
    write_wide(tmp_path / "test", 65_535)
    found = config(tmp_path, validation_fraction=0).build(0)
    assert found.prepared["depth"] == 12
    (brightest,) = {float(batch.inputs[0].max()) for batch in found.test.serve(64).epoch(0)}
    mean, std = found.prepared["mean"][0], found.prepared["std"][0]
    assert brightest * std + mean == pytest.approx(255, abs=1e-2)


def test_images_of_bytes_have_no_depth(tmp_path: Path) -> None:
    assert "depth" not in config(write_folder(tmp_path)).build(0).prepared
