"""Tables read in parts: the cells, places and errors of the same tables read as a whole."""

import random
from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from bptrain.data.encodings import Encoding
from bptrain.data.tables import (
    column_encoding,
    csv_bytes,
    csv_table,
    parquet_table,
    regular_blocks,
    unfit_rows,
)
from bptrain.data.tables.cell_format import CellFormat
from bptrain.data.tables.csv_dialect import Dialect
from bptrain.data.tables.left_out_rows import LeftOutRows
from bptrain.data.tables.table_config import TableConfig
from bptrain.data.tables.table_file import read_table
from bptrain.data.tables.table_parts import TableFile
from bptrain.errors import DataError

ROWS = 150
COLORS = ["red", "blué", "", "two\nlines"]


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have files read in blocks of a few rows."""
    monkeypatch.setattr(regular_blocks, "BLOCK_BYTES", 512)
    monkeypatch.setattr(csv_table, "ROWS", 16)
    monkeypatch.setattr(csv_bytes, "PIECE", 101)
    monkeypatch.setattr(parquet_table, "BATCH_BYTES", 16 * 4 * 20)


def rows(count: int = ROWS) -> list[list[str]]:
    draw = random.Random(0)
    return [
        [
            str(n / 4),
            draw.choice(["red", "blué", "", "two\nlines"]),
            f"2024-01-{n % 28 + 1:02}",
            "a",
        ]
        for n in range(count)
    ]


def written(path: Path, cells: list[list[str]], encoding: str = "utf-8") -> Path:
    lines = [",".join(f'"{c}"' if "\n" in c else c for c in row) for row in cells]
    text = "\n".join(["size,color,day,y", *lines, ""])
    path.write_bytes(text.encode(encoding))
    return path


def plain(path: Path) -> None:
    written(path, rows())


def irregular_at_the_end(path: Path) -> None:
    written(path, rows())
    with path.open("a", encoding="utf-8") as file:
        file.write('\n7, "red",2024-01-01,a\n')


def parquet(path: Path) -> None:
    names = ["size", "color", "day", "y"]
    columns = dict(zip(names, zip(*rows(), strict=True), strict=True))
    pl.DataFrame(columns).with_columns(pl.col("size").cast(float)).write_parquet(
        path, row_group_size=64
    )


@pytest.mark.parametrize(
    ("name", "write", "encoding"),
    [
        ("t.csv", plain, "utf-8"),
        ("t.csv", irregular_at_the_end, "utf-8"),
        ("t.csv", lambda path: written(path, rows(), "utf-16"), "utf-16"),
        ("t.csv", lambda path: written(path, rows(), "cp1252"), "cp1252"),
        ("t.parquet", parquet, "utf-8"),
    ],
    ids=["regular", "irregular at the end", "utf-16", "cp1252", "parquet"],
)
@pytest.mark.parametrize("size", [7, 64, 1000])
def test_parts_together_are_the_whole_table(
    tmp_path: Path, name: str, write: Callable[[Path], object], encoding: Encoding, size: int
) -> None:
    path, form, dialect = tmp_path / name, CellFormat(), Dialect(encoding=encoding)
    write(path)
    texts = ["color", "day", "y"]
    whole = read_table(path, dialect, form, texts)
    left_out = LeftOutRows()
    parts, shares = [], []
    for part in TableFile(path, dialect, form, texts).parts(size, left_out):
        parts.append(part)
        shares.append(left_out.share)
    assert pl.concat([part.frame for part in parts]).equals(whole.frame)
    assert {len(part) for part in parts[:-1]} <= {size}
    places = [part.place(row) for part in parts for row in range(len(part))]
    assert places == [whole.place(row) for row in range(len(whole))]
    assert (left_out.rows, left_out.count) == (len(whole), 0)
    assert shares[-1] == pytest.approx(1)
    assert len(shares) < 3 or 0 < shares[0] < 0.9


@pytest.fixture
def trained(tmp_path: Path) -> tuple[TableConfig, dict]:
    """Return the config of a table, and how its columns were encoded."""
    cells = [[*row[:3], "ab"[n % 2]] for n, row in enumerate(rows())]
    path = written(tmp_path / "training.csv", cells)
    config = TableConfig(path=str(path), target="y")
    return config, dict(config.build(0).prepared)


def in_parts(
    config: TableConfig, path: Path, prepared: dict
) -> tuple[np.ndarray, list, LeftOutRows]:
    """Return the inputs of a table that is read in parts, the rows' numbers, and those left out."""
    left_out = LeftOutRows()
    parts = list(config.prepare_parts(path, prepared, 8, left_out))
    inputs = np.concatenate([part.samples.inputs for part in parts]) if parts else np.zeros((0,))
    return inputs, [number for part in parts for number in part.numbers], left_out


