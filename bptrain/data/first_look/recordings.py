"""A look at recordings, in a folder or a zip file."""

from collections import Counter
from collections.abc import Sequence
from math import ceil
from pathlib import Path
from statistics import median

from bptrain.data.audio.audio_folder import AudioFolderConfig
from bptrain.data.audio.folder_or_zip import Files, is_recording, opened
from bptrain.data.audio.mel import LogMelConfig, frames_of
from bptrain.data.audio.recordings import Recording
from bptrain.data.audio.sound_file import decode_sound
from bptrain.data.first_look.found import Found, batch_size_of, imbalance_of, spread_evenly
from bptrain.data.first_look.recording_labels import find_labels
from bptrain.data.notes import count, listed
from bptrain.errors import DataError, UsageError
from bptrain.problem import Problem

MOST_OPENED = 40  # recordings that are decoded
MOST_BYTES = 2**28  # of them in all
WINDOW_S, HOP_S = 0.032, 0.01
MELS = (40, 32, 24, 16, 8, 4)
LONGEST_S = 10.0  # of a recording that is not cropped
FEW = 200  # recordings, of which a larger part is held out
HELD_OUT = 0.2


def look_at_recordings(path: Path) -> Found:
    """Return what a folder or zip file of recordings holds, or raise DataError."""
    with opened(path) as files:
        names, ending = _of_one_ending(path, files)
        labels = find_labels(path, files, names, ending)
        rate, durations = _sounds(files, names)
        data = {"kind": "audio_folder", "path": str(path), **labels.keys, "sample_rate": rate}
        is_text = data.get("task") == "transcription"
        data["seconds"] = None if is_text else _seconds(durations)
        data["features"] = features_of(rate).model_dump(include={"n_fft", "hop", "mels"})
        config = AudioFolderConfig(**data)
        everyone, outputs = _labelled(config, files)
        others = len(files.names) - len(everyone) - is_text
    if len(everyone) < FEW:
        data["validation_fraction"] = HELD_OUT
        data.setdefault("test", {"kind": "fraction", "fraction": HELD_OUT})
    data["batch_size"] = batch_size_of(len(everyone))
    reasons = {**labels.reasons, **_reasons(rate, durations, is_text)}
    counts = Counter(each.label for each in everyone)
    seen = [f"{count(len(everyone), 'recording')} that end in {ending}, {_lengths(durations)}"]
    if others:
        seen.append(f"ignored: {count(others, 'file')} with other endings")
    if not is_text:
        shown = listed([f"{name} ({number:,})" for name, number in sorted(counts.items())], 20)
        seen.append(f"guessed: classification into {len(counts):,} classes: {shown}")
    problem = _problem(config, max(durations), outputs)
    imbalance = "" if is_text else imbalance_of(counts)
    return Found(data, reasons, seen, problem, len(everyone), imbalance=imbalance)


def _of_one_ending(path: Path, files: Files) -> tuple[list[str], str]:
    """Return the recordings with the most frequent ending, and that ending in lower case."""
    recordings = [name for name in files.names if is_recording(name)]
    endings = Counter(Path(name).suffix.lower() for name in recordings)
    if not endings:
        raise DataError(f"{path}: no recordings", f"none of {count(len(files.names), 'file')}")
    ending = endings.most_common(1)[0][0]
    return [name for name in recordings if name.lower().endswith(ending)], ending


def _sounds(files: Files, names: Sequence[str]) -> tuple[int, list[float]]:
    """Return the sample rate of some recordings, and their lengths in seconds."""
    rates: Counter[int] = Counter()
    durations: list[float] = []
    left = MOST_BYTES
    for name in spread_evenly(names, MOST_OPENED):
        content = files.read(name)
        sound = decode_sound(content, files.place(name))
        rates[sound.rate] += 1
        durations.append(len(sound.samples) / sound.rate)
        left -= len(content)
        if left < 0:
            break
    if len(rates) > 1:
        usual = rates.most_common(1)[0][0]
        raise DataError(
            f"{files.place(names[0])} and others: {len(rates)} different sample rates",
            ", ".join(f"{rate:,} Hz ({number:,} files)" for rate, number in rates.most_common()),
            f"ffmpeg -i FILE -ar {usual} NEW.wav, for each of the others",
        )
    return next(iter(rates)), durations


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


def _reasons(rate: int, durations: Sequence[float], is_text: bool) -> dict[str, str]:
    opened_ones = f"of {count(len(durations), 'recording')} that were opened"
    seconds = "each keeps its length: cropping would cut off spoken text"
    if not is_text:
        seconds = f"{opened_ones} the longest has {max(durations):.2f} s; shorter ones are padded"
    return {
        "sample_rate": f"{opened_ones} all have {rate:,} samples per second",
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
