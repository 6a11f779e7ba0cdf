"""Where the labels of recordings are: in folders, in file names, or in a table of transcripts."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from bptrain.data.audio.folder_or_zip import Files
from bptrain.data.class_folders import part_of
from bptrain.data.notes import listed
from bptrain.data.tables.csv_columns import SUFFIXES
from bptrain.data.text.text_file import decoded
from bptrain.errors import UsageError

BETWEEN = ("_", "-")  # fields of a file name
MOST_TABLES = 10  # files that may be transcripts and are looked into
COLUMNS = ("file", "text")
BY_HAND = (
    "a folder for each class, or bptrain init audio_folder, for a config to fill in: data.pattern "
    "says where in the names the class is"
)


@dataclass(frozen=True)
class Labels:
    """Keys of the config that say where the labels are, each with its evidence."""

    keys: Mapping[str, Any]
    reasons: Mapping[str, str] = field(default_factory=dict)


def find_labels(path: Path, files: Files, names: Sequence[str], ending: str) -> Labels:
    """Return where the labels of recordings are, or raise UsageError where nothing tells.

    names   of the recordings below `path`
    ending  of all of them, in lower case
    """
    parts = [PurePosixPath(name).with_suffix("").parts for name in names]
    depths = sorted({len(each) for each in parts})
    if len(depths) > 1:
        raise _no_labels(path, "some recordings lie deeper in folders than others")
    if table := _transcripts(files):
        pattern = "/".join([*(f"{{folder{n}}}" for n in range(1, depths[0])), f"{{name}}{ending}"])
        keys = {"pattern": pattern, "task": "transcription", "transcripts": table}
        return Labels(keys, {"transcripts": f"its columns are {' and '.join(COLUMNS)}"})
    folders = {each[0] for each in parts} if depths[0] > 1 else set()
    splits = {name: part_of(name) for name in folders}
    if "train" in splits.values() and all(splits.values()):
        labels = _labels_in(path, [each[1:] for each in parts], ending)
        return _divided(labels, splits)
    return _labels_in(path, parts, ending)


def _labels_in(path: Path, parts: Sequence[tuple[str, ...]], ending: str) -> Labels:
    """Return the labels in the last folder of names, or in the names of the files."""
    depth = len(parts[0])
    if depth > 2:
        raise _no_labels(path, f"the recordings lie {depth - 1} folders deep")
    if depth == 2:
        classes = {folder for folder, _ in parts}
        if len(classes) < 2:
            raise _no_labels(path, f"all recordings lie in one folder, {listed(list(classes))}")
        reasons = {"pattern": "guessed: the folder of a recording is its class"}
        return Labels({"pattern": f"{{label}}/{{name}}{ending}"}, reasons)
    return _labels_in_names(path, [name for (name,) in parts], ending)


def _labels_in_names(path: Path, stems: Sequence[str], ending: str) -> Labels:
    for between in BETWEEN:
        fields = [stem.split(between) for stem in stems]
        number = len(fields[0])
        if number < 2 or any(len(each) != number or not all(each) for each in fields):
            continue
        for place, values in enumerate(zip(*fields, strict=True)):
            if 2 <= len(set(values)) <= len(stems) / 2:
                words = [f"{{part{n}}}" for n in range(1, number + 1)]
                words[place] = "{label}"
                shown = listed(sorted(set(values)))
                reason = f"guessed: part {place + 1} of the file names repeats: {shown}"
                return Labels({"pattern": between.join(words) + ending}, {"pattern": reason})
    raise _no_labels(path, "the file names have no part that repeats")


def _divided(labels: Labels, splits: Mapping[str, str | None]) -> Labels:
    """Return the labels of recordings that lie in a folder for each split."""
    keys = {**labels.keys, "pattern": f"{{split}}/{labels.keys['pattern']}"}
    reasons = dict(labels.reasons)
    if tests := sorted(name for name, part in splits.items() if part == "test"):
        keys["test"] = {"kind": "field", "field": "split", "values": tests}
        reasons["test"] = f"the recordings in {listed(tests)} are for testing"
    if others := sorted(name for name, part in splits.items() if part == "val"):
        reasons["pattern"] += f"; the recordings in {listed(others)} are for training, too"
    return Labels(keys, reasons)


def _transcripts(files: Files) -> str:
    """Return the name of the table of transcripts, "" if there is none."""
    tables = [name for name in files.names if name.lower().endswith(SUFFIXES[0])]
    for name in tables[:MOST_TABLES]:
        header = decoded(files.read(name), files.place(name)).partition("\n")[0]
        if set(COLUMNS) <= {word.strip().strip('"') for word in header.split(",")}:
            return name
    return ""


def _no_labels(path: Path, why: str) -> UsageError:
    return UsageError(f"{path}: nothing tells the classes of the recordings", why, BY_HAND)
