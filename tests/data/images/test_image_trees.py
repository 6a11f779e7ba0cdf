"""Folders of images as people have them: nested, split by other names, with foreign folders."""

from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
import torch
from image_sets import picture, write_folder
from PIL import Image, PngImagePlugin, features

from bptrain.data.class_folders import part_of
from bptrain.data.images.image_file import ImageShape, read_image, verify_image
from bptrain.data.images.image_folder import ImageFolderConfig
from bptrain.data.images.image_formats import BY_NAME, COMMON, ENDINGS, FORMAT_OF, UNREAD
from bptrain.data.splits import Dataset
from bptrain.errors import DataError


def built(root: Path, **changes: object) -> Dataset:
    given = {"size": 8, "test_fraction": 0.0, "validation_fraction": 0.0, **changes}
    return ImageFolderConfig(root=str(root), **given).build(0)


def counted(root: Path) -> list[int]:
    counts: list[int] = built(root).train.targets.bincount().tolist()
    return counts


def put(path: Path, content: bytes = b"x") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


def test_images_in_folders_inside_a_class_are_of_that_class(tmp_path: Path) -> None:
    flat, nested = write_folder(tmp_path / "flat"), write_folder(tmp_path / "nested")
    for name in ("day1", "day2/morning"):
        (nested / "cat" / name).mkdir(parents=True)
    for number in range(6):
        moved = nested / "cat" / f"{number:03}.png"
        moved.rename(nested / "cat" / ("day1" if number % 2 else "day2/morning") / moved.name)
    found = built(nested)
    assert found.problem.names == ("cat", "dog")
    assert counted(nested) == [12, 12]
    assert found.notes == ("read: 6 images in folders inside a class's folder",)
    assert found.prepared == built(flat).prepared


@pytest.mark.parametrize("name", ["__MACOSX", "@eaDir", ".thumbnails", "#recycle"])
@pytest.mark.parametrize("place", ["", "cat"])
def test_what_other_programs_leave_behind_is_not_read(
    tmp_path: Path, name: str, place: str
) -> None:
    root = write_folder(tmp_path)
    picture(0, 0).save(root / "thumb.png")
    put(root / place / name / "000.png", (root / "thumb.png").read_bytes())
    assert counted(root) == [12, 12]
    assert built(root).notes == (f"ignored: folders {name}",)


@pytest.mark.parametrize("place", ["runs/first", "results/first", "first"])
def test_runs_beside_the_classes_are_no_class(tmp_path: Path, place: str) -> None:
    root = write_folder(tmp_path)
    put(root / place / "prepared.json", b"{}")
    picture(0, 0).save(root / place / "curve.png")
    assert counted(root) == [12, 12]
    assert built(root).notes == (f"ignored: folders {place.split('/')[0]}",)


def test_a_folder_of_results_without_images_is_no_class_and_one_of_images_is(
    tmp_path: Path,
) -> None:
    root = write_folder(tmp_path)
    put(root / "runs" / "first" / "events.out.tfevents.1")
    assert built(root).problem.names == ("cat", "dog")
    picture(2, 0).save(root / "runs" / "1.png")  # of a race, for example
    assert built(root).problem.names == ("cat", "dog", "runs")


@pytest.mark.parametrize(
    ("train", "val", "test"),
    [
        ("Train", "VALID", "Testing"),
        ("training_set", "validation_set", "test_set"),
        ("TRAINING", "dev", "tst"),
        ("train-images", "val-images", "Test Data"),
    ],
)
def test_parts_are_known_in_any_usual_spelling(
    tmp_path: Path, train: str, val: str, test: str
) -> None:
    for name, images in ((train, 5), (val, 2), (test, 3)):
        write_folder(tmp_path / name, images=images)
    put(tmp_path / "__MACOSX" / "._train")
    found = built(tmp_path)
    assert (len(found.train), len(found.validation or ()), len(found.test or ())) == (10, 4, 6)
    assert found.notes == ("ignored: folders __MACOSX",)


