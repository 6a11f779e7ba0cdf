"""Parquet tables: every type of cell as in CSV, and damaged files refused with the position."""

import csv
import datetime
import io
import random
import struct
import sys
from collections.abc import Callable
from contextlib import suppress
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow
import pytest
from pyarrow import parquet

from bptrain.data.tables import parquet_table
from bptrain.data.tables.table_config import TableConfig
from bptrain.data.tables.table_file import read_table
from bptrain.errors import DataError

HOUR = datetime.datetime(2024, 2, 29, 12, 30, tzinfo=datetime.UTC)
CELLS: dict[str, tuple[Any, list[str]]] = {
    "integers": (pyarrow.array([1, None, -3], pyarrow.int8()), ["1", "", "-3"]),
    "large integers": (pyarrow.array([2**64 - 1, 0], pyarrow.uint64()), [str(2**64 - 1), "0"]),
    "numbers": (pyarrow.array([0.1, None, float("nan"), 1e300]), ["0.1", "", "", "1e+300"]),
    "halves": (pyarrow.array([1.5, None], pyarrow.float16()), ["1.5", ""]),
    "decimals": (pyarrow.array([Decimal("1.50"), None]), ["1.50", ""]),
    "truth values": (pyarrow.array([True, None, False]), ["True", "", "False"]),
    "texts": (pyarrow.array([" ä ", None, "", "ä"]), ["ä", "", "", "ä"]),
    "long texts": (pyarrow.array(["a", None], pyarrow.large_string()), ["a", ""]),
    "views": (pyarrow.array(["a", None], pyarrow.string_view()), ["a", ""]),
    "bytes": (pyarrow.array([b"a\xc3\xa4", None]), ["aä", ""]),
    "fixed bytes": (pyarrow.array([b"ab", None], pyarrow.binary(2)), ["ab", ""]),
    "categories": (pyarrow.array(["p", "q", None, "p"]).dictionary_encode(), ["p", "q", "", "p"]),
    "coded numbers": (pyarrow.array([7, 8, None, 7]).dictionary_encode(), ["7", "8", "", "7"]),
    "days": (pyarrow.array([datetime.date(2024, 2, 29), None]), ["2024-02-29", ""]),
    "nanoseconds": (
        pyarrow.array([1, None], pyarrow.timestamp("ns")),
        ["1970-01-01 00:00:00.000000001", ""],
    ),
    "times in a zone": (
        pyarrow.array([HOUR, None], pyarrow.timestamp("s", "Mars/Olympus")),
        ["2024-02-29 12:30:00", ""],
    ),
    "a far future": (
        pyarrow.array([10**6], pyarrow.int32()).cast(pyarrow.date32()),
        ["4707-11-29"],
    ),
    "times of day": (pyarrow.array([1], pyarrow.time64("ns")), ["00:00:00.000000001"]),
    "durations": (pyarrow.array([90, None], pyarrow.duration("ns")), ["90", ""]),
    "nothing": (pyarrow.nulls(2), ["", ""]),
}


def write(cells: dict[str, Any], path: str | Path = "t.parquet", **options: Any) -> str:
    parquet.write_table(pyarrow.table(cells), path, **options)
    return str(path)


@pytest.mark.parametrize("name", CELLS)
def test_a_cell_is_what_a_csv_file_would_hold(tmp_path: Path, name: str) -> None:
    array, expected = CELLS[name]
    path = write({"a.b": array}, tmp_path / "t.pq")
    assert read_table(Path(path)).frame.to_dict(as_series=False) == {"a.b": expected}


@pytest.mark.parametrize("options", [{}, {"use_dictionary": False, "compression": "zstd"}])
def test_batches_and_groups_of_rows_are_joined_in_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: dict[str, Any]
) -> None:
    monkeypatch.setattr(parquet_table, "BATCH_BYTES", 2 * 3 * parquet_table.CELL_BYTES)  # 3 rows
    rows = list(range(20))
    texts = [f"text {row % 7}" if row % 5 else None for row in rows]
    path = write({"x": rows, "c": texts}, tmp_path / "t.parquet", row_group_size=8, **options)
    table = read_table(Path(path))
    cells = table.frame.to_dict(as_series=False)
    assert cells == {"x": list(map(str, rows)), "c": [text or "" for text in texts]}
    assert table.place(19) == "row 20"