def error_of(call: Callable[[], object]) -> str:
    with pytest.raises(DataError) as caught:
        call()
    return str(caught.value)


BAD = {
    "a number": [(90, 0, "many")],
    "three numbers alike": [(5, 0, "unknown"), (90, 0, "unknown"), (149, 0, "unknown")],
    "decimal commas": [(n, 0, '"1,5"') for n in range(30, 60)],
    "infinite": [(100, 0, "1e300")],
    "dates": [(20, 2, "yesterday"), (140, 2, "")],
    "the first and the last": [(0, 2, "x"), (149, 2, "y")],
}


@pytest.mark.parametrize("name", BAD)
def test_bad_rows_are_left_out_and_named_as_in_a_whole_reading(
    trained: tuple[TableConfig, dict], tmp_path: Path, name: str
) -> None:
    config, prepared = trained
    good = config.prepare([str(written(tmp_path / "good.csv", rows()))], prepared).inputs
    cells = rows()
    for row, column, cell in BAD[name]:
        cells[row][column] = cell
    path = written(tmp_path / "bad.csv", cells)
    inputs, numbers, left_out = in_parts(config, path, prepared)
    unfit = {row for row, _, cell in BAD[name] if cell}
    kept = [row for row in range(ROWS) if row not in unfit]
    assert numbers == [row + 1 for row in kept]
    same = [row not in {row for row, *_ in BAD[name]} for row in kept]
    np.testing.assert_array_equal(inputs[same], good[kept][same])
    assert (left_out.rows, left_out.count) == (ROWS, len(unfit))
    assert [str(error) for error in left_out.errors()] == [
        error_of(lambda: config.prepare([str(path)], prepared))
    ]


def test_missing_cells_are_named_as_in_a_whole_reading(
    trained: tuple[TableConfig, dict], tmp_path: Path
) -> None:
    config, prepared = trained
    config = config.model_copy(update={"missing": "error"})
    cells = [[row[0], row[1] or "red", *row[2:]] for row in rows()]
    for row, column in ((140, 0), (60, 0), (10, 2), (60, 2)):
        cells[row][column] = "NA"
    path = written(tmp_path / "holes.csv", cells)
    _, numbers, left_out = in_parts(config, path, prepared)
    assert len(numbers) == ROWS - 3
    assert left_out.count == 3
    whole = error_of(lambda: config.prepare([str(path)], prepared))
    assert [str(error) for error in left_out.errors()] == [whole]
    assert "row 61 " in whole
    assert "4 cells are missing: 2 in 'size', 2 in 'day'" in whole


def test_rows_of_another_length_are_left_out_and_named_as_in_a_whole_reading(
    trained: tuple[TableConfig, dict], tmp_path: Path
) -> None:
    config, prepared = trained
    cells = [row if n not in (3, 100) else [*row, "more"] for n, row in enumerate(rows())]
    path = written(tmp_path / "ragged.csv", cells)
    _, numbers, left_out = in_parts(config, path, prepared)
    assert numbers == [n for n in range(1, ROWS + 1) if n not in (4, 101)]
    assert (left_out.rows, left_out.count) == (ROWS, 2)
    assert [str(error) for error in left_out.errors()] == [
        error_of(lambda: config.prepare([str(path)], prepared))
    ]


def test_what_was_read_before_an_error_is_right(
    trained: tuple[TableConfig, dict], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config, prepared = trained
    whole = config.prepare([str(written(tmp_path / "good.csv", rows()))], prepared).inputs
    path = written(tmp_path / "cut.csv", rows())
    content = path.read_bytes()
    path.write_bytes(content[:-30] + b"\0" + content[-30:])
    refused = error_of(lambda: config.prepare([str(path)], prepared))
    monkeypatch.setattr(column_encoding, "MOST_ROWS", 8)
    parts = config.prepare_parts(path, prepared, 4, LeftOutRows())
    found: list[np.ndarray] = []
    assert error_of(lambda: found.extend(part.samples.inputs.numpy() for part in parts)) == refused
    read = np.concatenate(found)
    assert 100 < len(read) < ROWS
    np.testing.assert_array_equal(read, whole[: len(read)])


def test_few_of_many_bad_cells_are_kept(
    trained: tuple[TableConfig, dict], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config, prepared = trained
    path = written(tmp_path / "bad.csv", [["x", *row[1:]] for row in rows()])
    whole = error_of(lambda: config.prepare([str(path)], prepared))
    monkeypatch.setattr(unfit_rows, "KEPT", 20)
    _, numbers, left_out = in_parts(config, path, prepared)
    assert (numbers, left_out.count) == ([], ROWS)
    assert [str(error) for error in left_out.errors()] == [whole]
