"""Which recordings a data set consists of, their labels, and which are for testing."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import PurePosixPath
from typing import Annotated, Literal

import torch
from pydantic import Field

from bptrain.config import StrictConfig
from bptrain.data.audio.file_name_pattern import NamePattern
from bptrain.data.audio.folder_or_zip import Files
from bptrain.data.audio.sound_file import ENDINGS
from bptrain.data.audio.transcript_files import texts_of
from bptrain.data.splits import Samples, hold_out
from bptrain.errors import DataError

ANY_ENDING = ".*"  # of a pattern: recordings in every format
TEST_SEED = 0  # fixed: every run, whatever its seed, is tested on the same recordings


@dataclass(frozen=True)
class Recording:
    """A file, the fields of its name, and its class or the text that is spoken in it."""

    name: str
    place: str  # what error messages call it
    fields: Mapping[str, str]
    label: str


class FractionConfig(StrictConfig):
    """Test on a random fraction of the recordings, the same fraction of each label."""

    kind: Literal["fraction"] = "fraction"
    fraction: float = Field(
        default=0.1,
        ge=0,
        le=0.5,
        description="fraction of all recordings; 0 for no test split. The same recordings are "
        "drawn whatever the seed",
    )

    def divide(
        self, recordings: Sequence[Recording], are_classes: bool
    ) -> tuple[list[Recording], list[Recording]]:
        """Return the training and the test recordings."""
        return split_by_label(recordings, self.fraction, TEST_SEED, are_classes)


class FieldConfig(StrictConfig):
    """Test on the recordings whose names have given values of a field, such as some speakers."""

    kind: Literal["field"] = "field"
    field: str = Field(min_length=1, description="a field of data.pattern, such as speaker")
    values: list[Annotated[str, Field(min_length=1)] | int] = Field(
        min_length=1,
        max_length=100_000,
        description="values of the field: recordings with one of these are the test split",
    )

    def divide(
        self, recordings: Sequence[Recording], are_classes: bool
    ) -> tuple[list[Recording], list[Recording]]:
        """Return the training and the test recordings, or raise DataError if one has none."""
        values = set(map(str, self.values))
        train = [each for each in recordings if each.fields[self.field] not in values]
        test = [each for each in recordings if each.fields[self.field] in values]
        if not train or not test:
            found = sorted({each.fields[self.field] for each in recordings})
            raise DataError(
                f"{recordings[0].place}: {'all' if test else 'no'} recordings are for testing",
                f"data.test selects those whose {self.field} is {', '.join(sorted(values))}",
                f"use some of the values in the names: {', '.join(found)}",
            )
        return train, test


TestConfig = Annotated[FractionConfig | FieldConfig, Field(discriminator="kind")]


def split_by_label(
    recordings: Sequence[Recording], fraction: float, seed: int, are_classes: bool
) -> tuple[list[Recording], list[Recording]]:
    """Return the recordings in two parts, the second with `fraction` of each label, by `seed`.

    are_classes  whether labels are classes, not spoken texts, which may be all different
    """
    numbers = {label: n for n, label in enumerate({each.label: 0 for each in recordings})}
    labels = torch.tensor([numbers[each.label] for each in recordings])
    first, second = hold_out(
        Samples(torch.arange(len(recordings)), labels), fraction, seed, are_classes
    )
    chosen = [] if second is None else second.inputs.tolist()
    return [recordings[n] for n in first.inputs.tolist()], [recordings[n] for n in chosen]


def labelled(files: Files, pattern: NamePattern, root: str) -> list[Recording]:
    """Return the files with the pattern's ending, each with the label in its name.

    Raises DataError for a name that does not match the pattern, and if there is no recording.
    """
    return [
        Recording(name, files.place(name), fields, fields.get("label", ""))
        for name, fields in _matched(files, pattern, root)
    ]


def _matched(
    files: Files, pattern: NamePattern, root: str
) -> Iterator[tuple[str, Mapping[str, str]]]:
    ending = PurePosixPath(pattern.pattern).suffix
    endings = ENDINGS if ending == ANY_ENDING else (ending,)
    names = [name for name in files.names if name.lower().endswith(endings)]
    if not names:
        raise DataError(
            f"{root}: no recordings",
            f"none of {len(files.names):,} files is a {' '.join(endings)}",
            "a data.pattern with the ending of the files",
        )
    for name in names:
        own = PurePosixPath(name).suffix
        fields = pattern.read(name.removesuffix(own) + ending)  # .WAV means .wav
        if fields is None:
            raise DataError(
                f"{files.place(name)}: does not match data.pattern",
                f"the name below {root} should look like {pattern.pattern}",
                "a pattern that fits all names, or only recordings that are named alike",
            )
        yield name, fields


def spelled(recordings: Sequence[Recording], spelling: Mapping[str, str]) -> list[Recording]:
    """Return the recordings with the spoken text of each label; without a spelling, unchanged."""
    if not spelling:
        return list(recordings)
    for each in recordings:
        if each.label not in spelling:
            raise DataError(
                f"{each.place}: data.spelling does not have the label {each.label!r}",
                f"it has {', '.join(spelling)}",
            )
    return [replace(each, label=spelling[each.label]) for each in recordings]


def transcribed(
    recordings: Sequence[Recording], files: Files, where: str, columns: Mapping[str, str]
) -> list[Recording]:
    """Return the recordings with their texts; raise DataError for those without one.

    where, columns  see `transcript_files.texts_of`
    """
    texts = texts_of(files, where, columns, [each.name for each in recordings])
    silent = [each for each in recordings if each.name not in texts]
    if silent:
        more = f"; {len(silent):,} recordings have none" * (len(silent) > 1)
        raise DataError(f"{silent[0].place}: no text in {where}", f"each needs one{more}")
    return [replace(each, label=texts[each.name]) for each in recordings]
