"""The spoken texts of recordings, from files in the forms that are usual.

Table     .csv, .tsv or .parquet: a column of file names and one of texts, found or named. Without a
          header, as in LJSpeech's metadata.csv (ID|text|normalized text), the first names the file
          and the last is the text. Where | is between cells, quotation marks are part of the text
Manifest  .jsonl, .json: a JSON object a line, such as {"audio_filepath": ..., "text": ...}
*.trans.txt   beside the recordings, a line `ID text` for each, as in LibriSpeech
*.txt     a file beside each recording, of its name
Names     are paths below the root, or absolute ones, with or without their ending; where only one
          recording has it, the last part of a path is enough
"""

import csv
import json
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from bptrain.data.audio.folder_or_zip import Files, Folder
from bptrain.data.notes import listed
from bptrain.data.tables.csv_dialect import SUFFIXES, TABULATED, Dialect
from bptrain.data.tables.csv_errors import holds_rows, swallowed_rows
from bptrain.data.tables.table_file import TABLE, read_table
from bptrain.data.text.text_file import decoded
from bptrain.errors import DataError

BESIDE, PER_FOLDER = "*.txt", "*.trans.txt"
MANIFESTS = (".jsonl", ".json")
FILE_NAMES = ("audio_filepath", "file", "path", "file_name", "filename", "audio", "wav", "clip")
TEXT_NAMES = ("text", "transcript", "transcription", "sentence", "normalized_text", "utterance")
LOOKED_AT = 200  # rows by which a column of file names is told
UTF8 = "save it in UTF-8"


class Said(NamedTuple):
    """The text of a recording, by a name of it; `place` is where it stands, for errors."""

    place: str
    name: str
    text: str


class Names:
    """The recordings, found by what a transcript calls them."""

    def __init__(self, files: Files, recordings: Sequence[str]) -> None:
        self.files = files
        self.by_name = {name: name for name in recordings}
        self.by_last: dict[str, list[str]] = {}
        for name in recordings:
            path = PurePosixPath(name)
            self.by_name.setdefault(str(path.with_suffix("")), name)
            for last in {path.name, path.stem}:
                self.by_last.setdefault(last, []).append(name)

    def recording(self, name: str) -> str | None:
        """Return the recording that a text calls so, None if there is none or several."""
        plain = str(PurePosixPath(name.strip().replace("\\", "/")))
        if (found := self.by_name.get(plain)) is not None:
            return found
        same = self.by_last.get(PurePosixPath(plain).name, [])
        return same[0] if len(same) == 1 else None


def texts_of(
    files: Files, where: str, columns: Mapping[str, str], recordings: Sequence[str]
) -> dict[str, str]:
    """Return the text of each recording that has one.

    where    a file below the root, or *.txt or *.trans.txt
    columns  names of the columns `file` and `text`, where they are not to be found

    Raises DataError for what cannot be read, a text without a recording, and a second text of one.
    """
    names = Names(files, recordings)
    texts: dict[str, str] = {}
    unknown: list[Said] = []
    for said in said_in(files, where, columns, names):
        name = names.recording(said.name)
        if name is None:
            unknown.append(said)
        elif name in texts:
            raise DataError(f"{said.place}: a second text of {said.name!r}")
        else:
            texts[name] = said.text
    if unknown:
        raise DataError(
            f"{unknown[0].place}: no recording {unknown[0].name!r}",
            f"{len(unknown):,} texts are of recordings that are not there, or of several",
            "remove these rows, or data.pattern that finds the recordings",
        )
    return texts


def transcript_files(files: Files, where: str, recordings: Sequence[str]) -> set[str]:
    """Return the names of the files that hold the texts."""
    if where == PER_FOLDER:
        return {name for name in files.names if name.endswith(PER_FOLDER[1:])}
    if where == BESIDE:
        beside = {str(PurePosixPath(name).with_suffix(".txt")) for name in recordings}
        return beside & set(files.names)
    return {where}


def said_in(files: Files, where: str, columns: Mapping[str, str], names: Names) -> Iterator[Said]:
    """Yield every text, or raise DataError."""
    if where in (BESIDE, PER_FOLDER):
        yield from _beside(files, where, names)
        return
    if where not in files.names:
        place = files.place(where)
        why = f"there is no {Path(place).absolute()}, which data.transcripts names"
        raise DataError(f"{place}: no such file", why, "a path below data.path")
    if where.lower().endswith(MANIFESTS):
        yield from _manifest(files, where, columns)
        return
    header, rows = rows_of(files, where, names)
    file, text = _columns(files.place(where), header, rows, columns, names)
    for place, cells in rows:
        yield Said(place, cells[file], cells[text])


