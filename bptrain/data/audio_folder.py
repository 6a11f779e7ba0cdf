"""Your own recordings: WAV files in a folder or a zip file, as log-mel spectrograms.

`folder_or_zip` finds and reads the files, `wav` decodes them, `recordings` says what each one is
for, `mel` turns sound into features, `transcripts` texts into symbols. Features are computed once
and held in memory.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import accumulate, pairwise
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from pydantic import Field, model_validator
from torch import Tensor
from torch.nn.functional import pad
from torch.nn.utils.rnn import pad_sequence

from bptrain.data.folder_or_zip import Files, opened, read_file
from bptrain.data.mel import LogMelConfig, frames_of, log_mel
from bptrain.data.name_pattern import NamePattern
from bptrain.data.recordings import (
    FieldConfig,
    FractionConfig,
    Recording,
    TestConfig,
    drawn,
    labelled,
    spelled,
    transcribed,
)
from bptrain.data.spec_augment import SpecAugmentConfig
from bptrain.data.splits import Dataset, InMemoryConfig, Samples
from bptrain.data.transcripts import encoded, refuse_too_short, symbols_of
from bptrain.data.wav import decode_wav
from bptrain.errors import DataError
from bptrain.free_memory import free_bytes, in_words
from bptrain.problem import Problem

LONGEST_S = 600.0
TOGETHER = 2**20  # samples whose spectra are computed at once: some 30 MB
LEAST_DEVIATION = 1e-5  # of a log: less is what rounding leaves
COPIES = 3  # of the features while they are standardized and divided


class AudioFolderConfig(InMemoryConfig):
    """WAV files whose names say what is heard, in a folder or a zip file.

    Each file is decoded before the first step. Files that do not end in .wav are left out.
    """

    kind: Literal["audio_folder"] = "audio_folder"
    path: str = Field(min_length=1, description="a folder, or a .zip file, which is read in place")
    pattern: str = Field(
        default="{label}/{name}.wav",
        max_length=1000,
        description="of every name below path; {label} is the class, other fields are named freely",
    )
    test: TestConfig = Field(
        default=FractionConfig(), description="which recordings are the test split"
    )
    task: Literal["classification", "transcription"] = Field(
        default="classification", description="transcription learns what is said, letter by letter"
    )
    transcripts: str | None = Field(
        default=None, description="of transcription: a CSV file below path, columns file and text"
    )
    spelling: dict[str, str] | None = Field(
        default=None, description="of transcription: what is said under each label; null: itself"
    )
    sample_rate: int = Field(
        default=16_000, ge=1, le=1_000_000, description="of every file; no file is resampled"
    )
    seconds: float | None = Field(
        default=1.0,
        gt=0,
        le=LONGEST_S,
        description="the middle that is kept, or silence put around it; null keeps each length",
    )
    features: LogMelConfig = Field(default=LogMelConfig(), description="what a model reads")
    augment: SpecAugmentConfig | None = Field(
        default=None, description="masks on the training features"
    )

    @model_validator(mode="after")
    def _means_one_thing(self) -> "AudioFolderConfig":
        fields = NamePattern(self.pattern).fields
        if not self.pattern.endswith(".wav"):
            raise ValueError("pattern ends in .wav, as the files do")
        if isinstance(self.test, FieldConfig) and self.test.field not in fields:
            raise ValueError(f"test.field is {self.test.field!r}, the pattern has no such field")
        if self.transcripts is None and "label" not in fields:
            raise ValueError("pattern holds no {label}, which says what is heard")
        if self.task == "classification" and (self.transcripts or self.spelling):
            raise ValueError("transcripts and spelling go with task: transcription")
        if self.transcripts is not None and self.spelling is not None:
            raise ValueError("transcripts and spelling exclude each other")
        if self.task == "transcription" and self.seconds is not None:
            raise ValueError(
                "seconds would cut off what is said: transcription needs seconds: null"
            )
        return self

    def build(self, seed: int) -> Dataset:
        """Return the data set, every file decoded; the validation samples are drawn by `seed`."""
        bank = self.features.filter_bank(self.sample_rate)
        with opened(Path(self.path)) as files:
            train, validation, test = self.divided(files, seed)
            everyone = [*train, *validation, *test]
            names = self.names_of(train)
            targets, target_lengths = self.targets(everyone, names)
            sounds = (self.sound(files.read(each.name), each.place) for each in everyone)
            features = self.computed(sounds, bank, len(everyone))
        if target_lengths is not None:
            refuse_too_short(everyone, [len(each) for each in features])
        prepared = {**constants_of(features[: len(train)]), self.named: names}
        inputs, lengths = self.inputs(features, prepared)
        whole = Samples(inputs, targets, lengths, target_lengths)
        problem = Problem(
            self.task,
            tuple(inputs.shape[1:]),
            outputs=len(names),
            is_sequence=True,
            varies=lengths is not None,
            names=tuple(names),
        )
        learnt, held_out, tested = _cut(whole, [len(train), len(validation), len(test)])
        assert learnt is not None
        return Dataset(problem, replace(learnt, augment=self.augment), held_out, tested, prepared)

    @property
    def named(self) -> str:
        """Return what the outputs' names are called in `prepared`."""
        return "classes" if self.task == "classification" else "symbols"

    def divided(self, files: Files, seed: int) -> tuple[list[Recording], ...]:
        """Return the recordings to train with, to validate and to test."""
        found = labelled(files, NamePattern(self.pattern), self.path)
        if self.transcripts is not None:
            found = transcribed(found, files, self.transcripts)
        else:
            found = spelled(found, self.spelling or {})
        train, test = self.test.divide(found)
        return *drawn(train, self.validation_fraction, seed), test

    def names_of(self, train: Sequence[Recording]) -> list[str]:
        """Return the classes or symbols of the recordings to train with."""
        if self.task == "transcription":
            return symbols_of(train)
        classes = sorted({each.answer for each in train})
        if len(classes) < 2:
            raise DataError(
                f"{self.path}: one class only among the recordings to train with: {classes[0]!r}",
                f"data.pattern is {self.pattern}",
                "a pattern whose {label} tells them apart",
            )
        return classes

    def targets(
        self, recordings: Sequence[Recording], names: Sequence[str]
    ) -> tuple[Tensor, Tensor | None]:
        """Return the classes [N], or the texts [N, S] and their lengths [N]."""
        if self.task == "transcription":
            return encoded(recordings, names)
        numbers = {name: number for number, name in enumerate(names)}
        for each in recordings:
            if each.answer not in numbers:
                raise DataError(
                    f"{each.place}: no recording to train with has the label {each.answer!r}",
                    f"those have {len(names)} classes",
                    "more recordings of this class, or none",
                )
        return torch.tensor([numbers[each.answer] for each in recordings]), None

    def sound(self, content: bytes, place: str) -> Tensor:
        """Return the samples [S] of a WAV file, brought to `seconds` if these are given."""
        rate, samples = decode_wav(content, place)
        if rate != self.sample_rate:
            raise DataError(
                f"{place}: {rate:,} samples a second, data.sample_rate is {self.sample_rate:,}",
                "pitch and pace would be heard wrongly",
                f"data.sample_rate={rate} if all files agree, or ffmpeg -i FILE -ar "
                f"{self.sample_rate} NEW.wav",
            )
        if self.seconds is not None:
            return _centred(samples, max(1, round(self.seconds * rate)))
        if len(samples) > LONGEST_S * rate:
            raise DataError(
                f"{place}: {len(samples) / rate:,.0f} s long",
                f"a sequence of up to {LONGEST_S:g} s is read whole",
                "cut it into shorter ones, or give data.seconds",
            )
        return samples

    def computed(self, sounds: Iterable[Tensor], bank: Tensor, count: int) -> list[Tensor]:
        """Return the features [T, F] of each of `count` sounds, as far as memory holds them."""
        features: list[Tensor] = []
        longest = 0
        for together in _groups(sounds):
            longest = max(longest, *(len(each) for each in together))
            frames = frames_of(longest, self.features.hop)
            needed = COPIES * count * frames * self.features.mels * torch.float32.itemsize
            if needed > free_bytes():
                raise DataError(
                    f"{self.path}: too large: its features take {in_words(needed)}",
                    f"{count:,} recordings of up to {longest / self.sample_rate:,.1f} s, "
                    f"{in_words(free_bytes())} of memory are free",
                    "fewer or shorter recordings, or a larger data.features.hop",
                )
            spectra = log_mel(pad_sequence(together, batch_first=True), self.features, bank)
            for each, spectrum in zip(together, spectra, strict=True):
                # a copy: a view would keep the whole group's memory
                features.append(spectrum[: frames_of(len(each), self.features.hop)].clone())
        return features

    def inputs(
        self, features: Sequence[Tensor], prepared: Mapping[str, Any]
    ) -> tuple[Tensor, Tensor | None]:
        """Return the standardized features [N, T, F], and their lengths [N] where they differ.

        Padding is 0: the mean of each band.
        """
        mean, deviation = (torch.tensor(prepared[key]) for key in ("mean", "deviation"))
        scaled = [(each - mean) / deviation for each in features]
        lengths = None if self.seconds else torch.tensor([len(each) for each in features])
        return pad_sequence(scaled, batch_first=True), lengths

    def prepare(self, words: Sequence[str], prepared: Mapping[str, Any]) -> Samples:
        """Return WAV files, by their paths, as inputs; their targets mean nothing.

        Raises DataError for a file that cannot be read or is not as the training files were.
        """
        bank = self.features.filter_bank(self.sample_rate)
        sounds = (self.sound(read_file(Path(word)), word) for word in words)
        inputs, lengths = self.inputs(self.computed(sounds, bank, len(words)), prepared)
        nothing = torch.zeros(len(words), dtype=torch.int64)
        if self.task == "classification":
            return Samples(inputs, nothing, lengths)
        return Samples(inputs, nothing.unsqueeze(1), lengths, nothing)


