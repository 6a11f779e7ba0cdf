"""WAV recordings, decoded byte by byte; no size that a file declares is trusted.

    bytes 0-11  RIFF, a size, WAVE; the size is not used: programs that stream leave it 0
    chunks      a name of 4 bytes, a size n of 4, n bytes of content, one more where n is odd
    fmt         format, channels, samples a second, bytes a second, bytes of a frame, bits of a
                sample, in 2 2 4 4 2 2 bytes; behind an extensible format stands the true one
    data        the frames: a sample for each channel, little-endian
Read are PCM of 8 bits (unsigned), 16, 24 and 32 bits, and floats of 32 bits; of two channels the
mean. Full scale is 1. Other chunks in front of the data are passed over.
Source: Microsoft and IBM, "Multimedia Programming Interface and Data Specifications 1.0", 1991;
Microsoft, "Multiple Channel Audio Data and WAVE Files", 2007.
"""

from collections.abc import Iterator
from struct import unpack_from
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from bptrain.errors import DataError

MOST_CHUNKS = 1024  # a file of empty chunks would be walked through for minutes
LOUDEST = 1e6  # times full scale: beyond it the square of a spectrum leaves float32
PCM, FLOAT, EXTENSIBLE = 1, 3, 0xFFFE
TRUE_FORMAT = 24  # byte of an extensible fmt chunk
COMPRESSED = {
    0x0002: "Microsoft ADPCM",
    0x0006: "A-law",
    0x0007: "mu-law",
    0x0011: "IMA ADPCM",
    0x0031: "GSM 6.10",
    0x0050: "MPEG",
    0x0055: "MP3",
    0x00FF: "AAC",
    0x0161: "Windows Media Audio",
}
READ = {(PCM, 8), (PCM, 16), (PCM, 24), (PCM, 32), (FLOAT, 32)}
CONVERT = "ffmpeg -i FILE -c:a pcm_s16le NEW.wav"
AGAIN = "record or fetch the file again"


class Sound(NamedTuple):
    """A recording of one channel."""

    rate: int  # samples a second
    samples: Tensor  # [S] float32


class Layout(NamedTuple):
    """What a fmt chunk says of the bytes of the data chunk."""

    format: int
    channels: int
    rate: int
    bits: int

    @property
    def frame(self) -> int:
        """Bytes of a sample of each channel."""
        return self.channels * self.bits // 8


def decode_wav(content: bytes, place: str) -> Sound:
    """Return the sound of a WAV file, or raise DataError with `place` and the byte."""
    if content[:4] != b"RIFF" or content[8:12] != b"WAVE":
        found = content[:12].hex(" ") or "missing"
        raise DataError(
            f"{place}: not a WAV file",
            f"bytes 0-11 are {found}, expected RIFF, a size, WAVE",
            CONVERT if content else AGAIN,
        )
    layout = None
    for name, start, size in _chunks(content, place):
        if name == b"fmt ":
            layout = _layout(content, start, size, place)
        elif name == b"data":
            if layout is None:
                raise DataError(f"{place}: no fmt chunk before the sound at byte {start:,}")
            return Sound(layout.rate, _samples(content, start, size, layout, place))
    raise DataError(f"{place}: no sound", f"it ends at byte {len(content):,}, no data chunk", AGAIN)


def _chunks(content: bytes, place: str) -> Iterator[tuple[bytes, int, int]]:
    """Yield the name of each chunk, where its content starts and its size; it is all there."""
    start = 12
    for _ in range(MOST_CHUNKS):
        if start + 8 > len(content):
            return
        name, size = unpack_from("<4sI", content, start)
        start += 8
        if size > len(content) - start:
            raise DataError(
                f"{place}: cut off at byte {len(content):,}",
                f"the {name.decode('latin1').strip()!r} chunk at byte {start - 8:,} declares "
                f"{size:,} bytes, {len(content) - start:,} are there",
                AGAIN,
            )
        yield name, start, size
        start += size + size % 2
    raise DataError(f"{place}: more than {MOST_CHUNKS} chunks up to byte {start:,}, and no sound")


def _layout(content: bytes, start: int, size: int, place: str) -> Layout:
    if size < 16:
        raise DataError(f"{place}: a fmt chunk of {size} bytes at byte {start:,}, 16 are needed")
    kind, channels, rate, _, frame, bits = unpack_from("<HHIIHH", content, start)
    if kind == EXTENSIBLE and size >= TRUE_FORMAT + 2:
        (kind,) = unpack_from("<H", content, start + TRUE_FORMAT)
    if (kind, bits) not in READ:
        known = COMPRESSED.get(kind) or {PCM: "PCM", FLOAT: "float"}.get(kind, f"format {kind:#x}")
        raise DataError(
            f"{place}: {known} of {bits} bits at byte {start:,} is not read",
            "PCM of 8, 16, 24 and 32 bits is, and floats of 32 bits",
            CONVERT,
        )
    if channels not in (1, 2):
        raise DataError(
            f"{place}: {channels:,} channels at byte {start + 2:,}",
            "one is read, or the mean of two",
            f"{CONVERT} with -ac 1",
        )
    if rate == 0:
        raise DataError(f"{place}: 0 samples a second at byte {start + 4:,}", hint=AGAIN)
    layout = Layout(kind, channels, rate, bits)
    if frame != layout.frame:
        raise DataError(
            f"{place}: frames of {frame:,} bytes at byte {start + 12:,}",
            f"{channels} channels of {bits} bits take {layout.frame}",
            AGAIN,
        )
    return layout


def _samples(content: bytes, start: int, size: int, layout: Layout, place: str) -> Tensor:
    """Return the data chunk's samples [S], the mean of the channels."""
    if size == 0 or size % layout.frame:
        raise DataError(
            f"{place}: {size:,} bytes of sound from byte {start:,} on",
            f"a whole number of frames of {layout.frame} bytes is needed, one at least",
            AGAIN,
        )
    numbers = _numbers(memoryview(content)[start : start + size], layout)
    if layout.format == FLOAT:
        usable = np.abs(numbers) <= LOUDEST  # false for NaN
        if not usable.all():
            first = int(np.argmin(usable))
            raise DataError(
                f"{place}: a sample of {numbers[first]} at byte {start + 4 * first:,}",
                "full scale is 1",
                AGAIN,
            )
    samples = torch.from_numpy(numbers).view(-1, layout.channels)
    return samples.mean(1) if layout.channels == 2 else samples.squeeze(1)


def _numbers(data: memoryview, layout: Layout) -> NDArray[np.float32]:
    """Return the samples of all channels as float32, full scale 1."""
    if layout.format == FLOAT:
        return np.frombuffer(data, "<f4").astype(np.float32)
    if layout.bits == 8:
        return (np.frombuffer(data, np.uint8).astype(np.float32) - np.float32(128)) / np.float32(
            128
        )
    if layout.bits == 24:
        widened = np.zeros((len(data) // 3, 4), np.uint8)  # the low byte of 32 stays 0
        widened[:, 1:] = np.frombuffer(data, np.uint8).reshape(-1, 3)
        numbers, bits = widened.view("<i4").ravel(), 32
    else:
        numbers, bits = np.frombuffer(data, f"<i{layout.bits // 8}"), layout.bits
    return numbers.astype(np.float32) / np.float32(2 ** (bits - 1))
