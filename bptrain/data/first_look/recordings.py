"""A look at recordings, in a folder or a zip file."""

from collections import Counter
from collections.abc import Sequence
from math import ceil
from pathlib import Path, PurePosixPath
from statistics import median
from typing import NamedTuple

from bptrain.data.audio.audio_folder import AudioFolderConfig
from bptrain.data.audio.folder_or_zip import Files, is_recording, opened
from bptrain.data.audio.mel import LogMelConfig, frames_of
from bptrain.data.audio.recordings import ANY_ENDING, Recording
from bptrain.data.audio.sound_file import decode_sound
from bptrain.data.bad_files import BadFile
from bptrain.data.bad_files import listed as listed_bad
from bptrain.data.first_look.found import (
    FEW,
    HELD_OUT,
    Found,
    batch_size_of,
    imbalance_of,
    spread_evenly,
)
from bptrain.data.first_look.recording_labels import find_labels
from bptrain.data.notes import count, listed
from bptrain.errors import DataError, UsageError
from bptrain.problem import Problem

MOST_OPENED = 40  # recordings that are decoded
MOST_BYTES = 2**28  # of them in all
WINDOW_S, HOP_S = 0.032, 0.01
MELS = (40, 32, 24, 16, 8, 4)
LONGEST_S = 10.0  # of a recording that is not cropped


def look_at_recordings(path: Path) -> Found:
    """Return what a folder or zip file of recordings holds, or raise DataError."""
    with opened(path) as files:
        names = _recordings(path, files)
        endings = sorted({PurePosixPath(name).suffix.lower() for name in names})
        ending = endings[0] if len(endings) == 1 else ANY_ENDING
        labels = find_labels(path, files, names, ending)
        opened_ones = _opened(files, names)
        durations = opened_ones.durations
        rate = min(opened_ones.rates, key=lambda each: (-opened_ones.rates[each], each))
        data = {"kind": "audio_folder", "path": str(path), **labels.keys, "sample_rate": rate}
        is_text = data.get("task") == "transcription"
        data["seconds"] = None if is_text else _seconds(durations)
        data["features"] = features_of(rate).model_dump(include={"n_fft", "hop", "mels"})
        config = AudioFolderConfig(**data)
        everyone, outputs = _labelled(config, files)
        others = config.ignored(files, everyone)
    if len(everyone) < FEW:
        data["validation_fraction"] = HELD_OUT
        data.setdefault("test", {"kind": "fraction", "fraction": HELD_OUT})
    data["batch_size"] = batch_size_of(len(everyone))
    reasons = {**labels.reasons, **_reasons(opened_ones, rate, is_text)}
    if opened_ones.bad:
        data["on_bad_file"] = "skip"
        bad = f"{len(opened_ones.bad):,} of them cannot be read"
        reasons["on_bad_file"] = f"{bad}: {listed_bad(opened_ones.bad)}"
    counts = Counter(each.label for each in everyone)
    shown = f"{', '.join(endings[:-1])} and {endings[-1]}" if len(endings) > 1 else ending
    seen = [f"{count(len(everyone), 'recording')} that end in {shown}, {_lengths(durations)}"]
    if others:
        seen.append(f"ignored: {count(others, 'file')} with other endings")
    if not is_text:
        shown = listed([f"{name} ({number:,})" for name, number in sorted(counts.items())], 20)
        seen.append(f"guessed: classification into {len(counts):,} classes: {shown}")
    problem = _problem(config, max(durations), outputs)
    imbalance = "" if is_text else imbalance_of(counts)
    return Found(data, reasons, seen, problem, len(everyone), imbalance=imbalance)


class _Opened(NamedTuple):
    """Some recordings that were decoded: how many have each rate, their lengths, and bad ones."""

    rates: Counter[int]
    durations: list[float]
    bad: list[BadFile]


def _recordings(path: Path, files: Files) -> list[str]:
    names = [name for name in files.names if is_recording(name)]
    if not names:
        raise DataError(f"{path}: no recordings", f"none of {count(len(files.names), 'file')}")
    return names


def _opened(files: Files, names: Sequence[str]) -> _Opened:
    """Decode some recordings; raise DataError if none of them can be read."""
    found = _Opened(Counter(), [], [])
    left = MOST_BYTES
    for name in spread_evenly(names, MOST_OPENED):
        try:
            content = files.read(name)
            sound = decode_sound(content, files.place(name))
        except DataError as error:
            found.bad.append(BadFile(name, error))
            continue
        found.rates[sound.rate] += 1
        found.durations.append(len(sound.samples) / sound.rate)
        left -= len(content)
        if left < 0:
            break
    if not found.durations:
        raise found.bad[0].error
    return found


def _labelled(config: AudioFolderConfig, files: Files) -> tuple[list[Recording], int]:
    """Return all recordings, and the number of classes or symbols; raise DataError as `fit`."""
    train, validation, test = config.divided(files, 0)
    everyone, names = [*train, *validation, *test], config.names_of(train)
    config.targets(everyone, names)
    return everyone, len(names)


def features_of(rate: int) -> LogMelConfig:
    """Return spectrograms with as many of 40 bands as a sample rate has frequencies for."""
    n_fft = max(16, 1 << (ceil(WINDOW_S * rate) - 1).bit_length())
    hop = max(1, round(HOP_S * rate))
    for mels in MELS:
        features = LogMelConfig(n_fft=n_fft, hop=hop, mels=mels)
        try:
            features.filter_bank(rate)
        except UsageError:
            continue
        return features
    raise DataError(f"{rate:,} samples per second are too few for a spectrogram")


def _seconds(durations: Sequence[float]) -> float:
    """Return the length of the inputs: that of the longest recording, within bounds."""
    return min(LONGEST_S, max(0.1, ceil(10 * max(durations)) / 10))


def _reasons(found: _Opened, rate: int, is_text: bool) -> dict[str, str]:
    durations, rates = found.durations, found.rates
    opened_ones = f"of {count(len(durations), 'recording')} that were opened"
    seconds = "each keeps its length: cropping would cut off spoken text"
    if not is_text:
        seconds = f"{opened_ones} the longest has {max(durations):.2f} s; shorter ones are padded"
    each = listed([f"{hertz:,} ({number:,})" for hertz, number in rates.most_common()])
    resampled = f"{opened_ones}, by samples per second: {each}; others are resampled"
    return {
        "sample_rate": resampled
        if len(rates) > 1
        else f"{opened_ones} all have {rate:,} samples per second",
        "seconds": seconds,
        "features": f"windows of about {1000 * WINDOW_S:g} ms, one every {1000 * HOP_S:g} ms",
    }


def _lengths(durations: Sequence[float]) -> str:
    return (
        f"{min(durations):.2f} to {max(durations):.2f} s long, {median(durations):.2f} s the median"
    )


def _problem(config: AudioFolderConfig, longest: float, outputs: int) -> Problem:
    seconds = longest if config.seconds is None else config.seconds
    steps = frames_of(round(seconds * config.sample_rate), config.features.hop)
    shape = (steps, config.features.mels)
    varies = config.seconds is None
    return Problem(config.task, shape, outputs, is_sequence=True, varies=varies)
