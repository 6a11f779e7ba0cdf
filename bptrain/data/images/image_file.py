"""One image file to bytes on the CPU, read without trusting it; its name is in every refusal.

Read          the formats below, told by content; of an animation the first frame
Upright       a photo that says how the camera was held is turned accordingly
Transparency  is laid over white
16 bits       keep their upper eight; numbers of 32 bits have no fixed range and are refused
Palette, CMYK and other colours become RGB, or with one channel grey
Size          the shorter side is scaled to fit (bilinear), the middle of the longer one is kept
"""

import stat
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from PIL import Image, ImageOps, UnidentifiedImageError
from torch import Tensor

from bptrain.data.splits import Samples, rescale
from bptrain.errors import DataError

# no format that starts another program (EPS) or holds other files
FORMATS = ("PNG", "JPEG", "BMP", "GIF", "WEBP", "TIFF", "PPM")
LARGEST_PIXELS = 2**26  # 8192 x 8192: more is a mistake, or a bomb of a few bytes
WIDE_MODES = ("I;16", "I;16L", "I;16B", "I;16N", "I")
BRIGHT = 128  # of 255

FilePath = str | Path


@dataclass(frozen=True)
class Form:
    """What every image is brought to: `height` x `width` pixels, 1 channel (grey) or 3 (RGB)."""

    height: int
    width: int
    channels: Literal[1, 3]

    @property
    def shape(self) -> tuple[int, int, int]:
        """Return the shape of an image's tensor."""
        return self.channels, self.height, self.width


def verify_image(path: FilePath) -> None:
    """Check the header, the size and, where the format has them, the checksums of a file.

    Raises DataError. What only decoding shows, such as a photo cut short, `read_image` refuses.
    """
    with _opened(path) as image:
        image.verify()


def read_image(path: FilePath, form: Form) -> Tensor:
    """Return the image as uint8 [C, H, W], or raise DataError."""
    with _opened(path) as image:
        turned = ImageOps.exif_transpose(image)
        plain = _plain(path, turned, "L" if form.channels == 1 else "RGB")
        size = (form.width, form.height)
        fitted = (
            plain if plain.size == size else ImageOps.fit(plain, size, Image.Resampling.BILINEAR)
        )
        pixels = torch.from_numpy(np.array(fitted))
    return pixels.view(form.height, form.width, form.channels).permute(2, 0, 1).contiguous()


def prepare_images(
    words: Sequence[str],
    form: Form,
    prepared: Mapping[str, Any],
    *,
    ink: bool = False,
    top: int = 255,
) -> Samples:
    """Return image files as a model's inputs, scaled as the training images were.

    ink   the training images are white strokes on black: a picture that is bright at all four
          corners is ink on paper, and its negative is taken
    top   the largest number of a training image, where it is not 255
    """
    pixels = torch.stack([read_image(word, form) for word in words])
    if ink:
        paper = pixels[:, :, [0, 0, -1, -1], [0, -1, 0, -1]].amin((1, 2)) >= BRIGHT
        pixels = torch.where(paper.view(-1, 1, 1, 1), 255 - pixels, pixels)
    inputs = pixels if top == 255 else pixels.float() * (top / 255)
    samples = Samples(inputs, torch.zeros(len(pixels), dtype=torch.int64))
    return rescale(samples, prepared["mean"], prepared["deviation"])


@contextmanager
def _opened(path: FilePath) -> Iterator[Image.Image]:
    """Open an image for the block; whatever its decoder stumbles over becomes a DataError."""
    path = Path(path)
    try:
        _refuse_special(path)
        with warnings.catch_warnings(), path.open("rb") as file:
            warnings.simplefilter("ignore")  # about metadata; what spoils pixels is an error
            with Image.open(file, formats=FORMATS) as image:
                _refuse_a_bomb(path, image.size)
                yield image
    except (DataError, MemoryError):
        raise
    except Image.DecompressionBombError as error:
        raise _too_large(path, "its header declares more than any image has") from error
    except UnidentifiedImageError as error:
        found = "the file is empty" if path.stat().st_size == 0 else "its content is none of these"
        raise DataError(
            f"{path}: no image", f"{found}: {', '.join(FORMATS)}", "remove it or mend it"
        ) from error
    except OSError as error:
        what = "cannot be read" if error.errno else "damaged image"
        raise DataError(f"{path}: {what}", error.strerror or str(error)) from error
    except Exception as error:  # PIL's decoders raise what a damaged file makes them stumble over
        raise DataError(f"{path}: damaged image", str(error), "fetch or save it again") from error


def _refuse_special(path: Path) -> None:
    # a pipe would be waited for, and a device read, for ever
    if not stat.S_ISREG(path.stat().st_mode):
        raise DataError(f"{path}: no regular file")


def _refuse_a_bomb(path: Path, size: tuple[int, int]) -> None:
    width, height = size
    if width * height > LARGEST_PIXELS:
        raise _too_large(path, f"its header declares {width:,} x {height:,} pixels")
    if width * height == 0:
        raise DataError(f"{path}: no image", f"its header declares {width} x {height} pixels")


def _too_large(path: Path, why: str) -> DataError:
    return DataError(f"{path}: image too large", f"{why}, {LARGEST_PIXELS:,} are read at most")


def _plain(path: FilePath, image: Image.Image, mode: Literal["L", "RGB"]) -> Image.Image:
    """Return the first frame in `mode`: 8 bits, no palette, nothing transparent."""
    if image.mode == "F":
        raise DataError(f"{path}: pixels of 32-bit floating point have no fixed range")
    if image.mode in WIDE_MODES:
        return _upper_bits(path, image).convert(mode)
    if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return image.convert(mode)


def _upper_bits(path: FilePath, image: Image.Image) -> Image.Image:
    """Return the upper eight of 16 bits, which PIL's own conversion would clip in mode "I"."""
    numbers = np.asarray(image)
    if numbers.min() < 0 or numbers.max() > 0xFFFF:
        raise DataError(f"{path}: pixels of 32 bits have no fixed range")
    return Image.fromarray((numbers >> 8).astype(np.uint8))
