"""Broken tables of texts: exit 3 with the file and the row named, exit 2 for a wrong config."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from bptrain.data.text.text_table_config import TextTableConfig
from bptrain.errors import DataError

CONFIG = """
data: {kind: text_table, path: PATH, validation_fraction: 0.0, test_fraction: 0.0}
model: {kind: mlp}
"""
GOOD = b"text,label\na good film,pos\na bad film,neg\n"


def fit(bptrain: Callable, folder: Path, content: bytes, *words: str) -> object:
    path = folder / "rows.csv"
    path.write_bytes(content)
    config = folder / "config.yaml"
    config.write_text(CONFIG.replace("PATH", str(path)))
    return bptrain("fit", config, *words)


def assert_refused(result: object, *expected: str) -> None:
    assert result.exit_code == 3, result.output  # type: ignore[attr-defined]
    stderr = result.stderr  # type: ignore[attr-defined]
    for words in expected:
        assert words in stderr
    assert len(stderr.strip().splitlines()) <= 6
    assert "Traceback" not in stderr
    assert not Path("runs").exists()


# what is in the file, and words that the error must hold
BROKEN: dict[str, tuple[bytes, tuple[str, ...]]] = {
    "nothing": (b"", ("is empty",)),
    "blank lines": (b"\n\n\n", ("is empty",)),
    "an empty header": (b",\na,b\n", ("column 2 has no name",)),
    "a header alone": (b"text,label\n", ("no rows",)),
    "no header": (
        b"a good film,pos\na bad film,neg\n",
        ("no column 'text'", "'a good film', 'pos'"),
    ),
    "a column misspelt": (b"text,lable\na,b\n", ("no column 'label'", "did you mean 'lable'")),
    "a column twice": (b"text,label,text\na,b,c\n", ("two columns have the same name: 'text'",)),
    "a field too few": (GOOD + b"lonely\n", ("row 3 (line 4) has 1 cells", "the header names 2")),
    "a field too many": (GOOD + b"so, and so,pos\n", ("row 3 (line 4) has 3 cells",)),
    "a row after blank lines": (GOOD + b"\n\nx\n", ("row 3 (line 6)",)),
    "a row after a long one": (GOOD + b'"a\nb\nc",pos\nx\n', ("row 4 (line 7)",)),
    "an empty text": (GOOD + b",pos\n", ("row 3 (line 4): an empty text",)),
    "a blank text": (GOOD + b'" \t",pos\n', ("row 3 (line 4): an empty text",)),
    "an empty label": (GOOD + b"a film,\n", ("row 3 (line 4): no label",)),
    "one class": (b"text,label\na,pos\nb,pos\nc, pos\n", ("one class only", "'pos'")),
    "a quote never closed": (GOOD + b'"a film,pos\n' * 3, ("line 5", "never closed")),
    "text after a quote": (GOOD + b'"a" film,pos\n', ("line 4", "data.quoting: none")),
    "a field without end": (GOOD + b"x" * 200_000 + b",pos\n", ("line 4", "131072")),
    "latin1": (
        GOOD + "schön,pos\n".encode("latin1"),
        ("byte 45, in line 4, is 0xf6", "data.encoding: cp1252"),
    ),
    "utf-16": (GOOD.decode().encode("utf-16"), ("is UTF-16", "data.encoding: utf-16")),
    "a zip file": (b"PK\3\4" + bytes(range(256)), ("is a zip file",)),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_table_is_refused(bptrain: Callable, tmp_path: Path, name: str) -> None:
    content, expected = BROKEN[name]
    assert_refused(fit(bptrain, tmp_path, content), str(tmp_path / "rows.csv"), *expected)


def test_a_broken_test_file_is_refused(bptrain: Callable, tmp_path: Path) -> None:
    test = tmp_path / "test.csv"
    test.write_text("text,label\na film,neutral\n")
    words = ("data.test_fraction=null", f"data.test_path={test}")
    result = fit(bptrain, tmp_path, GOOD, *words)
    assert_refused(result, f"{test}: row 1 (line 2): label 'neutral'")


def test_a_class_that_only_validation_has_is_refused(bptrain: Callable, tmp_path: Path) -> None:
    rows = GOOD + b"".join(b"%d,only%d\n" % (i, i) for i in range(8))
    result = fit(bptrain, tmp_path, rows, "data.validation_fraction=0.5")
    assert_refused(result, "is in no training row")


@pytest.mark.parametrize("name", ["missing.csv", "folder.csv", "pipe.csv", "circle.csv"])
def test_what_is_no_file_is_refused(bptrain: Callable, tmp_path: Path, name: str) -> None:
    (tmp_path / "folder.csv").mkdir()
    (tmp_path / "circle.csv").symlink_to(tmp_path / "circle.csv")
    os.mkfifo(tmp_path / "pipe.csv")
    assert_refused(fit(bptrain, tmp_path, GOOD, f"data.path={tmp_path / name}"), name)


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["data.test_path=test.csv"], "test_fraction and test_path exclude each other"),
        (["data.label_column=text"], "text_column and label_column are both 'text'"),
        (["data.vocabulary=2"], "an integer from 3 to"),
        (["data.max_length=0"], "an integer from 1 to"),
        (["data.unit=sentence"], "one of word, character"),
    ],
)
def test_a_config_that_contradicts_itself_is_refused(
    bptrain: Callable, tmp_path: Path, words: list[str], expected: str
) -> None:
    result = fit(bptrain, tmp_path, GOOD, *words)
    assert result.exit_code == 2
    assert expected in result.stderr


PREPARED = {"symbols": ["<padding>", "<unknown>", "a"], "classes": ["neg", "pos"]}


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        ("", "input 2: an empty text"),
        ("  \n", "input 2: an empty text"),
        ("missing.csv", "missing.csv: not found"),
        ("missing.txt", "missing.txt: not found"),
    ],
)
def test_an_input_that_is_no_text_is_refused(word: str, expected: str) -> None:
    with pytest.raises(DataError, match=expected):
        TextTableConfig(path="unused").prepare(["a", word], PREPARED)


def test_a_table_of_inputs_without_the_column_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "new.csv"
    path.write_text("texts\na\n")
    with pytest.raises(DataError, match="no column 'text'"):
        TextTableConfig(path="unused").prepare([str(path)], PREPARED)
