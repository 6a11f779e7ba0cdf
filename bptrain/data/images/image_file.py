"""One image file to bytes on the CPU; every error about a file names it.

Formats       those of `image_formats`; of an animation the first frame
Orientation   a photo is rotated as its EXIF data say
Transparency  is blended with white
16 bits       keep the upper eight of the `depth` bits that are used, brighter pixels are white;
              32-bit pixels have no fixed range and are refused
Palette, CMYK and other color modes become RGB, or with one channel grayscale
Size          the shorter side is scaled to fit (bilinear), the longer one cropped to its middle

PIL is imported where an image is read, not at the start of every command.
"""

import stat
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from torch import Tensor

from bptrain.data.data_file import missing
from bptrain.data.images.image_formats import formats_of
from bptrain.data.images.image_limits import refuse_a_bomb, refuse_missing_pixels, too_large
from bptrain.data.splits import Samples, rescale
from bptrain.errors import DataError

if TYPE_CHECKING:
    from PIL import Image

STRIP_PIXELS = 2**22  # converted at a time: a copy of the whole image would double the memory
ORIENTATION, UPRIGHT = 0x0112, 1  # a tag of EXIF data and its usual value
WIDE_MODES = ("I;16", "I;16L", "I;16B", "I;16N", "I")
BRIGHT = 128  # of 255
BYTE_BITS, WIDE_BITS = 8, 16
METADATA_BYTES = 2**26  # of a PNG's color profile or text; Pillow's own limit is 1 MiB

FilePath = str | Path


@dataclass(frozen=True)
class ImageShape:
    """The size of a model's input images; 1 channel is grayscale, 3 are RGB.

    depth  bits that the pixels of 16-bit files use: 12 for values up to 4095
    """

    height: int
    width: int
    channels: Literal[1, 3]
    depth: int = WIDE_BITS

    @property
    def chw(self) -> tuple[int, int, int]:
        """Return the shape of an image's tensor [C, H, W]."""
        return self.channels, self.height, self.width


def verify_image(path: FilePath) -> None:
    """Check a file: its header and size, the checksums that the format has, no pixels missing.

    Raises DataError. A truncated photo shows only when it is decoded, by `read_image`.
    """
    with _opened(path) as image:
        refuse_missing_pixels(Path(path), image)
        image.verify()


def size_and_mode(path: FilePath) -> tuple[int, int, str]:
    """Return width, height and PIL's mode as a file's header declares them, or raise DataError."""
    with _opened(path) as image:
        return (*image.size, image.mode)


def depth_of(path: FilePath) -> int:
    """Return the bits that the brightest pixel of a 16-bit image takes, at least 8.

    0 for an image of bytes. Raises DataError.
    """
    with _opened(path) as image:
        if image.mode not in WIDE_MODES:
            return 0
        return max(BYTE_BITS, int(np.asarray(image).max()).bit_length())


def read_image(path: FilePath, shape: ImageShape) -> Tensor:
    """Return the image as uint8 [C, H, W], or raise DataError."""
    from PIL import Image, ImageOps

    with _opened(path) as image:
        image.load()  # a PNG's EXIF data may follow its pixels
        if image.getexif().get(ORIENTATION, UPRIGHT) != UPRIGHT:
            ImageOps.exif_transpose(image, in_place=True)
        plain = _plain(path, image, "L" if shape.channels == 1 else "RGB", shape.depth)
        size = (shape.width, shape.height)
        fitted = (
            plain if plain.size == size else ImageOps.fit(plain, size, Image.Resampling.BILINEAR)
        )
        pixels = torch.from_numpy(np.array(fitted))
    return pixels.view(shape.height, shape.width, shape.channels).permute(2, 0, 1).contiguous()