@pytest.mark.parametrize("name", ["trains", "cat", "contest", "value", "device", "set", "data"])
def test_other_words_are_no_parts(name: str) -> None:
    assert part_of(name) is None


def test_two_folders_of_one_part_are_refused(tmp_path: Path) -> None:
    for name in ("train", "val", "valid"):
        write_folder(tmp_path / name, images=2)
    with pytest.raises(DataError, match="two folders of val images: val and valid"):
        built(tmp_path)


def test_parts_without_a_training_part_are_no_classes(tmp_path: Path) -> None:
    for name in ("valid", "test"):
        write_folder(tmp_path / name, images=2)
    with pytest.raises(DataError, match="test: test images, and no training images"):
        built(tmp_path)


def test_classes_one_folder_further_down_are_named(tmp_path: Path) -> None:
    write_folder(tmp_path / "photos", images=2)
    with pytest.raises(DataError) as refused:
        built(tmp_path)
    assert f"data.root={tmp_path / 'photos'}" in refused.value.hint


def test_files_that_are_not_read_are_named_by_their_endings(tmp_path: Path) -> None:
    root = write_folder(tmp_path)
    for name in ("1.heic", "2.HEIC", "3.txt", "README"):
        put(root / "cat" / name)
    assert built(root).notes == ("ignored: 4 files: no image by its ending: .heic, .txt, none",)


def test_each_format_that_pillow_reads_is_read_or_refused_with_a_reason() -> None:
    Image.init()
    known = {*COMMON, *BY_NAME, *UNREAD}
    named = {form: ending for ending, form in Image.registered_extensions().items()}
    readable = {form for form in Image.OPEN if form in named}
    assert readable <= known
    missing = [
        ending
        for ending, form in Image.registered_extensions().items()
        if form in readable - UNREAD.keys() and ending not in ENDINGS
    ]
    assert missing == [".pfm"]  # of 32-bit floating point, which has no fixed range


WRITTEN = ["blp", "dds", "dib", "ico", "icns", "pcx", "sgi", "tga", "jfif", "jpe", "jp2"]
WRITTEN += ["avif", "qoi", "apng", "j2k"]


@pytest.mark.parametrize("ending", WRITTEN)
def test_images_of_rarer_formats_are_read(tmp_path: Path, ending: str) -> None:
    if ending == "avif" and not features.check("avif"):
        pytest.skip("this Pillow is without AVIF")
    path = tmp_path / f"x.{ending.upper()}"
    image = Image.new("RGB", (64, 64), (200, 30, 40))
    image = image.quantize(4) if ending == "blp" else image
    image.save(path, FORMAT_OF[f".{ending}"])
    verify_image(path)
    means = read_image(path, ImageShape(64, 64, 3)).float().mean((1, 2)).tolist()
    assert means == pytest.approx([200, 30, 40], abs=6)


def test_a_format_without_a_signature_is_tried_for_files_of_its_name_alone(tmp_path: Path) -> None:
    out = BytesIO()
    Image.new("RGB", (8, 8)).save(out, "TGA")
    put(tmp_path / "x.png", out.getvalue())
    with pytest.raises(DataError, match="no image"):
        read_image(tmp_path / "x.png", ImageShape(8, 8, 3))


def test_a_large_color_profile_or_text_is_no_damage(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(32, 127, 3 * 2**20, np.uint8).tobytes()
    text = PngImagePlugin.PngInfo()
    text.add_text("workflow", noise.decode("ascii"), zip=True)
    image = Image.new("RGB", (8, 8), (200, 30, 40))
    image.save(tmp_path / "profile.png", icc_profile=noise)
    image.save(tmp_path / "text.png", pnginfo=text)
    before = PngImagePlugin.MAX_TEXT_CHUNK
    for name in ("profile.png", "text.png"):
        verify_image(tmp_path / name)
        pixels = read_image(tmp_path / name, ImageShape(8, 8, 3))
        assert torch.equal(pixels[:, 0, 0], torch.tensor([200, 30, 40], dtype=torch.uint8))
    assert before == PngImagePlugin.MAX_TEXT_CHUNK  # other users of Pillow keep its limit
