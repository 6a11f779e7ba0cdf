"""Texts as they are: encodings, compression, folders, tables of every form, class folders."""

import gzip
from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest

from bptrain.data.text.labelled_texts import LabelledTextsConfig
from bptrain.data.text.text_config import TextConfig
from bptrain.data.text.text_file import read_texts
from bptrain.data.text.text_folder_config import TextFolderConfig
from bptrain.data.text.text_table_config import TextTableConfig
from bptrain.errors import DataError

VERSE = "Öl und Brot, zum Abend rot \N{EN DASH} "


@pytest.mark.parametrize("encoding", ["utf-8", "cp1252", "utf-16"])
def test_a_text_is_read_in_the_encoding_of_the_config(tmp_path: Path, encoding: str) -> None:
    path = tmp_path / "verse.TXT"
    path.write_bytes((VERSE * 40).encode(encoding))
    built = TextConfig(path=str(path), encoding=encoding, window=8, batch_size=4).build(0)
    assert set(VERSE) <= set(built.prepared["symbols"])
    prompt = tmp_path / "prompt.txt"
    prompt.write_bytes("rot".encode(encoding))
    config = TextConfig(path=str(path), encoding=encoding)
    given = config.prepare([str(prompt), "rot"], built.prepared).inputs
    assert given[0].equal(given[1])


def test_another_encoding_than_the_named_one_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "verse.txt"
    path.write_bytes(VERSE.encode("cp1252"))
    with pytest.raises(DataError, match=r"another data\.encoding"):
        TextConfig(path=str(path), encoding="shift_jis").build(0)


def test_texts_below_a_folder_are_read_in_order_whatever_the_case_of_their_endings(
    tmp_path: Path,
) -> None:
    for name in ("2/b.TXT", "1.txt", ".hidden.txt", "__MACOSX/x.txt", "notes.md"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(name)
    (tmp_path / "2" / "a.Txt.GZ").write_bytes(gzip.compress(b"packed"))
    assert read_texts(tmp_path) == "1.txt" + "packed" + "2/b.TXT"


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"no gzip at all", "not compressed by gzip"),
        (gzip.compress(b"text " * 500)[:-20], "cut off"),
        (gzip.compress(b"text " * 500)[:-8] + b"12345678", "damaged"),
    ],
    ids=["not packed", "cut off", "damaged"],  # the packed bytes hold the time of packing
)
def test_a_damaged_gzip_file_is_refused(tmp_path: Path, content: bytes, said: str) -> None:
    path = tmp_path / "a.txt.gz"
    path.write_bytes(content)
    with pytest.raises(DataError, match=said):
        read_texts(path)


def test_a_gzip_bomb_is_refused_before_it_fills_the_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.txt.gz"
    path.write_bytes(gzip.compress(bytes(2**23)))
    monkeypatch.setattr("bptrain.data.text.text_file.free_bytes", lambda: 2**26)
    with pytest.raises(DataError, match="too large"):
        read_texts(path)


ROWS = [(f"a {'good' if n % 2 else 'bad'} film no {n}", f"{n % 2}") for n in range(20)]
KEYS = {"validation_fraction": 0.2, "test_fraction": 0.2}


def written(separator: str, rows: list[tuple[str, str]], *first: str) -> str:
    return "\n".join([*first, *(separator.join(row) for row in rows)]) + "\n"


@pytest.mark.parametrize(
    ("name", "content", "keys"),
    [
        ("t.csv", written(";", ROWS, "text;label").encode(), {}),
        ("t.tsv", written("\t", ROWS, "text\tlabel").encode(), {}),
        ("t.csv", written("|", ROWS, "text|label").encode("utf-16"), {"encoding": "utf-16"}),
        ("t.csv", written(",", ROWS).encode(), {"header": ["text", "label"]}),
        ("t.csv", written(",", [(t, f"{y}.0") for t, y in ROWS], "text,label").encode(), {}),
        ("t.parquet", b"", {}),
    ],
    ids=["semicolons", "tabs", "utf-16", "no header", "labels by value", "parquet"],
)
def test_a_table_of_texts_is_read_in_its_own_form(
    tmp_path: Path, name: str, content: bytes, keys: dict
) -> None:
    plain = tmp_path / "plain.csv"
    plain.write_text(written(",", ROWS, "text,label"))
    expected = TextTableConfig(path=str(plain), **KEYS).build(0)
    path = tmp_path / name
    if content:
        path.write_bytes(content)
    else:
        columns = {"text": [row[0] for row in ROWS], "label": [int(row[1]) for row in ROWS]}
        pl.DataFrame(columns).write_parquet(path)
    built = TextTableConfig(path=str(path), **KEYS, **keys).build(0)
    assert built.prepared == expected.prepared
    assert built.contents == expected.contents


