"""Broken images and CIFAR files: what is done to a valid set, and words that the error must hold.

Each entry changes a folder that would train; most name the file they spoil, all the words.
"""

import os
import pickle
import struct
import zlib
from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import numpy as np
from image_sets import cifar_bytes, cifar_pickle, picture, python2_pickle
from PIL import Image

Harm = Callable[[Path], object]


def encoded(kind: str, image: Image.Image | None = None) -> bytes:
    """Return a picture in a format."""
    out = BytesIO()
    (image or picture(0, 0)).save(out, kind)
    return out.getvalue()


def chunk(name: bytes, content: bytes) -> bytes:
    """Return a chunk of a PNG file, its checksum right."""
    checksum = struct.pack(">I", zlib.crc32(name + content))
    return struct.pack(">I", len(content)) + name + content + checksum


def png(width: int, height: int, halved: bool = False) -> bytes:
    """Return a PNG file, its checksums right, that declares a size and holds less than that."""
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    body = zlib.compress(os.urandom((3 * width + 1) * height) if halved else b"")
    body = body[: len(body) // 2] if halved else body
    chunks = chunk(b"IHDR", header) + chunk(b"IDAT", body) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + chunks


def incomplete_png(interlaced: bool = False) -> bytes:
    """Return a PNG of 100 rows whose data end in good order after the tenth."""
    header = struct.pack(">IIBBBBB", 100, 100, 8, 2, 0, 0, interlaced)
    body = zlib.compress(b"\0" * 10 * 301)
    chunks = chunk(b"IHDR", header) + chunk(b"IDAT", body) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + chunks


def incomplete_tiff() -> bytes:
    """Return a TIFF of 100 rows whose only strip declares ten."""
    content = bytearray(encoded("TIFF", picture(0, 0, (100, 100))))
    start = struct.unpack_from("<I", content, 4)[0]
    for entry in range(struct.unpack_from("<H", content, start)[0]):
        at = start + 2 + 12 * entry
        if struct.unpack_from("<H", content, at)[0] == 278:  # rows of a strip
            struct.pack_into("<I", content, at + 8, 10)
    return bytes(content)


def many_scans() -> bytes:
    """Return a JPEG of 8,000 x 8,000 pixels with a scan repeated 40 times."""
    content = encoded("JPEG", Image.new("L", (8_000, 8_000)))
    scan = content.index(b"\xff\xda")
    return content[:-2] + content[scan : scan + 10] * 40 + content[-2:]


def flipped(content: bytes, at: int) -> bytes:
    """Return the content with one byte changed."""
    return content[:at] + bytes([content[at] ^ 0xFF]) + content[at + 1 :]


def put(name: str, content: bytes) -> Harm:
    """Put a file into the class cat."""
    return lambda root: (root / "cat" / name).write_bytes(content)


def emptied(root: Path) -> None:
    """Leave a class without images."""
    for path in (root / "dog").iterdir():
        path.rename(path.with_suffix(".txt"))


def looped(root: Path) -> None:
    """Let a link lead to itself."""
    (root / "cat" / "loop.png").symlink_to("loop.png")


def looped_folder(root: Path) -> None:
    """Let a class be the folder it lies in."""
    (root / "cow").symlink_to(root, target_is_directory=True)


def one_class(root: Path) -> None:
    """Leave a single class."""
    (root / "dog").rename(root / "cat" / ".hidden")


def no_class(root: Path) -> None:
    """Leave no folder of a class."""
    for name in ("cat", "dog"):
        (root / name).rename(root / f".{name}")


def divided(part: str, *folders: str) -> Harm:
    """Divide the set by folders, with more of them in one part."""

    def harm(root: Path) -> None:
        (root / "train").mkdir()
        for name in ("cat", "dog"):
            (root / name).rename(root / "train" / name)
        for name in folders:
            (root / part / name).mkdir(parents=True)
            (root / part / name / "1.png").write_bytes(encoded("PNG"))

    return harm


PNG, JPEG = encoded("PNG"), encoded("JPEG", picture(0, 0, (200, 200)))
FLOATS = encoded("TIFF", Image.fromarray(np.ones((9, 9), np.float32)))
WIDE = encoded("TIFF", Image.fromarray(np.full((9, 9), 70_000, np.int32)))

FOLDERS: dict[str, tuple[Harm, str]] = {
    "a PNG with a wrong checksum": (put("x.png", flipped(PNG, 60)), "x.png: damaged image"),
    "a PNG with a wrong header checksum": (put("x.png", flipped(PNG, 30)), "x.png"),
    "a PNG cut short": (put("x.png", PNG[: len(PNG) // 2]), "x.png: damaged image"),
    "a PNG without pixels": (put("x.png", png(20, 20)), "x.png: damaged image"),
    "a PNG of no pixels": (put("x.png", png(0, 20)), "x.png"),
    "a PNG with half a stream": (put("x.png", png(20, 20, halved=True)), "x.png: damaged image"),
    "a signature alone": (put("x.png", PNG[:8]), "x.png"),
    "a JPEG cut short": (put("x.jpg", JPEG[: len(JPEG) // 2]), "x.jpg: damaged image"),
    "a JPEG header alone": (put("x.jpeg", JPEG[:20]), "x.jpeg: no image"),
    "a GIF cut short": (put("x.gif", encoded("GIF")[:-200]), "x.gif: damaged image"),
    "a BMP cut short": (put("x.bmp", encoded("BMP")[:200]), "x.bmp: damaged image"),
    "a TIFF cut short": (put("x.tif", encoded("TIFF")[:200]), "x.tif"),
    "a WebP cut short": (put("x.webp", encoded("WEBP")[:60]), "x.webp"),
    "a PPM of words": (put("x.ppm", b"P6\nten ten\n255\n" + bytes(300)), "x.ppm"),
    "a PPM cut short": (put("x.ppm", b"P6\n10 10\n255\n" + bytes(30)), "x.ppm: damaged image"),
    "a bomb": (put("x.png", png(60_000, 60_000)), "x.png: image too large"),
    "a bomb below PIL's own limit": (put("x.png", png(8_200, 8_200)), "8,200 x 8,200 pixels"),
    "a PNG of ten rows": (put("x.png", incomplete_png()), "holds 10% of the pixels"),
    "an interlaced PNG of ten rows": (
        put("x.png", incomplete_png(True)),
        "holds 10% of the pixels",
    ),
    "a TIFF of ten rows": (put("x.tif", incomplete_tiff()), "holds 10% of the pixels"),
    "a high bomb": (put("x.png", png(1, 2**26)), "1 x 67,108,864 pixels"),
    "a wide bomb": (put("x.png", png(2**26, 1)), "67,108,864 x 1 pixels"),
    "a JPEG of many scans": (put("x.jpg", many_scans()), "41 scans"),
    "a BMP bomb": (
        put(
            "x.bmp",
            b"BM" + struct.pack("<IIIIiiHHIIiiII", 54, 0, 54, 40, 2**30, 2**30, 1, 24, *[0] * 6),
        ),
        "x.bmp: image too large",
    ),
    "a text file": (put("x.png", b"not an image\n"), "x.png: no image"),
    "an empty file": (put("x.png", b""), "the file is empty"),
    "a zip": (put("x.png", b"PK\3\4" + bytes(100)), "x.png: no image"),
    "a program for a printer": (put("x.png", b"%!PS-Adobe-3.0 EPSF-3.0\n"), "x.png: no image"),
    "floating point": (put("x.tiff", FLOATS), "32-bit floating point"),
    "32-bit numbers": (put("x.tiff", WIDE), "pixels of 32 bits"),
    "a pipe": (lambda root: os.mkfifo(root / "cat" / "x.png"), "x.png: not a regular file"),
    "a link to itself": (looped, "loop.png"),
    "a link to nowhere": (
        lambda root: (root / "cat" / "x.png").symlink_to("gone.png"),
        "x.png: not found",
    ),
    "a class that is its own root": (looped_folder, "is a link to one that it lies in"),
    "a folder named as an image": (lambda root: (root / "cat" / "x.png").mkdir(), "x.png"),
    "a class without images": (emptied, "dog: a class without images"),
    "one class": (one_class, "only 'cat' found"),
    "no class": (no_class, "none found"),
    "a test class that training lacks": (divided("test", "cat", "cow"), "without training images"),
    "a test folder without classes": (
        lambda root: (divided("test")(root), (root / "test").mkdir()),
        "test: no images",
    ),
    "an unknown split": (divided("extra", "cat"), "extra: a folder beside train"),
    "a class name that is no text": (
        lambda root: (root / "dog").rename(os.fsdecode(os.fsencode(root) + b"/d\xffg")),
        "not UTF-8",
    ),
}

LABELS = np.arange(40) % 10


class Call:
    """What a hostile pickle asks to have called."""

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, ("called",)


def pickled(**changes: object) -> bytes:
    """Return a CIFAR-10 file of the python version with entries changed or, if None, left out."""
    held = pickle.loads(cifar_pickle(LABELS, 0, "labels")) | changes
    return pickle.dumps({k: v for k, v in held.items() if v is not None}, 4)


VALID = python2_pickle(LABELS, 0, "labels")
REDUCED = b"\x80\x02cnumpy\ndtype\nU\x02u1\x85R."

# the content of data_batch_2, in the python version
PICKLES: dict[str, tuple[bytes, str]] = {
    "nothing": (b"", "damaged after byte 0"),
    "half of it": (VALID[: len(VALID) // 2], "damaged after byte"),
    "no end": (VALID[:-1], "damaged after byte"),
    "no opcode": (b"\xff" + VALID, "damaged after byte 0"),
    "a text file": (b"label 3\n", "data_batch_2"),
    "a call": (pickle.dumps({"data": Call()}, 2), "which could run code"),
    "a call, protocol 4": (pickle.dumps({"data": Call()}, 4), "which could run code"),
    "a call in the old text protocol": (b"cos\nmkdir\n(S'called'\ntR.", "os.mkdir"),
    "an instance": (b"(S'called'\nios\nmkdir\n.", "refused at byte"),
    "a call of numpy's": (b"\x80\x02cnumpy\nload\nU\x01x\x85R.", "numpy.load"),
    "a persistent id": (b"Pcalled\n.", "refused at byte"),
    "an extension": (b"\x80\x02\x82\x01.", "refused at byte"),
    "a name alone": (b"\x80\x02cnumpy\ndtype\n.", "expected a dict"),
    "no dict": (REDUCED, "expected a dict"),
    "protocol 5": (
        pickle.dumps({"data": np.zeros(3, np.uint8)}, 5),
        "which could run code",
    ),
    "a memo never made": (b"\x80\x02h\x07.", "damaged after byte"),
    "a mark never set": (b"\x80\x02]e.", "damaged after byte"),
    "an array of numbers": (pickled(data=np.zeros((40, 3072))), "expected 'u1'"),
    "a string of 4 GB": (b"\x80\x02}U\x04dataT\xff\xff\xff\x7fxs.", "damaged after byte"),
    "no data": (pickled(data=None), "'data' has the shape none"),
    "wide rows": (pickled(data=np.zeros((40, 3073), np.uint8)), "[40, 3073]"),
    "no labels": (pickled(labels=None), "'labels' is not a list"),
    "labels as words": (pickled(labels=["cat"] * 40), "'labels' is not a list"),
    "too few labels": (pickled(labels=[1] * 39), "39 labels for 40 images"),
    "a label of 10": (pickled(labels=[1] * 39 + [10]), "label 10 in row 39"),
    "a label of -1": (pickled(labels=[-1] + [1] * 39), "label -1 in row 0"),
    "a label of a thousand bits": (pickled(labels=[1] * 39 + [2**1000]), "in row 39"),
    "no image": (pickled(data=np.zeros((0, 3072), np.uint8), labels=[]), "holds no image"),
}

# the content of data_batch_2.bin, in the binary version
BINARIES: dict[str, tuple[bytes, str]] = {
    "nothing": (b"", "holds no image"),
    "one byte too few": (cifar_bytes(LABELS, 0)[:-1], "ends inside row 39"),
    "one byte too many": (cifar_bytes(LABELS, 0) + b"x", "ends inside row 40"),
    "CIFAR-100's rows": (cifar_bytes(LABELS, 0, coarse=True), "not a whole number of images"),
    "a label of 10": (cifar_bytes(np.array([3] * 7 + [10] * 2), 0), "label 10 in row 7"),
}
