"""Your own recordings, in a folder or a zip file, as log-mel spectrograms.

`folder_or_zip` finds and reads the files, `recordings` assigns labels and splits, `spectrograms`
turns sound into features (with `sound_file` and `mel`), `transcripts` turns texts into symbols.
Features are computed once and held in memory.
"""

from bisect import bisect_left
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from itertools import accumulate, pairwise
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from pydantic import Field, model_validator
from torch import Tensor

from bptrain.config.paths import DataPath
from bptrain.data import bad_files
from bptrain.data.audio.file_name_pattern import NamePattern
from bptrain.data.audio.folder_or_zip import Files, opened, read_file
from bptrain.data.audio.mel import LogMelConfig
from bptrain.data.audio.recording_scan import Scan, resampling_note, scan
from bptrain.data.audio.recordings import (
    ANY_ENDING,
    FieldConfig,
    FractionConfig,
    Recording,
    TestConfig,
    labelled,
    spelled,
    split_by_label,
    transcribed,
)
from bptrain.data.audio.sound_file import ENDINGS, RECORDING, Sound
from bptrain.data.audio.spec_augment import SpecAugmentConfig
from bptrain.data.audio.spectrograms import LONGEST_S, AudioPreprocessing, band_statistics
from bptrain.data.audio.transcript_files import transcript_files
from bptrain.data.audio.transcripts import encoded, symbols_of
from bptrain.data.contents import SPLITS, Contents, as_bytes, checksum, content
from bptrain.data.file_tree import FileKind
from bptrain.data.given_arrays import Array, place_of, refuse_what_is_no_number, zeros
from bptrain.data.notes import ignored_files
from bptrain.data.splits import Dataset, InMemoryConfig, Samples
from bptrain.errors import DataError
from bptrain.problem import Problem