def _beside(files: Files, where: str, names: Names) -> Iterator[Said]:
    for path in sorted(transcript_files(files, where, sorted(set(names.by_name.values())))):
        place = files.place(path)
        text = decoded(files.read(path), place, hint=UTF8)
        folder = PurePosixPath(path).parent
        if where == BESIDE:
            yield Said(place, str(PurePosixPath(path).with_suffix("")), " ".join(text.split()))
            continue
        for number, line in enumerate(text.splitlines(), start=1):
            name, _, said = line.strip().partition(" ")
            if name:
                yield Said(f"{place}: line {number:,}", str(folder / name), said.strip())


def _manifest(files: Files, where: str, columns: Mapping[str, str]) -> Iterator[Said]:
    place = files.place(where)
    lines = decoded(files.read(where), place, hint=UTF8).splitlines()
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        here = f"{place}: line {number:,}"
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise DataError(f"{here}: no JSON", str(error), "a JSON object in each line") from error
        if not isinstance(row, dict):
            raise DataError(f"{here}: no JSON object", "", "an object such as {...} in each line")
        cells = {str(key): value for key, value in row.items() if isinstance(value, str)}
        keys = [
            _named(here, list(cells), columns.get(kind), usual, kind)
            for kind, usual in (("file", FILE_NAMES), ("text", TEXT_NAMES))
        ]
        yield Said(here, cells[keys[0]], cells[keys[1]])


Rows = list[tuple[str, Sequence[str]]]


def rows_of(files: Files, where: str, names: Names) -> tuple[list[str], Rows]:
    """Return the header of a table, [] where it has none, and its rows with their places."""
    place = files.place(where)
    if TABLE.has(where) and not where.lower().endswith(SUFFIXES):
        if not isinstance(files, Folder):
            raise DataError(f"{place}: a Parquet file in a zip file", hint="unpack the zip file")
        table = read_table(Path(place))
        cells = zip(
            *(map(str, table.column(name, "").to_list()) for name in table.names), strict=True
        )
        return table.names, [(f"{place}: {table.place(n)}", row) for n, row in enumerate(cells)]
    text = decoded(files.read(where), place, hint=UTF8)
    first = text.partition("\n")[0]
    separator = (
        "\t" if where.lower().endswith(TABULATED) else Dialect(quoting="none").separator(first)
    )
    dialect = Dialect(quoting="none" if separator == "|" else "double")
    reader = dialect.reader(text.splitlines(keepends=True), separator, skips_spaces=False)
    try:
        rows = [(f"{place}: line {reader.line_num:,}", row) for row in reader if row]
    except csv.Error as error:
        raise DataError(f"{place}: line {reader.line_num:,}: {error}") from error
    if not rows:
        raise DataError(f"{place}: is empty")
    _refuse_swallowed_rows(place, rows, separator)
    if any(names.recording(cell) for cell in rows[0][1] if cell):
        return [], rows
    if len(rows) == 1:
        raise DataError(f"{place}: no rows below the header")
    for here, row in rows[1:]:
        if len(row) != len(rows[0][1]):
            raise DataError(
                f"{here}: {len(row)} fields, the header names {len(rows[0][1])}",
                f"cells are separated by {separator!r}",
            )
    return [cell.strip() for cell in rows[0][1]], rows[1:]


def _refuse_swallowed_rows(place: str, rows: Rows, separator: str) -> None:
    """Raise DataError for a cell that holds other rows: a stray quotation mark opened it."""
    for here, row in rows:
        for cell in row:
            if "\n" in cell and holds_rows(cell, separator, len(rows[0][1]) - 1):
                raise swallowed_rows(place, cell, int(here.rpartition(" ")[2].replace(",", "")))


def _columns(
    place: str, header: Sequence[str], rows: Rows, columns: Mapping[str, str], names: Names
) -> tuple[int, int]:
    """Return which cell of a row names the file, and which is the text."""
    if not header:
        return 0, -1
    file = columns.get("file") or file_column(header, rows, names)
    others = [name for name in header if name != file]
    usual = others if len(others) == 1 else TEXT_NAMES
    text = _named(place, others, columns.get("text"), usual, "text")
    return header.index(_named(place, header, file, (), "file")), header.index(text)


def file_column(header: Sequence[str], rows: Rows, names: Names) -> str | None:
    """Return the column whose cells name the most recordings, if one does."""
    counts = {
        name: sum(names.recording(row[place]) is not None for _, row in islice(rows, LOOKED_AT))
        for place, name in enumerate(header)
    }
    best = max(counts, key=lambda name: counts[name])
    return best if counts[best] else None


def _named(
    place: str, there: Sequence[str], given: str | None, usual: Sequence[str], kind: str
) -> str:
    """Return the column that a config names, or the one with a usual name."""
    lower = {name.lower(): name for name in reversed(there)}
    found = given if given in there else None
    if given is None:
        found = next((lower[name] for name in map(str.lower, usual) if name in lower), None)
    if found is None:
        wanted = f"no column {given!r}" if given else f"nothing tells which column is the {kind}"
        raise DataError(
            f"{place}: {wanted}",
            f"there are {listed(list(there), 10)}",
            f"data.transcript_columns: {{{kind}: NAME}}",
        )
    return found
