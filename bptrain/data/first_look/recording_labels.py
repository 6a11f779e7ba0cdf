"""Where the labels of recordings are: in folders, in file names, or in a table of transcripts."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from bptrain.data.audio.folder_or_zip import Files
from bptrain.data.audio.transcript_files import (
    BESIDE,
    MANIFESTS,
    PER_FOLDER,
    texts_of,
    transcript_files,
)
from bptrain.data.class_folders import part_of
from bptrain.data.notes import listed
from bptrain.data.tables.table_file import TABLE
from bptrain.errors import DataError, UsageError

BETWEEN = ("_", "-")  # fields of a file name
MOST_TABLES = 10  # files that may be transcripts and are looked into
MOSTLY = 0.9  # of the recordings have a text
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
    if where := find_transcripts(files, names):
        pattern = "/".join([*(f"{{folder{n}}}" for n in range(1, depths[0])), f"{{name}}{ending}"])
        keys = {"pattern": pattern, "task": "transcription", "transcripts": where}
        return Labels(keys, {"transcripts": "the spoken texts of these recordings are there"})
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


def find_transcripts(files: Files, recordings: Sequence[str]) -> str:
    """Return where the spoken texts of recordings are, "" if there are none."""
    if any(name.endswith(PER_FOLDER[1:]) for name in files.names):
        return PER_FOLDER
    if len(transcript_files(files, BESIDE, recordings)) >= MOSTLY * len(recordings):
        return BESIDE
    may_be = [name for name in files.names if TABLE.has(name) or name.lower().endswith(MANIFESTS)]
    for name in sorted(may_be, key=lambda each: (each.count("/"), each))[:MOST_TABLES]:
        try:
            found = texts_of(files, name, {}, recordings)
        except DataError:  # a table of something else
            continue
        if len(found) >= MOSTLY * len(recordings):
            return name
    return ""


def _no_labels(path: Path, why: str) -> UsageError:
    return UsageError(f"{path}: nothing tells the classes of the recordings", why, BY_HAND)