class AudioFolderConfig(InMemoryConfig):
    """WAV, FLAC, OGG or MP3 files whose names hold their label, in a folder or a zip file.

    Every file is decoded before the first step. A model reads each recording as a sequence of
    frames, the log-mel spectrogram.
    """

    input_files: ClassVar[FileKind] = RECORDING
    input_kind: ClassVar[str] = "recording"

    kind: Literal["audio_folder"] = "audio_folder"
    path: DataPath = Field(
        min_length=1,
        description="folder of the recordings, or a .zip file, which is read without unpacking it",
    )
    pattern: str = Field(
        default="{label}/{name}.wav",
        max_length=1000,
        description="what file names below path look like: {label} is the class, other fields in "
        "braces are named freely; the ending (.wav, .flac, .ogg, .oga, .opus, .mp3) selects the "
        "files that are read, all others are ignored; .* selects recordings in all these formats",
    )
    test: TestConfig = Field(
        default=FractionConfig(),
        description="recordings of the test split: a fraction of each label, or those with given "
        "values of a field in their names (such as a speaker)",
    )
    task: Literal["classification", "transcription"] = Field(
        default="classification",
        description="classification predicts the label; transcription predicts the spoken text, "
        "character by character (CTC loss; needs seconds: null)",
    )
    transcripts: str | None = Field(
        default=None,
        description="for transcription: where the spoken texts are below path. The name of a table "
        "(.csv, .tsv, .parquet; also without a header and with |, as LJSpeech's metadata.csv) or "
        "of a manifest (.jsonl, .json: an object a line); *.trans.txt for such files beside the "
        "recordings, with lines of ID and text, as in LibriSpeech; *.txt for a file beside each "
        "recording. null takes the texts from the labels",
    )
    transcript_columns: dict[Literal["file", "text"], str] = Field(
        default={},
        description="the columns of the transcripts, or the keys of their objects, that hold file "
        "names and texts, such as {file: path, text: sentence}, where these are not found by what "
        "they hold and by usual names. File names may be paths, also absolute, and lack their "
        "ending",
    )
    spelling: dict[str, str] | None = Field(
        default=None,
        description="for transcription without transcripts: the spoken text of each label, such "
        "as {'0': zero}; null takes the label itself",
    )
    sample_rate: int = Field(
        default=16_000,
        ge=1,
        le=1_000_000,
        description="samples per second (Hz): recordings of another rate are resampled to this "
        "one, and fit says how many. A spectrogram shows frequencies up to half of it",
    )
    seconds: float | None = Field(
        default=1.0,
        gt=0,
        le=LONGEST_S,
        description="length of every model input in seconds: longer recordings are cropped to "
        "their middle, shorter ones padded with silence on both sides; null keeps each "
        "recording's own length",
    )
    features: LogMelConfig = Field(
        default=LogMelConfig(), description="how the spectrograms are computed"
    )
    on_bad_file: bad_files.OnBadFile = Field(
        default="error",
        description="what to do about recordings that are damaged, cannot be read, or are too "
        "short for their text. error lists them all at once and does not train. skip leaves them "
        "out, says how many, and stores which; a resumed run must find the same ones. `evaluate "
        "RUN DATA` takes no bad files",
    )
    augment: SpecAugmentConfig | None = Field(
        default=None,
        description="SpecAugment: random masks on the training spectrograms; null masks nothing",
    )

    @model_validator(mode="after")
    def _keys_fit_together(self) -> "AudioFolderConfig":
        fields = NamePattern(self.pattern).fields
        if not self.pattern.endswith((*ENDINGS, ANY_ENDING)):
            endings = f"{' '.join(ENDINGS)}, or in {ANY_ENDING} for all of them"
            raise ValueError(f"pattern must end as the files do, in one of {endings}")
        if isinstance(self.test, FieldConfig) and self.test.field not in fields:
            raise ValueError(f"test.field is {self.test.field!r}, the pattern has no such field")
        if self.transcripts is None and "label" not in fields:
            raise ValueError("pattern holds no {label}, which names the class")
        if self.task == "classification" and (self.transcripts or self.spelling):
            raise ValueError("transcripts and spelling go with task: transcription")
        if self.transcript_columns and self.transcripts is None:
            raise ValueError("transcript_columns are those of transcripts")
        if self.transcripts is not None and self.spelling is not None:
            raise ValueError("transcripts and spelling exclude each other: give one")
        if self.task == "transcription" and self.seconds is not None:
            raise ValueError("seconds would cut off spoken text: transcription needs seconds: null")
        return self

    def build(self, seed: int) -> Dataset:
        """Return the data set, every file decoded; the validation samples are drawn by `seed`."""
        preprocessing = self.preprocessing
        # raises an error about impossible features before any file is read
        preprocessing.features.filter_bank(preprocessing.rate)
        with opened(Path(self.path)) as files:
            parts = self.divided(files, seed)
            everyone = [each for part in parts for each in part]
            names = self.names_of(parts[0])
            self.targets(everyone, names)  # refused before any file is decoded
            ignored = self.ignored(files, everyone)
            found = self.scanned(everyone, files)
        if self.on_bad_file == "error":
            bad_files.refuse(self.path, found.bad)
        sizes = sizes_of_parts(found.valid, [len(part) for part in parts])
        kept = [everyone[number] for number in found.valid]
        self.refuse_missing_classes(kept[: sizes[0]], names)
        targets = self.targets(kept, names)
        statistics = band_statistics(found.features[: sizes[0]])
        inputs, lengths = preprocessing.inputs(found.features, **statistics)
        problem = Problem(
            self.task,
            tuple(inputs.shape[1:]),
            outputs=len(names),
            is_sequence=True,
            varies=lengths is not None,
            names=tuple(names),
        )
        whole = Samples(inputs, targets[0], lengths, targets[1])
        training, held_out, tested = _consecutive(whole, sizes)
        assert training is not None
        training = replace(training, augment=self.augment)
        prepared: dict[str, Any] = {**statistics, self.names_key: names}
        prepared |= {"left_out_files": [each.name for each in found.bad]} if found.bad else {}
        notes = (
            *ignored_files(ignored, f"its ending is not that of {self.pattern}"),
            *resampling_note(found.rates, self.sample_rate),
            *bad_files.left_out(found.bad, len(everyone)),
        )
        contents = contents_of_recordings(kept, found.checksums, sizes)
        return Dataset(problem, training, held_out, tested, prepared, contents, notes)

    def labelled(self, path: Path, problem: Problem, prepared: Mapping[str, Any]) -> Samples:
        """Return other recordings, in a folder or zip file, with labels known from training."""
        with opened(path) as files:
            everyone = self.recordings(files, str(path))
            targets, target_lengths = self.targets(everyone, prepared[self.names_key])
            found = self.scanned(everyone, files)
        bad_files.refuse(str(path), found.bad, way_out="")
        inputs, lengths = self.preprocessing.inputs(
            found.features, prepared["mean"], prepared["std"]
        )
        return Samples(inputs, targets, lengths, target_lengths)

    def scanned(self, recordings: Sequence[Recording], files: Files) -> Scan:
        """Return what is found in recordings, each decoded once."""
        has_texts = self.task == "transcription"
        return scan(recordings, files, self.preprocessing, self.path, has_texts)

    def refuse_missing_classes(self, train: Sequence[Recording], names: Sequence[str]) -> None:
        """Raise DataError for a class of which no training recording can be read."""
        there = {each.label for each in train}
        missing = [name for name in names if name not in there]
        if not train or (self.task == "classification" and missing):
            which = f"of class {missing[0]!r} " if self.task == "classification" else ""
            raise DataError(
                f"{self.path}: no training recording {which}is left",
                "those that there are cannot be read",
                "more recordings of it",
            )

    @property
    def preprocessing(self) -> AudioPreprocessing:
        """Return the steps from a file's content to a model's input."""
        return AudioPreprocessing(self.sample_rate, self.seconds, self.features)

    @property
    def names_key(self) -> str:
        """Return the key of the outputs' names in `prepared`."""
        return "classes" if self.task == "classification" else "symbols"

    def divided(self, files: Files, seed: int) -> tuple[list[Recording], ...]:
        """Return the training, validation and test recordings."""
        found = self.recordings(files, self.path)
        are_classes = self.task == "classification"
        train, test = self.test.divide(found, are_classes)
        return *split_by_label(train, self.validation_fraction, seed, are_classes), test

    def recordings(self, files: Files, root: str) -> list[Recording]:
        """Return the recordings below `root`, each with its class or its spoken text."""
        found = labelled(files, NamePattern(self.pattern), root)
        if self.transcripts is not None:
            columns = {str(kind): name for kind, name in self.transcript_columns.items()}
            return transcribed(found, files, self.transcripts, columns)
        return spelled(found, self.spelling or {})

    def ignored(self, files: Files, recordings: Sequence[Recording]) -> int:
        """Return how many files are neither recordings that are read nor their texts."""
        names = {each.name for each in recordings}
        if self.transcripts is not None:
            names |= transcript_files(files, self.transcripts, list(names))
        return len(set(files.names) - names)

    def names_of(self, train: Sequence[Recording]) -> list[str]:
        """Return the classes or symbols of the training recordings."""
        if self.task == "transcription":
            return symbols_of(train)
        classes = sorted({each.label for each in train})
        if len(classes) < 2:
            raise DataError(
                f"{self.path}: the training recordings have a single class: {classes[0]!r}",
                f"data.pattern is {self.pattern}",
                "a pattern whose {label} differs between classes",
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
            if each.label not in numbers:
                raise DataError(
                    f"{each.place}: no training recording has the label {each.label!r}",
                    f"the training recordings have {len(names)} classes",
                    "add training recordings of this class, or leave it out",
                )
        return torch.tensor([numbers[each.label] for each in recordings]), None

    def prepare(self, words: Sequence[str], prepared: Mapping[str, Any]) -> Samples:
        """Return the recordings in files, given by path, as inputs; their targets are zeros.

        Raises DataError for a file that cannot be read or differs from the training files.
        """
        read = (self.preprocessing.sound(read_file(Path(word)), word) for word in words)
        return self._heard(read, len(words), prepared)

    def prepare_arrays(
        self, arrays: Sequence[Array], problem: Problem, prepared: Mapping[str, Any]
    ) -> Samples:
        """Return recordings [S] as inputs: samples from -1 to 1, data.sample_rate in a second."""
        refuse_what_is_no_number(arrays)
        for row, array in enumerate(arrays):
            if array.ndim != 1 or array.size == 0 or np.abs(array, dtype=np.float64).max() > 1:
                raise DataError(
                    f"{place_of(row)}: {list(array.shape)} of {array.dtype}",
                    "a recording is an array [samples] of numbers from -1 to 1",
                    "the mean of two channels; array / 32768 for integers of 16 bits",
                )
        sounds = (
            self.preprocessing.fitted(
                Sound(self.sample_rate, torch.from_numpy(each.astype(np.float32))), place_of(row)
            )
            for row, each in enumerate(arrays)
        )
        return self._heard(sounds, len(arrays), prepared)

    def _heard(self, sounds: Iterable[Tensor], count: int, prepared: Mapping[str, Any]) -> Samples:
        """Return sounds as inputs; their targets are zeros."""
        preprocessing = self.preprocessing
        features = preprocessing.spectrograms(sounds, count, "the recordings")
        inputs, lengths = preprocessing.inputs(features, prepared["mean"], prepared["std"])
        none = zeros(count)
        if self.task == "classification":
            return Samples(inputs, none, lengths)
        return Samples(inputs, none.unsqueeze(1), lengths, none)


def sizes_of_parts(valid: Sequence[int], sizes: Sequence[int]) -> list[int]:
    """Return how many of some numbers, in their order, lie in each of consecutive parts."""
    ends = [bisect_left(valid, end) for end in accumulate(sizes)]
    return [end - start for start, end in pairwise([0, *ends])]


def contents_of_recordings(
    recordings: Sequence[Recording], checksums: Sequence[bytes], sizes: Sequence[int]
) -> dict[str, Contents]:
    """Return the content of each split, consecutive parts of these sizes."""
    bounds = pairwise(accumulate(sizes, initial=0))
    return {
        name: content(
            end - start,
            checksum(checksums[start:end]),
            checksum(as_bytes(each.label) for each in recordings[start:end]),
        )
        for name, (start, end) in zip(SPLITS, bounds, strict=True)
        if end > start
    }


def _consecutive(samples: Samples, sizes: Sequence[int]) -> list[Samples | None]:
    """Return consecutive parts of these sizes, without a copy; None for no samples."""
    bounds = accumulate(sizes, initial=0)
    return [
        samples.rows(slice(start, end)) if end > start else None for start, end in pairwise(bounds)
    ]
