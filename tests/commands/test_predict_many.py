"""`predict` of folders, patterns, lists and standard input, past inputs that cannot be read."""

import csv
import json
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from errno import ENOSPC
from io import StringIO
from pathlib import Path

import image_sets
import polars as pl
import pytest
from click.testing import Result
from typer.testing import CliRunner

from bptrain.cli import app
from bptrain.commands import predict_many
from bptrain.commands.predict import predict as whole_predictions
from bptrain.commands.predict import to_csv, to_rows
from bptrain.data.tables import column_encoding, regular_blocks
from bptrain.data.text import text_table_config
from bptrain.experiment.prediction import Predictor
from bptrain.monitor.console import lines_of

IMAGES = """
data: {kind: image_folder, root: photos, size: 8, batch_size: 4}
model: {kind: mlp, hidden: []}
train: {steps: 3}
"""
TEXTS = """
data: {kind: text_table, path: t.csv, batch_size: 4}
model: {kind: rnn, hidden: 4}
train: {steps: 3}
"""
TABLE = """
data: {kind: table, path: table.csv, target: y, batch_size: 4}
model: {kind: mlp, hidden: []}
train: {steps: 3}
"""


def write_rows(path: Path, rows: int, header: str = "a,b,y") -> None:
    path.write_text("\n".join([header, *(f"{r % 7},{r % 3},{'pq'[r % 2]}" for r in range(rows))]))


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with a run of images, one of texts and one of a table, and their data."""
    folder = tmp_path_factory.mktemp("made")
    image_sets.write_folder(folder / "photos", images=9)
    (folder / "t.csv").write_text("text,label\n" + "a good film,pro\na bad one,con\n" * 20)
    write_rows(folder / "table.csv", 60)
    for name, config in (("images", IMAGES), ("texts", TEXTS), ("table", TABLE)):
        (folder / f"{name}.yaml").write_text(config)
        with pytest.MonkeyPatch.context() as patch:
            patch.chdir(folder)
            words = ["fit", f"{name}.yaml", "--run-dir", f"run-{name}"]
            result = CliRunner().invoke(app, words)
        assert result.exit_code == 0, result.output
    return folder


@pytest.fixture
def predict(made: Path, bptrain: Callable, tmp_path: Path) -> Callable[..., Result]:
    """Run `predict` of a run in a copy of the folder, with something on standard input."""
    shutil.copytree(made, tmp_path, dirs_exist_ok=True)

    def run(name: str, *words: str, given: str | bytes | None = None) -> Result:
        return CliRunner().invoke(app, ["predict", f"run-{name}", *words], input=given)

    return run


def inputs_of(result: Result) -> list[str]:
    assert result.exit_code == 0, result.output
    return [row["input"] for row in csv.DictReader(StringIO(result.stdout))]


CATS = [f"photos/cat/{number:03}.png" for number in range(9)]


@pytest.mark.parametrize(
    "words", [["photos/cat"], ["photos/cat/*.png"], ["photos/**/00?.png"], ["list.csv"]]
)
def test_folders_patterns_and_tables_name_images(predict: Callable, words: list[str]) -> None:
    Path("list.csv").write_text("\n".join(["n,file", *(f"{n},{p}" for n, p in enumerate(CATS))]))
    found = inputs_of(predict("images", *words, "--csv"))
    assert found[:9] == CATS
    assert len(found) == (18 if "**" in words[0] else 9)


def test_standard_input_names_an_input_a_line(predict: Callable) -> None:
    given = "\n".join([*CATS, "", "photos/dog"]) + "\n"
    assert len(inputs_of(predict("images", "-", "--csv", given=given))) == 18
    assert inputs_of(predict("texts", "-", "--csv", given="a good idea\nwhat?\n")) == [
        "a good idea",
        "what?",
    ]


def test_standard_input_is_a_table_for_a_run_of_tables(predict: Callable) -> None:
    found = inputs_of(predict("table", "-", "--csv", given="b,a\n1,2\n2,3\n"))
    assert found == ["-:1", "-:2"]


def test_texts_may_be_in_a_folder_and_a_text_is_no_pattern(predict: Callable) -> None:
    for number in range(3):
        Path("new").mkdir(exist_ok=True)
        Path("new", f"{number}.txt").write_text("a good film")
    assert inputs_of(predict("texts", "new", "--csv")) == [f"new/{n}.txt" for n in range(3)]
    assert inputs_of(predict("texts", "new/*.txt", "--csv")) == [f"new/{n}.txt" for n in range(3)]
    assert inputs_of(predict("texts", "is it [really] *so*?", "--csv")) == ["is it [really] *so*?"]


def test_what_cannot_be_read_is_said_and_the_others_are_predicted(predict: Callable) -> None:
    whole = json.loads(predict("images", "photos", "--json").stdout)
    Path("photos/cat/003.png").write_bytes(b"")
    Path("photos/dog/001.png").write_bytes(b"no image")
    result = predict("images", "photos", "gone.png", "--json")
    assert result.exit_code == 3
    bad = ("photos/cat/003.png", "photos/dog/001.png")
    kept = [(each["input"], each["class"]) for each in whole if each["input"] not in bad]
    assert [(each["input"], each["class"]) for each in json.loads(result.stdout)] == kept
    lines = result.stderr.splitlines()
    assert [line.split(":")[:2] for line in lines[:3]] == [
        ["left out", f" {name}"] for name in (*bad, "gone.png")
    ]
    assert "3 of 19 inputs left out" in lines[3]
    alone = predict("images", "gone.png", "--csv")
    assert (alone.exit_code, alone.stdout) == (3, "")
    assert "left out" not in alone.stderr


def test_a_table_that_is_unfit_is_left_out_among_others(predict: Callable) -> None:
    Path("bad.csv").write_text("a\n1\n")
    write_rows(Path("good.csv"), 3)
    result = predict("table", "bad.csv", "good.csv", "--csv")
    assert result.exit_code == 3
    assert [row["input"] for row in csv.DictReader(StringIO(result.stdout))] == [
        f"good.csv:{row}" for row in (1, 2, 3)
    ]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["nothing*.png"], "no file matches"),
        (["empty"], "a folder without images"),
        (["t.csv"], "no column names images"),
    ],
)
def test_words_that_name_no_input_are_refused(
    predict: Callable, words: list[str], said: str
) -> None:
    Path("empty").mkdir()
    Path("empty/readme.md").write_text("x")
    result = predict("images", *words)
    assert (result.exit_code, result.stdout) == (3, "")
    assert said in result.stderr


def test_few_inputs_are_in_memory_at_a_time(
    predict: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes = []
    whole = Predictor.parts_of_words

    def counted(self: Predictor, words: list[str], *more: object) -> object:
        for part in whole(self, words, *more):
            sizes.append((len(words), len(part)))
            yield part

    monkeypatch.setattr(Predictor, "parts_of_words", counted)
    assert len(inputs_of(predict("images", "photos", "--csv"))) == 18
    assert sizes == [(4, 4)] * 4 + [(2, 2)]
    sizes.clear()
    assert len(inputs_of(predict("table", "table.csv", "--csv"))) == 60
    assert sizes == [(1, 4)] * 15  # the rows of one file, printed a batch at a time


def test_the_forms_of_output_do_not_depend_on_the_groups(
    predict: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    def heading(result: Result) -> list[str]:
        return [line for line in result.stdout.splitlines() if line.startswith("input")]

    assert len(heading(predict("images", "photos", "--csv"))) == 1
    monkeypatch.setattr(predict_many, "ROWS", 5)
    table = predict("images", "photos")
    assert (len(heading(table)), len(table.stdout.splitlines())) == (1, 19)
    assert len(json.loads(predict("images", "photos", "--json").stdout)) == 18


@pytest.fixture
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have tables read in blocks and parts of a few rows."""
    monkeypatch.setattr(regular_blocks, "BLOCK_BYTES", 64)
    monkeypatch.setattr(column_encoding, "MOST_ROWS", 8)
    monkeypatch.setattr(text_table_config, "BATCHES", 2)


