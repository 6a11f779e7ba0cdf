"""Keys by which a table is read from its text, and files that are named for what they are."""

import gzip
import io
import tarfile
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bptrain.data.tables import regular_blocks
from bptrain.data.tables.csv_dialect import Dialect
from bptrain.data.tables.csv_table import read_csv
from bptrain.data.tables.table_config import TableConfig
from bptrain.errors import DataError


def write(path: Path, lines: list[str], encoding: str = "utf-8") -> str:
    path.write_bytes("\n".join([*lines, ""]).encode(encoding))
    return str(path)


def inputs(path: str, **keys: Any) -> np.ndarray:
    """Return the inputs of every row, in the order of the file."""
    config = TableConfig(
        **{"path": path, "target": "y", "test_fraction": 0.0, "validation_fraction": 0.0, **keys}
    )
    return config.build(0).train.inputs.numpy()


PLAIN = ["x,y", "1234567,a", "-2000.5,b", ",a", "12,b"]
SPELLED: dict[str, tuple[list[str], dict[str, Any]]] = {
    "commas": (['"1,234,567",a', '"-2,000.5",b', ",a", "12,b"], {"thousands": ","}),
    "points": (
        ["1.234.567;a", "-2.000,5;b", ";a", "12;b"],
        {"thousands": ".", "decimal": ",", "delimiter": ";"},
    ),
    "spaces": (
        ["1\u202f234 567;a", "-2\u00a0000,5;b", ";a", "12;b"],
        {"thousands": " ", "decimal": ",", "delimiter": ";"},
    ),
    "apostrophes": (["1'234'567,a", "-2'000.5,b", ",a", "12,b"], {"thousands": "'"}),
    "a decimal comma": (
        ["1234567;a", "-2000,5;b", ";a", "12,0;b"],
        {"decimal": ",", "delimiter": ";"},
    ),
    "dashes": (["1234567,a", "-2000.5,b", "-,a", "12,b"], {}),
    "markers of pandas": (["1234567,a", "-2000.5,b", "<NA>,a", "12,b"], {}),
    "markers of one's own": (
        ["1234567,a", "-2000.5,b", "Unknown,a", "12,b"],
        {"missing_values": ["unknown"]},
    ),
    "a number for missing": (
        ["1234567,a", "-2000.5,b", "-999.0,a", "12,b"],
        {"missing_values": [-999]},
    ),
    "dollars": (["$1234567,a", "-$2000.5,b", ",a", "$ 12,b"], {}),
    "euros": (["1234567 €,a", "-2000.5€,b", ",a", "12€,b"], {}),
    "percent": (["1234567%,a", "-2000.5 %,b", "n/a,a", "12%,b"], {}),
    "no names": (PLAIN[1:], {"header": ["x", "y"]}),
    "a directive": (["sep=;", "1234567;a", "-2000.5;b", ";a", "12;b"], {"header": ["x", "y"]}),
}


@pytest.mark.parametrize("name", SPELLED)
def test_numbers_are_the_same_however_they_are_spelled(tmp_path: Path, name: str) -> None:
    rows, keys = SPELLED[name]
    header = [] if "header" in keys else [f"x{keys.get('delimiter', ',')}y"]
    read = inputs(write(tmp_path / "t.csv", [*header, *rows]), **keys)
    assert np.array_equal(read, inputs(write(tmp_path / "plain.csv", PLAIN)))
    assert read[2].tolist() == [0.0, 1.0]  # missing


@pytest.mark.parametrize("encoding", ["utf-16", "cp1252", "latin-1", "mac-roman"])
def test_text_is_read_in_its_encoding(tmp_path: Path, encoding: str) -> None:
    lines = ["größe;y", "1,5;köln", "2,5;züri"]
    path = write(tmp_path / "t.csv", lines, encoding)
    dataset = TableConfig(
        path=path, target="y", encoding=encoding, decimal=",", test_fraction=0.0
    ).build(0)
    assert dataset.problem.names == ("köln", "züri")
    assert dataset.prepared["columns"][0]["name"] == "größe"


