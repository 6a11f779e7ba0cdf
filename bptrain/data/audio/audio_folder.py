"""Your own recordings: WAV files in a folder or a zip file, as log-mel spectrograms.

`folder_or_zip` finds and reads the files, `recordings` says what each one is for, `spectrograms`
turns sound into features (by `wav` and `mel`), `transcripts` texts into symbols. Features are
computed once and held in memory.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import accumulate, pairwise
from pathlib import Path
from typing import Any, Literal

import torch
from pydantic import Field, model_validator
from torch import Tensor

from bptrain.data.audio.file_name_pattern import NamePattern
from bptrain.data.audio.folder_or_zip import Files, opened, read_file
from bptrain.data.audio.mel import LogMelConfig
from bptrain.data.audio.recordings import (
    FieldConfig,
    FractionConfig,
    Recording,
    TestConfig,
    drawn,
    labelled,
    spelled,
    transcribed,
)
from bptrain.data.audio.spec_augment import SpecAugmentConfig
from bptrain.data.audio.spectrograms import LONGEST_S, Form, constants_of
from bptrain.data.audio.transcripts import encoded, refuse_too_short, symbols_of
from bptrain.data.splits import Dataset, InMemoryConfig, Samples
from bptrain.errors import DataError
from bptrain.problem import Problem


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
        form = self.form
        form.features.filter_bank(form.rate)  # what cannot be is said before any file is read
        with opened(Path(self.path)) as files:
            train, validation, test = self.divided(files, seed)
            everyone = [*train, *validation, *test]
            names = self.names_of(train)
            targets, target_lengths = self.targets(everyone, names)
            sounds = (form.sound(files.read(each.name), each.place) for each in everyone)
            features = form.spectrograms(sounds, len(everyone), self.path)
        if target_lengths is not None:
            refuse_too_short(everyone, [len(each) for each in features])
        constants = constants_of(features[: len(train)])
        inputs, lengths = form.inputs(features, **constants)
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
        prepared = {**constants, self.named: names}
        return Dataset(problem, replace(learnt, augment=self.augment), held_out, tested, prepared)

    @property
    def form(self) -> Form:
        """Return what every recording is brought to."""
        return Form(self.sample_rate, self.seconds, self.features)

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

    def prepare(self, words: Sequence[str], prepared: Mapping[str, Any]) -> Samples:
        """Return WAV files, by their paths, as inputs; their targets mean nothing.

        Raises DataError for a file that cannot be read or is not as the training files were.
        """
        form = self.form
        sounds = (form.sound(read_file(Path(word)), word) for word in words)
        features = form.spectrograms(sounds, len(words), "the recordings")
        inputs, lengths = form.inputs(features, prepared["mean"], prepared["deviation"])
        nothing = torch.zeros(len(words), dtype=torch.int64)
        if self.task == "classification":
            return Samples(inputs, nothing, lengths)
        return Samples(inputs, nothing.unsqueeze(1), lengths, nothing)


def _cut(samples: Samples, sizes: Sequence[int]) -> list[Samples | None]:
    """Return consecutive parts of these sizes, without a copy; None for no samples."""
    bounds = accumulate(sizes, initial=0)
    return [
        samples.rows(slice(start, end)) if end > start else None for start, end in pairwise(bounds)
    ]