def prepare_images(
    words: Sequence[str],
    shape: ImageShape,
    prepared: Mapping[str, Any],
    *,
    invert_bright: bool = False,
    largest: int = 255,
) -> Samples:
    """Return image files as a model's inputs, scaled as the training images were.

    invert_bright  the training images are white strokes on black: an image that is bright at all
                   four corners is ink on paper, and is inverted
    largest        the largest pixel value of the training images
    """
    for word in words:
        verify_image(word)
    pixels = torch.stack([read_image(word, shape) for word in words])
    if invert_bright:
        paper = pixels[:, :, [0, 0, -1, -1], [0, -1, 0, -1]].amin((1, 2)) >= BRIGHT
        pixels = torch.where(paper.view(-1, 1, 1, 1), 255 - pixels, pixels)
    inputs = pixels if largest == 255 else pixels.float() * (largest / 255)
    samples = Samples(inputs, torch.zeros(len(pixels), dtype=torch.int64))
    return rescale(samples, prepared["mean"], prepared["std"])


@contextmanager
def _opened(path: FilePath) -> Iterator["Image.Image"]:
    """Open an image for the block; whatever its decoder raises becomes a DataError."""
    from PIL import Image, UnidentifiedImageError

    path = Path(path)
    Image.init()  # loads what each format needs; older versions lack some
    formats = tuple(each for each in formats_of(path.name) if each in Image.OPEN)
    try:
        _refuse_special(path)
        with warnings.catch_warnings(), _large_metadata(), path.open("rb") as file:
            warnings.simplefilter("ignore")  # about metadata; damaged pixels raise errors
            with Image.open(file, formats=formats) as image:
                refuse_a_bomb(path, image)
                yield image
    except (DataError, MemoryError):
        raise
    except Image.DecompressionBombError as error:
        raise too_large(path, "its header declares more pixels than any real image has") from error
    except UnidentifiedImageError as error:
        found = "the file is empty" if path.stat().st_size == 0 else "its content is none of these"
        raise DataError(
            f"{path}: no image", f"{found}: {', '.join(formats)}", "remove or replace it"
        ) from error
    except FileNotFoundError as error:
        raise missing(path) from error
    except OSError as error:
        what = "cannot be read" if error.errno else "damaged image"
        raise DataError(f"{path}: {what}", error.strerror or str(error)) from error
    except Exception as error:  # PIL's decoders raise many kinds for a damaged file
        raise DataError(f"{path}: damaged image", str(error), "fetch or save it again") from error


@contextmanager
def _large_metadata() -> Iterator[None]:
    """Let the block open PNG files with large color profiles and texts, which are valid images."""
    from PIL import PngImagePlugin

    usual = PngImagePlugin.MAX_TEXT_CHUNK
    PngImagePlugin.MAX_TEXT_CHUNK = METADATA_BYTES
    try:
        yield
    finally:
        PngImagePlugin.MAX_TEXT_CHUNK = usual


def _refuse_special(path: Path) -> None:
    # reading a pipe or a device could take for ever
    if not stat.S_ISREG(path.stat().st_mode):
        raise DataError(f"{path}: not a regular file")


def _plain(
    path: FilePath, image: "Image.Image", mode: Literal["L", "RGB"], depth: int
) -> "Image.Image":
    """Return the first frame in `mode`: 8 bits, no palette, no transparency."""
    from PIL import Image

    if image.mode == "F":
        raise DataError(f"{path}: pixels of 32-bit floating point have no fixed range")
    width, height = image.size
    if width * height <= STRIP_PIXELS:
        return _converted(path, image, mode, depth)
    plain = Image.new(mode, image.size)
    rows = max(1, STRIP_PIXELS // width)
    for top in range(0, height, rows):
        strip = image.crop((0, top, width, min(top + rows, height)))
        plain.paste(_converted(path, strip, mode, depth), (0, top))
    return plain


def _converted(
    path: FilePath, image: "Image.Image", mode: Literal["L", "RGB"], depth: int
) -> "Image.Image":
    from PIL import Image

    if image.mode in WIDE_MODES:
        return _upper_bits(path, image, depth).convert(mode)
    if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return image.convert(mode)


def _upper_bits(path: FilePath, image: "Image.Image", depth: int) -> "Image.Image":
    """Return the upper eight of `depth` bits; PIL's own conversion clips them in mode "I"."""
    from PIL import Image

    numbers = np.asarray(image)
    if numbers.min() < 0 or numbers.max() > 0xFFFF:
        raise DataError(f"{path}: pixels of 32 bits have no fixed range")
    return Image.fromarray((numbers >> (depth - BYTE_BITS)).clip(0, 255).astype(np.uint8))
