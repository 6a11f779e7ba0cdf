"""Small WAV files: tones, as bytes that a test may break."""

from collections.abc import Mapping
from io import BytesIO
from pathlib import Path
from struct import pack
from zipfile import ZIP_DEFLATED, ZipFile

import numpy as np

RATE = 8000
PCM, FLOAT = 1, 3


def tone(frequency: float, samples: int = 2400, seed: int = 0) -> np.ndarray:
    """Return a tone [S] in -1 to 1, with a little noise."""
    noise = np.random.default_rng(seed).normal(0, 0.01, samples)
    return 0.5 * np.sin(2 * np.pi * frequency * np.arange(samples) / RATE) + noise


def chunk(name: bytes, content: bytes, size: int | None = None) -> bytes:
    """Return a chunk, with its true size unless another one is given."""
    declared = len(content) if size is None else size
    return name + pack("<I", declared) + content + bytes(len(content) % 2)


def fmt(
    kind: int = PCM, channels: int = 1, rate: int = RATE, bits: int = 16, frame: int | None = None
) -> bytes:
    """Return a fmt chunk."""
    frame = channels * bits // 8 if frame is None else frame
    content = pack("<HHIIHH", kind, channels, rate, rate * frame % 2**32, frame % 2**16, bits)
    return chunk(b"fmt ", content)


def riff(*chunks: bytes) -> bytes:
    """Return a WAV file of these chunks."""
    content = b"WAVE" + b"".join(chunks)
    return b"RIFF" + pack("<I", len(content)) + content


def encoded(samples: np.ndarray, bits: int = 16, kind: int = PCM) -> bytes:
    """Return samples as the bytes of a data chunk."""
    if kind == FLOAT:
        return samples.astype("<f4").tobytes()
    if bits == 8:
        return np.round(samples * 127 + 128).astype(np.uint8).tobytes()
    whole = np.round(samples * (2 ** (bits - 1) - 1)).astype("<i8")
    return whole.view(np.uint8).reshape(-1, 8)[:, : bits // 8].tobytes()


def wav(samples: np.ndarray, bits: int = 16, kind: int = PCM, rate: int = RATE) -> bytes:
    """Return a WAV file of one channel."""
    return riff(fmt(kind, 1, rate, bits), chunk(b"data", encoded(samples, bits, kind)))


def digits(each: int = 8, samples: int = 2400) -> dict[str, bytes]:
    """Return recordings of ten digits, each with its own pitch, named as in the real data set."""
    return {
        f"{digit}_{'ab'[index % 2]}_{index}.wav": wav(
            tone(300 + 300 * digit, samples + 16 * index, seed=10 * digit + index)
        )
        for digit in range(10)
        for index in range(each)
    }


def write_folder(root: Path, files: Mapping[str, bytes]) -> Path:
    """Write the files below `root` and return it."""
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return root


def zipped(files: Mapping[str, bytes], method: int = ZIP_DEFLATED) -> bytes:
    """Return a zip file."""
    buffer = BytesIO()
    with ZipFile(buffer, "w", method) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return buffer.getvalue()
