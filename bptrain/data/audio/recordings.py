"""Which recordings a data set is made of, what each one's answer is, and who is tested on it."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Literal

import torch
from pydantic import Field

from bptrain.config import StrictConfig
from bptrain.data.audio.file_name_pattern import NamePattern
from bptrain.data.audio.folder_or_zip import Files, is_recording
from bptrain.data.csv_columns import columns_of
from bptrain.data.splits import Samples, hold_out
from bptrain.data.text_file import decoded
from bptrain.errors import DataError

TEST_SEED = 0  # fixed: every run, whatever its seed, is tested on the same recordings


@dataclass(frozen=True)
class Recording:
    """A WAV file, what its name says, and its class or the text that is said in it."""

    name: str
    place: str  # how an error names it
    fields: Mapping[str, str]
    answer: str


class FractionConfig(StrictConfig):
    """A share of the recordings, of each answer the same one."""

    kind: Literal["fraction"] = "fraction"
    fraction: float = Field(default=0.1, ge=0, le=0.5, description="of all recordings")

    def divide(self, recordings: Sequence[Recording]) -> tuple[list[Recording], list[Recording]]:
        """Return the recordings to train with, and those to test."""
        return drawn(recordings, self.fraction, TEST_SEED)


class FieldConfig(StrictConfig):
    """The recordings in whose names a field has one of some values."""

    kind: Literal["field"] = "field"
    field: str = Field(min_length=1, description="a field of the pattern")
    values: list[Annotated[str, Field(min_length=1)] | int] = Field(
        min_length=1, max_length=100_000, description="values of the recordings that are tested"
    )

    def divide(self, recordings: Sequence[Recording]) -> tuple[list[Recording], list[Recording]]:
        """Return the recordings to train with, and those to test; both hold one at least."""
        values = set(map(str, self.values))
        train = [each for each in recordings if each.fields[self.field] not in values]
        test = [each for each in recordings if each.fields[self.field] in values]
        if not train or not test:
            found = sorted({each.fields[self.field] for each in recordings})
            raise DataError(
                f"{recordings[0].place}: {'all' if test else 'no'} recordings are for the test",
                f"data.test takes those whose {self.field} is {', '.join(sorted(values))}",
                f"in the names it is {', '.join(found)}",
            )
        return train, test


TestConfig = Annotated[FractionConfig | FieldConfig, Field(discriminator="kind")]


def drawn(
    recordings: Sequence[Recording], fraction: float, seed: int
) -> tuple[list[Recording], list[Recording]]:
    """Return the recordings in two, the second with `fraction` of each answer, drawn by `seed`."""
    numbers = {answer: n for n, answer in enumerate({each.answer: 0 for each in recordings})}
    answers = torch.tensor([numbers[each.answer] for each in recordings])
    first, second = hold_out(Samples(torch.arange(len(recordings)), answers), fraction, seed)
    chosen = [] if second is None else second.inputs.tolist()
    return [recordings[n] for n in first.inputs.tolist()], [recordings[n] for n in chosen]


def labelled(files: Files, pattern: NamePattern, root: str) -> list[Recording]:
    """Return the recordings, the pattern's `label` their answer; other files are left out.

    Raises DataError for a recording that does not match, and if there is none.
    """
    return [
        Recording(name, files.place(name), fields, fields.get("label", ""))
        for name, fields in _matched(files, pattern, root)
    ]


def _matched(
    files: Files, pattern: NamePattern, root: str
) -> Iterator[tuple[str, Mapping[str, str]]]:
    names = [name for name in files.names if is_recording(name)]
    if not names:
        raise DataError(f"{root}: no recordings", f"none of {len(files.names):,} files is a .wav")
    for name in names:
        fields = pattern.read(name[:-4] + ".wav")  # .WAV is the same kind of file
        if fields is None:
            raise DataError(
                f"{files.place(name)}: does not match data.pattern",
                f"the name below {root} should look like {pattern.pattern}",
                "another pattern, or only recordings that are named alike",
            )
        yield name, fields


def spelled(recordings: Sequence[Recording], spelling: Mapping[str, str]) -> list[Recording]:
    """Return the recordings with their answers spelled out; without a spelling, as they are."""
    if not spelling:
        return list(recordings)
    for each in recordings:
        if each.answer not in spelling:
            raise DataError(
                f"{each.place}: data.spelling does not have the label {each.answer!r}",
                f"it has {', '.join(spelling)}",
            )
    return [replace(each, answer=spelling[each.answer]) for each in recordings]


def transcribed(recordings: Sequence[Recording], files: Files, table: str) -> list[Recording]:
    """Return the recordings with their texts from a CSV file with the columns file and text.

    `file` is a name below the root. Raises DataError for a recording without a text, and for a
    text without a recording.
    """
    if table not in files.names:
        raise DataError(f"{files.place(table)}: no such file", "data.transcripts names it")
    place = files.place(table)
    texts: dict[str, str] = {}
    for row in columns_of(decoded(files.read(table), place), place, ("file", "text")):
        name, text = row.fields
        if name in texts:
            raise DataError(f"{row.place}: a second text of {name!r}")
        texts[name] = text
    for each in recordings:
        if each.name not in texts:
            raise DataError(f"{each.place}: no text in {table}", "each recording needs one")
    unknown = next(iter(texts.keys() - {each.name for each in recordings}), None)
    if unknown is not None:
        raise DataError(f"{place}: no recording {unknown!r}", "a row has its text")
    return [replace(each, answer=texts[each.name]) for each in recordings]