def test_a_header_may_be_numbers_or_missing(tmp_path: Path) -> None:
    path = write(tmp_path / "t.csv", ["2019,2020", "1,5", "2,6", "3,7"])
    years = read_csv(Path(path), Dialect(header=True))
    assert years.frame.to_dict(as_series=False) == {
        "2019": ["1", "2", "3"],
        "2020": ["5", "6", "7"],
    }
    none = read_csv(Path(path), Dialect(header=False))
    assert none.names == ["column_1", "column_2"]
    assert none.frame["column_1"].to_list() == ["2019", "1", "2", "3"]
    assert none.place(3) == "row 4 (line 4)"
    with pytest.raises(DataError, match=r"first row holds numbers[\s\S]*data.header: false"):
        read_csv(Path(path))
    with pytest.raises(DataError, match=r"data.header names 3 columns"):
        read_csv(Path(path), Dialect(header=["a", "b", "c"]))


def test_quotation_marks_are_of_a_kind_or_characters_like_others(tmp_path: Path) -> None:
    path = Path(write(tmp_path / "t.csv", ["a,b", "'x, y',1", "'it''s',2"]))
    single = read_csv(path, Dialect(quoting="single"))
    assert single.frame["a"].to_list() == ["x, y", "it's"]
    path = Path(write(tmp_path / "u.csv", ["a\tb", '5" pipe\t1', '"open\t2', 'end"\t3']))
    none = read_csv(path, Dialect(quoting="none"))
    assert none.frame["a"].to_list() == ['5" pipe', '"open', 'end"']
    with pytest.raises(DataError, match=r"data.quoting: none"):
        read_csv(path)


@pytest.mark.parametrize("before", [0, 1, 3])
def test_swallowed_rows_are_found_wherever_the_only_tall_cell_is(
    tmp_path: Path, before: int
) -> None:
    rows = ["1,2,x"] * before + ['1,2,"x', "3,4,y", 'z"'] + ["5,6,w"] * 4
    path = tmp_path / "t.csv"
    path.write_text("\n".join(["a,b,c", *rows, ""]))
    with pytest.raises(DataError, match=f"one cell spans lines {before + 2} to {before + 4}"):
        read_csv(path)


def test_a_stray_quotation_mark_does_not_swallow_rows(tmp_path: Path) -> None:
    lines = ["a\tb", 'one\t"two', *[f"{n}\t{n}" for n in range(5)], 'three\tfour"', "five\tsix"]
    with pytest.raises(
        DataError, match=r"one cell spans lines 2 to 8, with the cells of other rows"
    ):
        read_csv(Path(write(tmp_path / "t.tsv", lines)))