def constants_of(features: Sequence[Tensor]) -> dict[str, list[float]]:
    """Return each band's mean and deviation over all frames."""
    frames = torch.cat(list(features)).numpy()
    mean = frames.mean(0, dtype=np.float64)
    deviation = frames.std(0, dtype=np.float64)
    deviation[deviation < LEAST_DEVIATION] = 1.0  # a constant band stays constant
    return {"mean": mean.tolist(), "deviation": deviation.tolist()}


def _centred(samples: Tensor, size: int) -> Tensor:
    """Return the middle `size` samples, or all of them with silence on both sides."""
    before = (size - len(samples)) // 2  # negative: what is cut off
    return pad(samples, (before, size - len(samples) - before))


def _groups(sounds: Iterable[Tensor]) -> Iterator[list[Tensor]]:
    """Yield sounds in their order, as many together as are computed at once."""
    group: list[Tensor] = []
    for sound in sounds:
        longest = max(len(each) for each in [*group, sound])
        if group and longest * (len(group) + 1) > TOGETHER:
            yield group
            group = []
        group.append(sound)
    if group:
        yield group


def _cut(samples: Samples, sizes: Sequence[int]) -> list[Samples | None]:
    """Return consecutive parts of these sizes, without a copy; None for no samples."""
    bounds = accumulate(sizes, initial=0)
    return [
        samples.rows(slice(start, end)) if end > start else None for start, end in pairwise(bounds)
    ]