def test_a_parquet_table_equals_its_csv(tmp_path: Path) -> None:
    columns = {
        "x": pyarrow.array([1.5, None, float("nan"), 4.0]),
        "c": pyarrow.array(["a", "b", None, "a"]).dictionary_encode(),
        "0": pyarrow.array([1, None, 3, 4], pyarrow.int16()),
        "y": [False, True, False, True],
    }
    rows = [[1.5, "a", 1, False], ["", "b", "", True], ["", "", 3, False], [4.0, "a", 4, True]]
    with (tmp_path / "t.csv").open("w", newline="") as file:
        csv.writer(file).writerows([list(columns), *rows])
    tables = [
        TableConfig(path=path, target="y", test_fraction=0.0, validation_fraction=0.0).build(0)
        for path in (write(columns, tmp_path / "t.parquet"), str(tmp_path / "t.csv"))
    ]
    assert tables[0].train.inputs.equal(tables[1].train.inputs)
    assert tables[0].train.targets.equal(tables[1].train.targets)
    assert tables[0].problem.names == ("False", "True")


def good(rows: int = 40) -> dict[str, Any]:
    numbers = [row / 7 for row in range(rows)]
    return {"x": numbers, "c": [f"color {row % 3}" for row in range(rows)], "y": [0, 1] * 20}


def image(cells: dict[str, Any], **options: Any) -> bytes:
    buffer = io.BytesIO()
    parquet.write_table(pyarrow.table(cells), buffer, **options)
    return buffer.getvalue()


VALID = image(good(), compression="zstd", write_page_checksum=True)


def flipped(at: int) -> bytes:
    return VALID[:at] + bytes([VALID[at] ^ 1]) + VALID[at + 1 :]


def of(cells: list[Any] | Any) -> bytes:
    return image({"c": cells, "y": pyarrow.array(range(len(cells)))})


def bomb() -> bytes:
    """Return a million rows of one text of a megabyte, in a few kilobytes."""
    text = pyarrow.array(["x" * 10**6])
    cells = pyarrow.DictionaryArray.from_arrays(pyarrow.nulls(10**6, "int32").fill_null(0), text)
    return image({"c": cells, "y": pyarrow.nulls(10**6, "int8")}, compression="zstd")


def nested(depth: int) -> Any:
    """Return an array of one record within so many others."""
    array = pyarrow.array([1])
    for _ in range(depth):
        array = pyarrow.StructArray.from_arrays([array], ["a"])
    return array