def test_blocks_are_joined_in_order_with_their_lines(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = ["a,b", *[f'"cell, {n}\nof two lines",{n}' for n in range(40)]]
    path = Path(write(tmp_path / "t.csv", lines))
    whole = read_csv(path)
    monkeypatch.setattr(regular_blocks, "BLOCK_BYTES", 64)
    parts = read_csv(path)
    assert parts.frame.equals(whole.frame)
    assert parts.place(39) == whole.place(39) == "row 40 (line 81)"
    numbers = read_csv(path, texts=["a"])
    assert numbers.frame["b"].to_list() == [float(n) for n in range(40)]
    assert numbers.frame["a"].to_list() == whole.frame["a"].to_list()


def test_a_column_that_turns_into_text_in_a_later_block_names_the_cell(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(regular_blocks, "BLOCK_BYTES", 64)
    rows = [f"{n},{n % 2}" for n in range(50)]
    rows[45] = "many,1"
    path = write(tmp_path / "t.csv", ["x,y", *rows])
    with pytest.raises(DataError, match=r"'many' in column 'x' is no number[\s\S]*line 47"):
        inputs(path)


def workbook() -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        archive.writestr("[Content_Types].xml", "<Types/>")
    return content.getvalue()


def archive() -> bytes:
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w") as packed:
        packed.addfile(tarfile.TarInfo("t.csv"))
    return content.getvalue()


NAMED: dict[str, tuple[bytes, str, str]] = {
    "gzip": (gzip.compress(b"x,y\n1,2\n"), "is compressed by gzip", "unpack it"),
    "a workbook": (workbook(), "is an Excel workbook", "save the table as CSV"),
    "Parquet": (b"PAR1\x15\x04", "is a Parquet file", "ends in .parquet"),
    "JSON": (b'[{"x": 1}]', "is JSON", "save the table as CSV"),
    "a web page": (b"\n<!DOCTYPE html><html>", "is a web page", "save the table as CSV"),
    "a comment": (b"# from the lab\nx,y\n1,2\n", "the first line is a comment", "remove the lines"),
    "a trailing comma": (
        b"x,y\n1,2,\n3,4,\n5,6,\n",
        "3 rows (line 2, 3, 4) end in a separator too many",
        "remove the ','",
    ),
    "a trailing comma in the header": (b"x,y,\n1,2,\n", "column 3 has no name", "a separator"),
    "ragged rows": (
        b"x,y\n" + b"1,2\n1,2,3\n" * 12,
        "12 rows (line 3, 5, 7, ...) have not 2 cells",
        "line 21 has 3, and 2 more",
    ),
    "a tar archive": (archive(), "is a tar archive", "unpack it"),
    "rich text": (b"{\\rtf1\\ansi x,y\n1,2\n", "in rich text format", "save the table as CSV"),
    "UTF-32": ("x,y\n1,2\n".encode("utf-32"), "is UTF-32", "save the file in UTF-8"),
    "UTF-16": ("x,y\n1,2\n".encode("utf-16"), "is UTF-16", "data.encoding: utf-16"),
    "lines that end in CR": (b"x,y\r1,2\r", "a carriage return (CR)", "end in LF or CRLF"),
    "comments between rows": (
        b"x,y\n1,2\n# a note\n3,4\n  // another\n",
        "2 rows (line 3, 5) begin with a sign that marks comments",
        "remove the comments",
    ),
    "a comment at the end": (b"x,y\n1,2\n# end\n", "line 3 begins with a sign", "remove the comm"),
    "a title": (b"My table\nx,y\n1,2\n", "have not 1 cells", "if the first one is a title"),
    "cp1252": ("x,y\n1,\u2026\n".encode("cp1252"), "not UTF-8 text", "data.encoding: cp1252"),
}


@pytest.mark.parametrize("name", NAMED)
def test_a_file_is_named_for_what_it_is(tmp_path: Path, name: str) -> None:
    content, said, helps = NAMED[name]
    path = tmp_path / "t.csv"
    path.write_bytes(content)
    with pytest.raises(DataError) as refused:
        read_csv(path)
    assert said in str(refused.value)
    assert helps in str(refused.value)


@pytest.mark.parametrize(
    ("first", "helps"),
    [
        ("# measured by us, in may", "if the first one is a comment"),
        ("5,0.5,a", r"data.header: \[names\], if the first row, which holds '5'"),
        ('"x,z,answer"', "the quotation marks around whole lines"),
        ("x,z,anwser", "did you mean 'anwser'"),
    ],
)
def test_names_that_are_none_are_doubted(tmp_path: Path, first: str, helps: str) -> None:
    rows = ['"1,2,a"', '"3,4,b"'] if first.startswith('"') else ["1,2,a", "3,4,b"]
    rows = [each.partition(",")[2] for each in rows] if first.startswith("#") else rows
    path = write(tmp_path / "t.csv", [first, *rows])
    with pytest.raises(DataError, match=helps):
        inputs(path, target="answer")


def test_a_column_of_row_numbers_is_left_out(tmp_path: Path) -> None:
    path = write(tmp_path / "t.csv", [",x,y", "0,1,a", "1,2,b", "2,3,a"])
    dataset = TableConfig(path=path, target="y", test_fraction=0.0).build(0)
    assert [each["name"] for each in dataset.prepared["columns"]] == ["x"]
    assert any("row numbers" in note for note in dataset.notes)