@pytest.mark.usefixtures("small_blocks")
@pytest.mark.parametrize("form", ["--csv", "--json", None])
@pytest.mark.parametrize("name", ["new.csv", "-"])
def test_a_table_in_parts_is_predicted_as_the_whole_is(
    predict: Callable, form: str | None, name: str
) -> None:
    write_rows(Path("new.csv"), 53, "b,a,more")
    whole = whole_predictions(Path("run-table"), ["new.csv"], "best")
    given = Path("new.csv").read_text() if name == "-" else None
    result = predict("table", name, *filter(None, [form]), given=given)
    assert result.exit_code == 0, result.stderr
    named = [{**each, "input": f"{name}:{row}"} for row, each in enumerate(whole, start=1)]
    expected = {"--csv": to_csv(named), "--json": json.dumps(named) + "\n"}
    assert result.stdout == expected.get(form, "\n".join(lines_of(to_rows(named))) + "\n")


@pytest.mark.usefixtures("small_blocks")
def test_a_parquet_table_is_predicted_in_parts_from_a_file_and_from_standard_input(
    predict: Callable,
) -> None:
    pl.DataFrame({"a": [n % 7 for n in range(53)], "b": [n % 3 for n in range(53)]}).write_parquet(
        "new.parquet", row_group_size=10
    )
    whole = whole_predictions(Path("run-table"), ["new.parquet"], "best")
    assert predict("table", "new.parquet", "--csv").stdout == to_csv(whole)
    piped = predict("table", "-", "--csv", given=Path("new.parquet").read_bytes())
    assert [row["input"] for row in rows_of(piped)] == [f"-:{row}" for row in range(1, 54)]


def rows_of(result: Result) -> list[dict[str, str]]:
    return list(csv.DictReader(StringIO(result.stdout)))