def test_a_column_of_texts_alone_may_hold_commas_where_the_name_ends_in_tsv(
    tmp_path: Path,
) -> None:
    path = tmp_path / "new.tsv"
    path.write_text("text\nso, and so\n")
    prepared = {"symbols": ["<padding>", "<unknown>", "so", ",", "and"], "classes": ["0", "1"]}
    samples = TextTableConfig(path="unused").prepare([str(path)], prepared)
    assert samples.inputs.tolist() == [[2, 3, 4, 2]]


def test_rows_without_a_text_or_label_are_dropped_by_a_key(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text(written(",", [*ROWS, ("", "1"), ("lonely", ""), ("n/A", "1")], "text,label"))
    keys = {"path": str(path), **KEYS}
    with pytest.raises(DataError, match=r"row 21 \(line 22\): an empty text"):
        TextTableConfig(**keys).build(0)
    built = TextTableConfig(**keys, missing="drop", missing_values=["N/a"]).build(0)
    assert "left out: 3 of 23 rows: no text or no label" in built.notes
    assert sum(each["samples"] for each in built.contents.values()) == 20


def write_classes(root: Path, each: int = 10) -> None:
    """Write texts in a folder for each class."""
    for number in range(2 * each):
        path = root / ["con", "pro"][number % 2] / f"{number:02}.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"a {['bad', 'good'][number % 2]} film no {number}")


def test_each_folder_of_texts_is_a_class(tmp_path: Path) -> None:
    write_classes(tmp_path)
    built = TextFolderConfig(root=str(tmp_path), **KEYS).build(0)
    assert built.problem.names == ("con", "pro")
    assert [len(each) for each in (built.train, built.validation, built.test)] == [13, 3, 4]
    assert (
        built.test.targets.tolist()
        == TextFolderConfig(root=str(tmp_path), **KEYS).build(1).test.targets.tolist()
    )
    symbols = built.prepared["symbols"]
    for tokens, target in zip(built.train.inputs, built.train.targets.tolist(), strict=True):
        assert ["bad", "good"][target] in {symbols[token] for token in tokens.tolist()}


def test_folders_for_training_and_testing_are_known_by_their_usual_names(tmp_path: Path) -> None:
    write_classes(tmp_path / "Train")
    write_classes(tmp_path / "test_set", each=3)
    built = TextFolderConfig(root=str(tmp_path), validation_fraction=0.2).build(0)
    assert [len(each) for each in (built.train, built.validation, built.test)] == [16, 4, 6]


def test_bad_texts_are_all_said_at_once_or_left_out(bptrain: Callable, tmp_path: Path) -> None:
    write_classes(tmp_path / "d")
    (tmp_path / "d" / "con" / "00.txt").write_bytes("schön".encode("latin1"))
    (tmp_path / "d" / "pro" / "01.txt").write_text(" \n")
    (tmp_path / "c.yaml").write_text(
        "data: {kind: text_folder, root: d, validation_fraction: 0.2, test_fraction: 0.2}\n"
        "model: {kind: rnn, hidden: 4}\ntrain: {steps: 2}\n"
    )
    refused = bptrain("fit", "c.yaml")
    assert refused.exit_code == 3
    for said in ("2 files below d", "con/00.txt", "pro/01.txt: an empty text", "on_bad_file: skip"):
        assert said in refused.stderr
    skipped = bptrain("fit", "c.yaml", "data.on_bad_file=skip", "--run-dir", "run")
    assert skipped.exit_code == 0, skipped.stderr
    assert "left out: 2 of 20 files" in skipped.stdout
    assert bptrain("evaluate", "run").exit_code == 0
    refused = bptrain("evaluate", "run", "d")
    assert (refused.exit_code, "2 files below d" in refused.stderr) == (3, True)
    write_classes(tmp_path / "new", each=4)
    assert bptrain("evaluate", "run", "new").exit_code == 0
    (tmp_path / "new" / "other").mkdir()
    (tmp_path / "new" / "other" / "1.txt").write_text("x")
    refused = bptrain("evaluate", "run", "new")
    assert (refused.exit_code, "a class without training texts" in refused.stderr) == (3, True)


def test_a_class_of_which_nothing_is_left_is_refused(tmp_path: Path) -> None:
    write_classes(tmp_path, each=4)
    for path in (tmp_path / "con").iterdir():
        path.write_bytes(b"")
    with pytest.raises(DataError, match="no training text of class 'con'"):
        TextFolderConfig(root=str(tmp_path), on_bad_file="skip").build(0)


def test_both_kinds_of_labelled_texts_make_the_same_tokens(tmp_path: Path) -> None:
    for kind in (TextTableConfig, TextFolderConfig):
        assert kind.symbols_in is LabelledTextsConfig.symbols_in
