"""Image files of every kind become the bytes that the documentation promises."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from bptrain.data.images.digits import DigitsConfig
from bptrain.data.images.image_file import ImageShape, prepare_images, read_image, verify_image
from bptrain.data.images.image_limits import PASSES, png_sizes
from bptrain.data.images.mnist import FashionMNISTConfig, MNISTConfig

RGB, GRAY = ImageShape(4, 4, 3), ImageShape(4, 4, 1)
RED = (200, 30, 40)


def flat(mode: str, color: object) -> Image.Image:
    return Image.new(mode, (4, 4), color)


def wide(value: int, dtype: type = np.uint16) -> Image.Image:
    return Image.fromarray(np.full((4, 4), value, dtype))


def pale(mode: str) -> Image.Image:
    """Return red that is half transparent, with a palette or without."""
    image = flat("RGBA", (*RED, 127))
    return image if mode == "RGBA" else image.quantize(8)


def transparent_palette() -> Image.Image:
    image = flat("P", 1)
    image.putpalette([9, 9, 9, *RED])
    image.info["transparency"] = 1
    return image


# image, ending, what each channel becomes
KINDS: dict[str, tuple[Callable[[], Image.Image], str, list[int]]] = {
    "RGB": (lambda: flat("RGB", RED), "png", [200, 30, 40]),
    "gray": (lambda: flat("L", 77), "png", [77, 77, 77]),
    "black and white": (lambda: flat("1", 1), "png", [255, 255, 255]),
    "a palette": (lambda: flat("RGB", RED).quantize(4), "png", [200, 30, 40]),
    "a palette with a transparent color": (transparent_palette, "png", [255, 255, 255]),
    "half transparent, over white": (lambda: pale("RGBA"), "png", [228, 143, 148]),
    "a half transparent palette": (lambda: pale("P"), "png", [228, 143, 148]),
    "gray and transparent": (lambda: flat("LA", (77, 0)), "png", [255, 255, 255]),
    "16 bits": (lambda: wide(0xABCD), "png", [0xAB] * 3),
    "16 bits, TIFF": (lambda: wide(0xABCD), "tif", [0xAB] * 3),
    "16 bits, PGM": (lambda: wide(0xABCD), "pgm", [0xAB] * 3),
    "16 bits in 32": (lambda: wide(0xABCD, np.int32), "tif", [0xAB] * 3),
    "a BMP": (lambda: flat("RGB", RED), "bmp", [200, 30, 40]),
    "a PPM": (lambda: flat("RGB", RED), "ppm", [200, 30, 40]),
    "a GIF": (lambda: flat("RGB", RED), "gif", [200, 30, 40]),
    "a WebP": (lambda: flat("RGB", RED), "webp", [200, 30, 40]),
    "a JPEG": (lambda: flat("RGB", RED), "jpg", [200, 30, 40]),
    "a JPEG of printing inks": (lambda: flat("CMYK", (0, 255, 255, 0)), "jpg", [255, 0, 0]),
    "a TIFF of printing inks": (lambda: flat("CMYK", (0, 255, 255, 0)), "tif", [255, 0, 0]),
}


@pytest.mark.parametrize("name", KINDS)
def test_each_kind_of_image_becomes_bytes_of_three_channels(tmp_path: Path, name: str) -> None:
    make, ending, expected = KINDS[name]
    path = tmp_path / f"x.{ending}"
    make().save(path)
    verify_image(path)
    pixels = read_image(path, RGB)
    assert pixels.shape == (3, 4, 4)
    assert pixels.dtype == torch.uint8
    tolerance = 6 if ending in ("jpg", "webp") else 1
    means = pixels.float().mean((1, 2)).tolist()
    assert means == pytest.approx(expected, abs=tolerance)


@pytest.mark.parametrize("name", KINDS)
def test_each_kind_of_image_becomes_gray(tmp_path: Path, name: str) -> None:
    make, ending, (red, green, blue) = KINDS[name]
    path = tmp_path / f"x.{ending}"
    make().save(path)
    pixels = read_image(path, GRAY)
    assert pixels.shape == (1, 4, 4)
    luma = 0.299 * red + 0.587 * green + 0.114 * blue
    assert pixels.float().mean().item() == pytest.approx(luma, abs=6)


@pytest.mark.parametrize("ending", ["gif", "webp", "png", "tif"])
def test_of_an_animation_the_first_frame_is_read(tmp_path: Path, ending: str) -> None:
    frames = [flat("RGB", RED), flat("RGB", (0, 0, 255))]
    path = tmp_path / f"x.{ending}"
    frames[0].save(path, save_all=True, append_images=frames[1:])
    assert read_image(path, RGB)[0].float().mean().item() == pytest.approx(200, abs=6)


def test_the_format_is_recognized_by_content_not_by_name(tmp_path: Path) -> None:
    path = tmp_path / "x.jpg"
    flat("RGB", RED).save(path, "PNG")
    assert read_image(path, RGB)[:, 0, 0].tolist() == list(RED)


def test_a_photo_is_rotated_as_its_exif_data_say(tmp_path: Path) -> None:
    image = Image.fromarray(np.repeat(np.array([[0, 0, 255, 255]], np.uint8), 4, 0))
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera's top was on the right
    image.save(tmp_path / "x.png", exif=exif)
    pixels = read_image(tmp_path / "x.png", GRAY)
    assert pixels[0, :, 0].tolist() == [0, 0, 255, 255]


@pytest.mark.parametrize(("width", "height"), [(40, 4), (4, 40), (4, 4000)])
def test_the_longer_side_is_cropped_to_its_middle(tmp_path: Path, width: int, height: int) -> None:
    pixels = np.zeros((height, width), np.uint8)
    middle = pixels[height // 2 - 2 : height // 2 + 2, width // 2 - 2 : width // 2 + 2]
    middle[:] = 250
    Image.fromarray(pixels).save(tmp_path / "x.png")
    assert read_image(tmp_path / "x.png", GRAY).float().mean() > 200


def test_an_image_of_the_right_size_is_unchanged(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (4, 4, 3), np.uint8)
    Image.fromarray(pixels).save(tmp_path / "x.png")
    read = read_image(tmp_path / "x.png", RGB)
    assert np.array_equal(read.permute(1, 2, 0).numpy(), pixels)


PLAIN = {"mean": 0.0, "std": 1.0}


def drawn(tmp_path: Path, negative: bool) -> tuple[str, Tensor]:
    """Save a stroke as white on black or as ink on paper; return its path and the white stroke."""
    stroke = np.zeros((28, 28), np.uint8)
    stroke[4:24, 13:16] = 255
    path = tmp_path / f"{negative}.png"
    Image.fromarray(255 - stroke if negative else stroke).save(path)
    return str(path), torch.from_numpy(stroke).float()


@pytest.mark.parametrize("negative", [True, False])
def test_ink_on_paper_becomes_white_on_black_as_mnist_is(tmp_path: Path, negative: bool) -> None:
    path, stroke = drawn(tmp_path, negative)
    assert MNISTConfig().prepare([path], PLAIN).inputs[0, 0].equal(stroke)


def test_images_of_clothes_are_not_inverted(tmp_path: Path) -> None:
    path, stroke = drawn(tmp_path, negative=True)
    assert FashionMNISTConfig().prepare([path], PLAIN).inputs[0, 0].equal(255 - stroke)


def test_each_image_is_inverted_or_not_by_itself(tmp_path: Path) -> None:
    paths = [drawn(tmp_path, negative)[0] for negative in (True, False)]
    first, second = prepare_images(paths, ImageShape(28, 28, 1), PLAIN, invert_bright=True).inputs
    assert first.equal(second)


def test_a_digit_saved_as_an_image_equals_its_training_input(tmp_path: Path) -> None:
    dataset = DigitsConfig().build(0)
    row = dataset.train.inputs[3]
    pixels = row * dataset.prepared["std"] + dataset.prepared["mean"]
    gray = (pixels[0] * 255 / 16).round().to(torch.uint8).numpy()
    Image.fromarray(gray).save(tmp_path / "digit.png")
    prepared = DigitsConfig().prepare([str(tmp_path / "digit.png")], dataset.prepared)
    torch.testing.assert_close(prepared.inputs[0], row, atol=0.01, rtol=0)
    assert prepared.targets.tolist() == [0]


@pytest.mark.parametrize("mode", ["1", "L", "LA", "RGB", "RGBA", "P", "I;16"])
@pytest.mark.parametrize("size", [(1, 1), (3, 7), (9, 2)])
def test_a_whole_png_holds_what_it_declares(
    tmp_path: Path, mode: str, size: tuple[int, int]
) -> None:
    path = tmp_path / "x.png"
    Image.new(mode, size).save(path)
    declared, found = png_sizes(path)
    assert declared == found > 0


@pytest.mark.parametrize("size", [(1, 1), (5, 3), (8, 8), (9, 17)])
def test_the_passes_of_an_interlaced_png_hold_each_pixel_once(size: tuple[int, int]) -> None:
    seen = np.zeros(size[::-1], int)
    for x, y, across, down in PASSES:
        seen[y::down, x::across] += 1
    assert (seen == 1).all()


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P", "RGB", "L", "I;16"])
def test_an_image_converted_in_strips_is_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mode: str
) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (50, 40, 4), dtype=np.uint8)
    image = Image.fromarray(pixels.view(np.uint16)[..., 0]) if mode == "I;16" else None
    path = tmp_path / "x.png"
    (image or Image.fromarray(pixels, "RGBA").convert(mode)).save(path)
    whole = read_image(path, ImageShape(20, 20, 3))
    monkeypatch.setattr("bptrain.data.images.image_file.STRIP_PIXELS", 7 * 40)
    assert torch.equal(read_image(path, ImageShape(20, 20, 3)), whole)