@pytest.mark.usefixtures("small_blocks")
def test_bad_rows_are_passed_by_counted_and_named_by_their_numbers_in_the_file(
    predict: Callable,
) -> None:
    write_rows(Path("new.csv"), 40, "a,b,more")
    lines = Path("new.csv").read_text().splitlines()
    lines[3], lines[31] = "many,1,p", "1,2"  # rows 3 and 31
    Path("new.csv").write_text("\n".join(lines))
    result = predict("table", "new.csv", "--csv")
    assert result.exit_code == 3
    kept = [f"new.csv:{row}" for row in range(1, 41) if row not in (3, 31)]
    assert [row["input"] for row in rows_of(result)] == kept
    assert "left out: new.csv: row 31 (line 32) has 2 cells" in result.stderr
    assert "left out: new.csv: 'many' in column 'a' is no number (row 3 (line 4)" in result.stderr
    assert "error: 2 of 40 rows left out" in result.stderr


@pytest.mark.usefixtures("small_blocks")
def test_a_table_of_bad_rows_alone_is_refused_as_it_was(predict: Callable) -> None:
    Path("new.csv").write_text("a,b\n" + '"1,5",2\n' * 20)
    result = predict("table", "new.csv", "--json")
    assert (result.exit_code, result.stdout) == (3, "")
    assert "'1,5' in column 'a' has a decimal comma; 20 such cells" in result.stderr
    assert 'data.decimal: ","' in result.stderr


@pytest.mark.usefixtures("small_blocks")
@pytest.mark.parametrize("form", ["--csv", "--json", None])
def test_what_is_predicted_before_an_error_is_whole_output(
    predict: Callable, form: str | None
) -> None:
    write_rows(Path("new.csv"), 40, "a,b,more")
    content = Path("new.csv").read_bytes()
    Path("new.csv").write_bytes(content[:-40] + b"\0" + content[-40:])
    result = predict("table", "new.csv", *filter(None, [form]))
    assert result.exit_code == 3
    assert "new.csv: no text" in result.stderr
    assert "rows before it are predicted" in result.stderr
    if form == "--json":
        assert 8 <= len(json.loads(result.stdout)) < 40
    else:
        assert 8 < len(result.stdout.splitlines()) < 40
    write_rows(Path("good.csv"), 3)
    both = predict("table", "new.csv", "good.csv", "--csv")
    assert rows_of(both)[-1]["input"] == "good.csv:3"
    assert "rows: new.csv: no text" in both.stderr
    assert "error: 1 of 2 inputs left out" in both.stderr


@pytest.mark.usefixtures("small_blocks")
def test_a_table_of_texts_among_texts_is_predicted_in_parts(predict: Callable) -> None:
    texts = [f"a {['good', 'bad'][n % 2]} film no {n}" for n in range(30)]
    rows_of_texts = [*texts[:9], '" "', *texts[9:]]
    Path("new.csv").write_text("\n".join(["text,n", *(f"{each},1" for each in rows_of_texts)]))
    result = predict("texts", "not bad", "new.csv", "good", "--csv")
    assert result.exit_code == 3
    rows = [f"new.csv:{row}" for row in range(1, 32) if row != 10]
    assert [row["input"] for row in rows_of(result)] == ["not bad", *rows, "good"]
    assert "left out: new.csv: row 10 (line 11): an empty text" in result.stderr
    assert "1 of 31 rows left out" in result.stderr
    alone = [row["class"] for row in rows_of(predict("texts", *texts, "--csv"))]
    assert [row["class"] for row in rows_of(result)][1:-1] == alone


def test_a_table_of_one_row_is_called_by_its_name(predict: Callable) -> None:
    Path("new.csv").write_text("a,b\n1,2\n")
    assert inputs_of(predict("table", "new.csv", "--csv")) == ["new.csv"]


def test_the_bar_moves_with_the_rows_of_a_table(
    predict: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    moved: list[tuple[float, int]] = []

    @contextmanager
    def bar(total: int | None, holds_rows: bool) -> Iterator[Callable]:
        assert (total, holds_rows) == (2, True)
        yield lambda inputs, rows=0: moved.append((inputs, rows))

    monkeypatch.setattr(predict_many, "_progress", bar)
    monkeypatch.setattr(column_encoding, "MOST_ROWS", 8)
    write_rows(Path("new.csv"), 40)
    predict("table", "new.csv", "table.csv", "--csv")
    assert sum(inputs for inputs, _ in moved) == pytest.approx(2)
    assert sum(rows for _, rows in moved) == 100
    assert len([inputs for inputs, _ in moved if 0 < inputs < 1]) > 8


def test_a_copy_of_standard_input_that_finds_no_space_says_so(
    predict: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(ENOSPC, "No space left on device")

    monkeypatch.setattr("shutil.copyfileobj", full)
    result = predict("table", "-", given="a,b\n1,2\n")
    assert result.exit_code == 5
    assert "a copy of standard input: cannot be written" in result.stderr
    assert "TMPDIR" in result.stderr


def test_an_error_in_standard_input_names_it(predict: Callable) -> None:
    result = predict("table", "-", given="a\n1\n")
    assert result.exit_code == 3
    assert result.stderr.startswith("error: standard input: no column 'b'")
