"""Tensors as pictures: samples as images, all else as heat maps, red above zero and blue below.

A heat map's zero is transparent, so that it looks right on a light and on a dark page. A tensor of
many numbers is cut into blocks, and each block shows its number of the largest magnitude.
"""

import base64
from io import BytesIO
from math import ceil, sqrt
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

SIDE = 48  # most cells of a heat map along an axis
TILES = 16  # most planes of a picture, such as channels
TILE_SIDE = 16  # most cells of such a plane along an axis
LEVELS = 48  # of color above zero, and as many below
RED, BLUE = (214, 69, 51), (38, 104, 214)
FAINT = 0.7  # exponent of the opacity: small numbers are still seen
SMALLEST_IMAGE = 6  # pixels; below, a tensor with channels is no image

Cells = NDArray[np.float64]


class Picture(NamedTuple):
    """A picture as a data URL, and its size in cells.

    note  what it leaves out
    """

    source: str
    width: int
    height: int
    note: str


def heat_map(tensor: Tensor) -> Picture:
    """Return the heat map of a tensor with at least one number."""
    return _colored(*_laid_out(tensor))


def plane_map(plane: Tensor) -> tuple[Picture, tuple[int, int]]:
    """Return the heat map of a plane [H, W], and how many rows and columns its cells stand for."""
    cells, note = _shrunk(plane.detach().cpu().double().numpy(), SIDE)
    rows, columns = (
        n * ceil(size / SIDE) for n, size in zip(cells.shape, plane.shape, strict=True)
    )
    return _colored(cells, note), (rows, columns)


def _colored(cells: Cells, note: str) -> Picture:
    finite = np.nan_to_num(cells, nan=0.0, posinf=0.0, neginf=0.0)
    largest = float(np.abs(finite).max()) or 1.0
    levels = np.rint(finite / largest * LEVELS).astype(int) + LEVELS
    return Picture(_png(levels.astype(np.uint8)), cells.shape[1], cells.shape[0], note)


def is_image(sample: Tensor) -> bool:
    """Return whether a batch's tensor is gray or color images [N, C, H, W]."""
    shape = sample.shape
    return len(shape) == 4 and shape[1] in (1, 3) and min(shape[2:]) >= SMALLEST_IMAGE


def image(sample: Tensor) -> Picture:
    """Return an image [C, H, W], its numbers from the least to the largest as black to white."""
    from PIL import Image

    pixels = sample.detach().cpu().double().numpy()
    low, high = float(pixels.min()), float(pixels.max())
    gray = np.rint((pixels - low) / ((high - low) or 1.0) * 255).astype(np.uint8)
    shown = Image.fromarray(gray[0] if len(gray) == 1 else gray.transpose(1, 2, 0))
    file = BytesIO()
    shown.save(file, "PNG", optimize=True)
    return Picture(_url(file), shown.width, shown.height, "")


def _laid_out(tensor: Tensor) -> tuple[Cells, str]:
    """Return the cells of a picture of a tensor, and what they leave out."""
    values = tensor.detach().cpu().double().numpy()
    values = values.reshape([n for n in values.shape if n > 1] or [1])
    if values.ndim == 1:
        return _wrapped(values)
    if values.ndim == 2:
        return _shrunk(values, SIDE)
    planes = values.reshape(-1, *values.shape[-2:])
    columns = ceil(sqrt(min(TILES, len(planes))))
    shrunk = [_shrunk(plane, TILE_SIDE)[0] for plane in planes[:TILES]]
    height, width = shrunk[0].shape
    rows = ceil(len(shrunk) / columns)
    cells = np.zeros((rows * (height + 1) - 1, columns * (width + 1) - 1))
    for number, plane in enumerate(shrunk):
        top, left = number // columns * (height + 1), number % columns * (width + 1)
        cells[top : top + height, left : left + width] = plane
    left_out = f"the first {TILES} of {len(planes)} planes" if len(planes) > TILES else ""
    return cells, left_out


def _wrapped(values: Cells) -> tuple[Cells, str]:
    """Return a vector in rows of one length."""
    columns = len(values) if len(values) <= SIDE // 2 else ceil(sqrt(len(values)) * 2)
    rows = ceil(len(values) / columns)
    padded = np.zeros(rows * columns)
    padded[: len(values)] = values
    cells, note = _shrunk(padded.reshape(rows, columns), SIDE)
    return cells, note or (f"in rows of {columns}" if rows > 1 else "")


def _shrunk(values: Cells, side: int) -> tuple[Cells, str]:
    """Return a matrix of at most `side` rows and columns, of each block the strongest number."""
    block = [ceil(n / side) for n in values.shape]
    if max(block) == 1:
        return values, ""
    padding = [(0, -n % size) for n, size in zip(values.shape, block, strict=True)]
    padded = np.pad(values, padding)
    rows, columns = (n // size for n, size in zip(padded.shape, block, strict=True))
    apart = padded.reshape(rows, block[0], columns, block[1]).transpose(0, 2, 1, 3)
    blocks = apart.reshape(rows, columns, -1)
    strongest = np.abs(blocks).argmax(2)
    chosen = np.take_along_axis(blocks, strongest[..., None], 2)[..., 0]
    return chosen, f"each cell the strongest of {block[0]} × {block[1]}"  # noqa: RUF001


def _png(levels: NDArray[np.uint8]) -> str:
    from PIL import Image

    shown = Image.fromarray(levels, "P")
    strength = [abs(level - LEVELS) / LEVELS for level in range(2 * LEVELS + 1)]
    colors = [BLUE] * LEVELS + [RED] * (LEVELS + 1)
    shown.putpalette([each for color in colors for each in color])
    file = BytesIO()
    opacity = bytes(round(255 * each**FAINT) for each in strength)
    shown.save(file, "PNG", transparency=opacity, optimize=True)
    return _url(file)


def _url(file: BytesIO) -> str:
    return f"data:image/png;base64,{base64.b64encode(file.getvalue()).decode()}"
