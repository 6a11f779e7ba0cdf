"""What an image file must not be: too large to decode, or with fewer pixels than it declares.

PIL fills what is missing of a PNG or a TIFF file with black, without a warning, and it allocates
what a header declares: memory for every row, and in a progressive JPEG time for every scan.
"""

import zlib
from collections.abc import Iterator
from pathlib import Path
from struct import unpack
from typing import TYPE_CHECKING, BinaryIO

from bptrain.errors import DataError

if TYPE_CHECKING:
    from PIL import Image

LARGEST_PIXELS = 2**26  # 8192 x 8192: more is a mistake, or a decompression bomb
LARGEST_SIDE = 2**16 - 1  # also JPEG's limit; PIL holds some 40 bytes for each row
LARGEST_FILE = 2**30  # bytes: twice the largest image, uncompressed with 8 bytes a pixel
MOST_DECODED = 16 * LARGEST_PIXELS  # pixels of all scans of a JPEG; about ten scans are usual
START_OF_SCAN = b"\xff\xda"  # compressed JPEG data never holds it

SIGNATURE_BYTES = 8
CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}  # by a PNG's color type
PASSES = (  # of an interlaced PNG: first column and row, and the steps between them
    *((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4)),
    *((0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2)),
)
BLOCK = 2**20


def refuse_a_bomb(path: Path, image: "Image.Image") -> None:
    """Raise DataError for an image that would take too much memory or time to decode."""
    width, height = image.size
    if width * height == 0:
        raise DataError(f"{path}: no image", f"its header declares {width} x {height} pixels")
    if width * height > LARGEST_PIXELS:
        raise too_large(path, f"its header declares {width:,} x {height:,} pixels")
    if max(width, height) > LARGEST_SIDE:
        raise DataError(
            f"{path}: image too large",
            f"its header declares {width:,} x {height:,} pixels, a side has at most "
            f"{LARGEST_SIDE:,}",
        )
    if path.stat().st_size > LARGEST_FILE:
        raise DataError(f"{path}: image too large", f"more than {LARGEST_FILE:,} bytes")
    if image.format in ("JPEG", "MPO"):
        scans = count(path, START_OF_SCAN)
        if scans * width * height > MOST_DECODED:
            raise DataError(
                f"{path}: image too large", f"{scans:,} scans of {width * height:,} pixels"
            )


def count(path: Path, mark: bytes) -> int:
    """Return how often two bytes occur in a file."""
    found, last = 0, b""
    with path.open("rb") as file:
        while block := file.read(BLOCK):
            found += (last + block).count(mark)
            last = block[-1:]
    return found


def too_large(path: Path, why: str) -> DataError:
    """Return the error for an image of too many pixels."""
    return DataError(f"{path}: image too large", f"{why}, {LARGEST_PIXELS:,} are read at most")


def refuse_missing_pixels(path: Path, image: "Image.Image") -> None:
    """Raise DataError for an image whose data end before its last row."""
    if image.format == "PNG":
        declared, found = png_sizes(path)
    elif image.format == "TIFF":
        declared, found = tiff_sizes(image)
    else:  # the decoders of the other formats raise errors
        return
    if found < declared:
        raise DataError(
            f"{path}: damaged image",
            f"it holds {found / declared:.0%} of the pixels that its header declares",
            "fetch or save it again",
        )


def png_sizes(path: Path) -> tuple[int, int]:
    """Return how many bytes of pixels a PNG declares, and how many it holds, at most as many."""
    with path.open("rb") as file:
        file.seek(SIGNATURE_BYTES)
        chunks = _png_chunks(file)
        _, header = next(chunks, (b"", b""))
        width, height, depth, color, _, _, interlaced = unpack(">IIBBBBB", header)
        bits = depth * CHANNELS[color]
        grids = PASSES if interlaced else ((0, 0, 1, 1),)
        declared = sum(_pass_bytes(width - x, height - y, dx, dy, bits) for x, y, dx, dy in grids)
        found, inflate = 0, zlib.decompressobj()
        for name, data in chunks:
            if name != b"IDAT":
                continue
            while data and found < declared and not inflate.eof:
                found += len(inflate.decompress(data, BLOCK))
                data = inflate.unconsumed_tail
    return declared, min(found, declared)


def _png_chunks(file: BinaryIO) -> Iterator[tuple[bytes, bytes]]:
    """Yield name and content of each chunk; that of large ones other than pixels is skipped."""
    while len(head := file.read(8)) == 8:
        size, name = unpack(">I4s", head)
        if name in (b"IHDR", b"IDAT"):
            yield name, file.read(size)
            file.seek(4, 1)
        else:
            file.seek(size + 4, 1)


def _pass_bytes(width: int, height: int, across: int, down: int, bits: int) -> int:
    """Return the bytes of a pass over every `across`-th column and `down`-th row."""
    columns, rows = -(-max(0, width) // across), -(-max(0, height) // down)
    return rows * (1 + (columns * bits + 7) // 8) if columns else 0


def tiff_sizes(image: "Image.Image") -> tuple[int, int]:
    """Return how many pixels a TIFF declares, and how many its strips or tiles can hold."""
    boxes = {extent for _, extent, *_ in getattr(image, "tile", ())}
    found = sum((right - left) * (bottom - top) for left, top, right, bottom in boxes)
    return image.width * image.height, found
