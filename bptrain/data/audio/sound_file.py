"""Recordings decoded by libsndfile: WAV, FLAC, OGG (Vorbis and Opus) and MP3, told by content.

Decoding runs in blocks, so that memory grows with the sound that is there, never with a size that
a header declares. libsndfile reads a file that was cut off as a shorter one; whatever the format
says about its length is therefore compared with what came out.
"""

from io import BytesIO
from struct import unpack_from
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from bptrain.data.file_tree import FileKind
from bptrain.errors import DataError

ENDINGS = (".wav", ".flac", ".ogg", ".oga", ".opus", ".mp3")
RECORDING = FileKind("recording", ENDINGS)
# libsndfile knows twenty more formats; hostile files do not reach those decoders
SIGNATURES = (b"RIFF", b"RIFX", b"RF64", b"fLaC", b"OggS", b"ID3")
MPEG_SYNC = 0xFFE0  # the first 11 bits of an MP3 frame
BLOCK = 2**20  # samples of all channels decoded at a time
MOST_SAMPLES = 2**27  # of all channels: 512 MB; a few kB of FLAC can declare and hold hours
LOUDEST = 1e6  # times full scale: beyond it the square of a spectrum leaves float32
MOST_CHUNKS = 1024  # of a WAV file: one of empty chunks would take minutes
PCM, FLOAT, EXTENSIBLE = 1, 3, 0xFFFE
STREAMED = 0xFFFFFFFF  # the size of a data chunk that was written to a pipe: up to the end
CONVERT = "ffmpeg -i FILE -c:a pcm_s16le NEW.wav"
AGAIN = "record or fetch the file again"


class Sound(NamedTuple):
    """A recording of one channel."""

    rate: int  # samples per second
    samples: Tensor  # [S] float32, full scale is 1


def decode_sound(content: bytes, place: str) -> Sound:
    """Return the sound in a file's content, its channels averaged.

    Raises DataError, which names the file by `place`, for content that is no recording, damaged,
    cut off, or not finite.
    """
    # costs 60 ms, needed for recordings only
    import soundfile

    if not content.startswith(SIGNATURES) and not _is_mpeg(content):
        raise DataError(
            f"{place}: not a WAV, FLAC, OGG or MP3 file",
            f"it starts with bytes {content[:12].hex(' ')}" if content else "the file is empty",
            CONVERT if content else AGAIN,
        )
    declared = _wav_sizes(content, place) if content[8:12] == b"WAVE" else None
    try:
        with soundfile.SoundFile(BytesIO(content)) as file:
            samples = _read_mono(file, place)
            rate = file.samplerate
            _refuse_cut_off(file, samples, content, place)
    except soundfile.SoundFileError as error:
        why = getattr(error, "error_string", str(error))
        raise DataError(f"{place}: damaged, or of a kind that is not read", why, CONVERT) from error
    if declared is not None:
        _compare_with_header(len(samples), *declared, place)
    if len(samples) == 0:
        raise DataError(f"{place}: no sound", "it holds no sample", AGAIN)
    return Sound(rate, torch.from_numpy(samples))


def _is_mpeg(content: bytes) -> bool:
    return len(content) >= 2 and int.from_bytes(content[:2], "big") & MPEG_SYNC == MPEG_SYNC


def _read_mono(file: Any, place: str) -> Any:
    """Return the mean of all channels [S] as float32, held once however long it is."""
    mono = np.empty(0, np.float32)
    block_size = max(1, BLOCK // file.channels)
    while mono.size * file.channels <= MOST_SAMPLES:
        block = file.read(block_size, dtype="float32", always_2d=True)
        start = mono.size
        _refuse_not_finite(block, start, file.samplerate, place)
        mono.resize(start + len(block), refcheck=False)
        mono[start:] = torch.from_numpy(block).mean(1)
        if len(block) < block_size:
            return mono
    raise DataError(
        f"{place}: too large: more than {MOST_SAMPLES:,} samples",
        f"{MOST_SAMPLES / file.channels / file.samplerate / 60:,.0f} minutes of sound",
        "cut it into shorter ones",
    )


def _refuse_cut_off(file: Any, samples: Any, content: bytes, place: str) -> None:
    """Raise DataError if fewer samples came out than the file declares."""
    # an MP3 file says how long it is only in an optional first frame; else it is estimated
    exact = file.format != "MP3" or any(tag in content[:4096] for tag in (b"Xing", b"Info"))
    # libsndfile takes the length of an OGG file from its last page, and logs if that is not the end
    is_open_ended = file.format == "OGG" and "end-of-stream" in file.extra_info.lower()
    if is_open_ended or (exact and len(samples) < file.frames):
        raise DataError(
            f"{place}: cut off or damaged after {len(samples) / file.samplerate:,.2f} s of sound",
            "its last part is missing" if is_open_ended else f"{file.frames:,} samples declared",
            AGAIN,
        )


def _wav_sizes(content: bytes, place: str) -> tuple[int, int] | None:
    """Return the bytes of sound and of a frame that a WAV header declares, if frames have a size.

    Raises DataError for a chunk that is longer than the file. RF64 keeps its sizes elsewhere.
    """
    order = ">" if content[:4] == b"RIFX" else "<"
    start, frame = 12, None
    for _ in range(MOST_CHUNKS):
        if start + 8 > len(content):
            return None
        name, size = unpack_from(f"{order}4sI", content, start)
        start += 8
        left = len(content) - start
        if name == b"data" and size == STREAMED:
            return None
        if size > left:
            raise DataError(
                f"{place}: cut off at byte {len(content):,}",
                f"the {name.decode('latin1').strip()!r} chunk at byte {start - 8:,} declares "
                f"{size:,} bytes, {left:,} are there",
                AGAIN,
            )
        if name == b"data":
            return None if frame is None else (size, frame)
        if name == b"fmt " and size >= 16:
            kind, frame = unpack_from(f"{order}H10xH", content, start)
            if kind not in (PCM, FLOAT, EXTENSIBLE):
                frame = None  # compressed: bytes are no number of samples
        start += size + size % 2
    raise DataError(f"{place}: more than {MOST_CHUNKS} chunks up to byte {start:,}, and no sound")


def _compare_with_header(frames: int, size: int, frame: int, place: str) -> None:
    if frames and frames * frame != size:
        raise DataError(
            f"{place}: damaged: {size:,} bytes of sound in frames of {frame:,} bytes are declared",
            f"{frames:,} frames were found",
            AGAIN,
        )


def _refuse_not_finite(block: Any, start: int, rate: int, place: str) -> None:
    """Raise DataError for samples [S, C], the first of them number `start`, that are no sound."""
    usable = np.abs(block) <= LOUDEST  # false for NaN
    if not usable.all():
        first = int(np.argmin(usable.all(1)))
        value = block[first][~usable[first]][0]
        after_s = (start + first) / rate
        raise DataError(
            f"{place}: a sample of {value} after {after_s:.4f} s", "full scale is 1", AGAIN
        )
