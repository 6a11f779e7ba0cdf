"""The pass over all recordings before training: finds bad ones, and the others' spectrograms."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from hashlib import sha256
from typing import NamedTuple

from torch import Tensor

from bptrain.data.audio.folder_or_zip import Files
from bptrain.data.audio.recordings import Recording
from bptrain.data.audio.sound_file import decode_sound
from bptrain.data.audio.spectrograms import AudioPreprocessing
from bptrain.data.audio.transcripts import too_short
from bptrain.data.bad_files import BadFile
from bptrain.data.notes import count
from bptrain.errors import DataError


class Scan(NamedTuple):
    """What was found in recordings.

    valid      numbers of those that can be used, in their order
    features   the spectrogram of each of these
    checksums  the SHA-256 of each of their files
    bad        the other files
    rates      how many recordings have each sample rate
    """

    valid: list[int]
    features: list[Tensor]
    checksums: list[bytes]
    bad: list[BadFile]
    rates: Mapping[int, int]


def scan(
    recordings: Sequence[Recording],
    files: Files,
    preprocessing: AudioPreprocessing,
    source: str,
    has_texts: bool,
) -> Scan:
    """Decode every recording once.

    source     what messages call all of them
    has_texts  whether labels are spoken texts, for which a recording may be too short
    """
    valid: list[int] = []
    checksums: list[bytes] = []
    bad: dict[int, BadFile] = {}
    rates: Counter[int] = Counter()

    def sounds() -> Iterator[Tensor]:
        for number, each in enumerate(recordings):
            try:
                content = files.read(each.name)
                decoded = decode_sound(content, each.place)
                fitted = preprocessing.fitted(decoded, each.place)
            except DataError as error:
                bad[number] = BadFile(each.name, error)
                continue
            valid.append(number)
            checksums.append(sha256(content).digest())
            rates[decoded.rate] += 1
            yield fitted

    features = preprocessing.spectrograms(sounds(), len(recordings), source)
    if has_texts:
        for place, number in enumerate(valid):
            if error := too_short(recordings[number], len(features[place])):
                bad[number] = BadFile(recordings[number].name, error)
    kept = [place for place, number in enumerate(valid) if number not in bad]
    return Scan(
        [valid[place] for place in kept],
        [features[place] for place in kept],
        [checksums[place] for place in kept],
        [bad[number] for number in sorted(bad)],
        rates,
    )


def resampling_note(rates: Mapping[int, int], rate: int) -> list[str]:
    """Return how many recordings have another sample rate than the model's inputs."""
    others = sorted(each for each in rates if each != rate)
    if not others:
        return []
    number = sum(rates[each] for each in others)
    listed = ", ".join(f"{each:,}" for each in others[:5]) + ", ..." * (len(others) > 5)
    return [f"resampled: {count(number, 'recording')} of {listed} Hz to {rate:,} Hz"]