BROKEN: dict[str, tuple[Callable[[], bytes], str]] = {
    "empty": (lambda: b"", "no valid Parquet file"),
    "a CSV file": (lambda: b"x,y\n1,2\n" * 99, "a text file's name ends in .csv"),
    "an end without a file": (lambda: b"PAR1" + bytes(100) + b"PAR1", "no valid Parquet file"),
    "cut short": (lambda: VALID[:-9], "no valid Parquet file"),
    "without its head": (lambda: VALID[99:], "no valid Parquet file"),
    "a bit of a page changed": (lambda: flipped(60), "no valid Parquet file"),
    "a footer longer than the file": (
        lambda: VALID[:-8] + struct.pack("<I", 2**31) + b"PAR1",
        "no valid Parquet file",
    ),
    "no rows": (lambda: of(pyarrow.array([], "int8")), "has no rows"),
    "no columns": (lambda: image({}), "has no rows"),
    "lists": (lambda: of([[1, 2], [3]]), "column 'c' holds list<"),
    "records": (lambda: of([{"a": 1}]), "column 'c' holds struct<"),
    "records without end": (lambda: of(nested(200)), "too deeply nested"),
    "lists in an extension": (
        lambda: of(
            pyarrow.FixedShapeTensorArray.from_storage(
                pyarrow.fixed_shape_tensor(pyarrow.int8(), [2]),
                pyarrow.array([[1, 2]], pyarrow.list_(pyarrow.int8(), 2)),
            )
        ),
        "column 'c' holds extension<",
    ),
    "pictures": (lambda: of([b"a", b"b", b"\x89PNG"]), "row 3 holds the byte 0x89"),
    "fixed bytes that are no text": (
        lambda: of(pyarrow.array([b"ab", b"c\xff"], pyarrow.binary(2))),
        "row 2 holds the byte 0xff",
    ),
    "cells of megabytes": (
        lambda: of(["a", "x" * 140_000]),
        "row 2; a cell is at most 131,072 bytes",
    ),
    "wide cells of one size": (
        lambda: of(pyarrow.array([bytes(140_000)], pyarrow.binary(140_000))),
        "has cells of 140,000 bytes",
    ),
    "a bomb of text": (bomb, "a cell of 1,000,000 bytes"),
    "a bomb of rows": (
        lambda: image({str(n): pyarrow.nulls(10**6) for n in range(201)}),
        "more than 200,000,000 cells",
    ),
    "the index of pandas alone": (
        lambda: image({"y": [0, 1], "__index_level_0__": [0, 2]}),
        "no column besides the target",
    ),
    "an infinite number": (lambda: of([1.5, float("inf")]), "row 2"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_parquet_file_is_refused(bptrain: Callable, tmp_path: Path, name: str) -> None:
    make, said = BROKEN[name]
    (tmp_path / "t.parquet").write_bytes(make())
    (tmp_path / "c.yaml").write_text(
        "data: {kind: table, path: t.parquet, target: y}\nmodel: {kind: mlp}\ntrain: {steps: 1}\n"
    )
    result = bptrain("fit", "c.yaml")
    assert result.exit_code == 3, result.output
    assert result.stderr.startswith("error: t.parquet: ")
    assert said in result.stderr
    assert len(result.stderr.strip().splitlines()) <= 6
    assert not (tmp_path / "runs").exists()


def test_all_texts_together_are_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parquet_table, "MOST_TEXT", 100)
    path = write({"c": ["ab"] * 1000, "y": range(1000)}, tmp_path / "t.parquet")
    assert len(read_table(Path(path))) == 1000
    path = write({"c": [f"{n:02}" for n in range(51)]}, tmp_path / "u.parquet")
    with pytest.raises(DataError, match="more than 100 bytes of text"):
        read_table(Path(path))


def test_a_table_larger_than_the_free_memory_is_refused_before_it_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write({"c": pyarrow.nulls(10**6, pyarrow.string())}, tmp_path / "t.parquet")
    monkeypatch.setattr("bptrain.data.text.text_file.free_bytes", lambda: 10**7)
    with pytest.raises(DataError, match="too large"):
        read_table(Path(path))


@pytest.mark.parametrize("options", [{}, {"compression": "zstd", "write_page_checksum": True}])
def test_a_parquet_file_with_random_damage_is_read_or_refused(
    tmp_path: Path, options: dict[str, Any]
) -> None:
    content, draw = image(good(), **options), random.Random(0)
    path, read = tmp_path / "t.parquet", 0
    for _ in range(400):
        data = bytearray(
            content[: draw.randrange(len(content))] if draw.random() < 0.1 else content
        )
        for _ in range(draw.choice((1, 2, 8))):
            if data:
                data[draw.randrange(len(data))] = draw.choice((0, 255, draw.randrange(256)))
        path.write_bytes(data)
        with suppress(DataError):  # whatever else is raised fails the test
            read_table(path)
            read += 1
    assert 0 < read < 400


def test_without_pyarrow_a_parquet_file_says_what_to_install(
    bptrain: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    (tmp_path / "t.parquet").write_bytes(VALID)
    (tmp_path / "c.yaml").write_text(
        "data: {kind: table, path: t.parquet, target: y}\nmodel: {kind: mlp}\n"
    )
    result = bptrain("fit", "c.yaml")
    assert result.exit_code == 2
    assert "bptrain's extra 'parquet'" in result.stderr
    assert "pip install pyarrow" in result.stderr
