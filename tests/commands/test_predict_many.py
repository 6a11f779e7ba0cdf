"""`predict` of folders, patterns, lists and standard input, past inputs that cannot be read."""

import csv
import json
import shutil
from collections.abc import Callable
from io import StringIO
from pathlib import Path

import image_sets
import pytest
from click.testing import Result
from typer.testing import CliRunner

from bptrain.cli import app
from bptrain.commands import predict_many
from bptrain.experiment.prediction import Predictor

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

    def run(name: str, *words: str, given: str | None = None) -> Result:
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
