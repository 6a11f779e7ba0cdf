"""CSV tables: what polars reads is used only where it is what a strict reading row by row gives."""

import csv
import random
from pathlib import Path

import pytest

from bptrain.data.tables import csv_table, regular_blocks
from bptrain.data.tables.csv_table import read_csv
from bptrain.data.tables.table import Table
from bptrain.errors import DataError


def outcome(path: Path) -> tuple[object, ...] | str:
    """Return the cells and lines of a table, or the error."""
    try:
        table = read_csv(path)
    except DataError as error:
        return str(error)
    return table.names, table.frame.rows(), [table.place(row) for row in range(len(table))]


def row_by_row(path: Path) -> tuple[object, ...] | str:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(csv_table, "_regular_blocks", lambda *_: iter(()))
        return outcome(path)


def is_read_by_polars(path: Path, monkeypatch: pytest.MonkeyPatch) -> bool:
    def unexpected(*_: object) -> Table:
        raise AssertionError

    monkeypatch.setattr(csv_table, "_row_blocks", unexpected)
    try:
        read_csv(path)
    except AssertionError:
        return False
    return True


PIECES = [*'ab1,,,;"\n\n\r\t ', "\r\n", '"x"', '","', '""', "é", "\xa0", "\x1c", "\u2028", "\ufeff"]


@pytest.mark.parametrize(
    "seed", [0, *(pytest.param(n, marks=pytest.mark.slow) for n in range(1, 8))]
)
def test_both_ways_to_read_a_file_agree(tmp_path: Path, seed: int) -> None:
    draw, path, read = random.Random(seed), tmp_path / "t.csv", 0
    for _ in range(250):
        text = "x,y\n" + "".join(draw.choices(PIECES, k=draw.randrange(1, 14)))
        path.write_bytes(text.encode() + draw.choices([b"", b"\xff", b"\0"], [98, 1, 1])[0])
        found = outcome(path)
        assert found == row_by_row(path), path.read_bytes()
        read += not isinstance(found, str)
    assert 10 < read < 200


@pytest.mark.parametrize("seed", range(2))
def test_what_is_read_does_not_depend_on_the_blocks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    draw, path, read = random.Random(seed), tmp_path / "t.csv", 0
    for _ in range(150):
        text = "x,y\n" + "".join(draw.choices(PIECES, k=draw.randrange(1, 30)))
        path.write_bytes(text.encode())
        whole = outcome(path)
        with monkeypatch.context() as patch:
            patch.setattr(regular_blocks, "BLOCK_BYTES", 7)
            patch.setattr(csv_table, "ROWS", 2)
            assert outcome(path) == whole, path.read_bytes()
        read += not isinstance(whole, str)
    assert read > 5


CELLS = ["1.5", "", " b ", "a, b", 'say "c"', "two\nlines", "\r\n", "é\xa0", "\x1c\u2028", '"']


@pytest.mark.parametrize("separator", [",", ";", "\t", "|"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("quoting", [csv.QUOTE_MINIMAL, csv.QUOTE_ALL])
def test_what_the_csv_module_writes_is_read_by_polars_and_is_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, separator: str, end: str, quoting: int
) -> None:
    draw, path = random.Random(0), tmp_path / "t.csv"
    rows = [draw.choices(CELLS, k=3) for _ in range(300)]
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, delimiter=separator, lineterminator=end, quoting=quoting)
        writer.writerows([["a", "b", "c"], *rows])
    table = read_csv(path)
    assert table.frame.rows() == [tuple(map(str.strip, row)) for row in rows]
    assert outcome(path) == row_by_row(path)
    assert is_read_by_polars(path, monkeypatch)


@pytest.mark.parametrize(
    "content",
    [
        "x,y\n1,2\n\n3,4\n",
        "x,y\n1\n3,4\n",
        'x,y\n1, "2"\n',
        'x,y\n1,5" pipe\n2,6" pipe\n',
        "x\n1\n\n2\n",
        "x,y\n1,2\r3,4\n",
        "x,y\n1," + "z" * 131_073 + "\n",
        "x,y\n" + '1,"' + "z\n" * 70_000 + '"\n',
        "x,y\n1,\0\n",
    ],
    ids=["blank", "short", "space", "inches", "narrow", "CR", "long", "long quoted", "NUL"],
)
def test_an_irregular_file_is_read_row_by_row(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: str
) -> None:
    path = tmp_path / "t.csv"
    path.write_bytes(content.encode())
    assert outcome(path) == row_by_row(path)
    assert not is_read_by_polars(path, monkeypatch)


def test_more_cells_than_are_read_are_refused_however_they_are_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bptrain.data.tables.table.MOST_CELLS", 10)
    path = tmp_path / "t.csv"
    path.write_text("x,y\n" + "1,2\n" * 5)
    assert len(read_csv(path)) == 5
    path.write_text("x,y\n" + "1,2\n" * 6)
    with pytest.raises(DataError, match="more than 10 cells"):
        read_csv(path)


def test_a_file_larger_than_memory_is_refused_before_it_is_read(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    with path.open("wb") as file:
        file.truncate(2**42)  # 4 TiB of zeros that take no place on the disk
    with pytest.raises(DataError, match="too large"):
        read_csv(path)


@pytest.mark.parametrize("content", ['""\n', '" "\n1\n', "\ufeff"])
def test_a_header_without_a_name_is_refused(tmp_path: Path, content: str) -> None:
    path = tmp_path / "t.csv"
    path.write_text(content)
    with pytest.raises(DataError):
        read_csv(path)
