"""Images that a table names: its columns, its rows, classes and numbers to predict."""

from collections.abc import Callable
from pathlib import Path

import image_sets
import polars as pl
import pytest
import torch

from bptrain.data.images.image_table import ImageTableConfig
from bptrain.errors import DataError

KEYS = {"size": 16, "validation_fraction": 0.2, "test_fraction": 0.2}


def write_images(root: Path, rows: int = 20) -> list[str]:
    """Write images in one folder, a bar in each; return their names."""
    names = [f"img/{number:03}.png" for number in range(rows)]
    for number, name in enumerate(names):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        image_sets.picture(number % 2, number).save(root / name)
    return names


def write_table(root: Path, rows: list[str], header: str = "file,kind") -> Path:
    path = root / "labels.csv"
    path.write_text("\n".join([header, *rows]) + "\n")
    return path


def labels(names: list[str]) -> list[str]:
    return [f"{name},{['cat', 'dog'][number % 2]}" for number, name in enumerate(names)]


def config(path: Path, **keys: object) -> ImageTableConfig:
    return ImageTableConfig(path=str(path), **{**KEYS, **keys})


def test_the_columns_are_found_by_what_they_hold(tmp_path: Path) -> None:
    path = write_table(tmp_path, labels(write_images(tmp_path)))
    built = config(path).build(0)
    assert built.problem.names == ("cat", "dog")
    assert [len(each) for each in (built.train, built.validation, built.test)] == [13, 3, 4]
    assert "file names in column 'file', targets in 'kind'" in built.notes
    given = config(path, file_column="file", target="kind").build(0)
    assert given.contents == built.contents
    again = config(path).build(1)
    assert again.contents["test"] == built.contents["test"]
    assert again.contents["train"] != built.contents["train"]


@pytest.mark.parametrize("form", ["bare", "no ending", "absolute", "backslashes", "parquet"])
def test_names_are_read_however_they_are_written(tmp_path: Path, form: str) -> None:
    names = write_images(tmp_path)
    expected = config(write_table(tmp_path, labels(names))).build(0)
    keys = {}
    if form == "bare":
        names = [name.removeprefix("img/") for name in names]
        keys = {"images": str(tmp_path / "img")}
    elif form == "no ending":
        names = [name.removesuffix(".png") for name in names]
    elif form == "absolute":
        names = [str(tmp_path / name) for name in names]
    elif form == "backslashes":
        names = [name.replace("/", "\\") for name in names]
    path = write_table(tmp_path, labels(names))
    if form == "parquet":
        path = tmp_path / "labels.parquet"
        kinds = [["cat", "dog"][number % 2] for number in range(len(names))]
        pl.DataFrame({"file": names, "kind": kinds}).write_parquet(path)
    assert config(path, **keys).build(0).contents == expected.contents


def test_a_column_says_which_images_are_for_testing(tmp_path: Path) -> None:
    parts = ["Training", "training", "valid", "test"] * 5
    rows = [
        f"{row},{part}" for row, part in zip(labels(write_images(tmp_path)), parts, strict=True)
    ]
    built = config(write_table(tmp_path, rows, "file,kind,subset")).build(0)
    assert [len(each) for each in (built.train, built.validation, built.test)] == [10, 5, 5]
    rows[3] = rows[3].replace("test", "holdout")
    path = write_table(tmp_path, rows, "file,kind,subset")
    with pytest.raises(DataError, match=r"data\.target names one of them"):
        config(path).build(0)
    with pytest.raises(DataError, match=r"'holdout' in column 'subset'[\s\S]*row 4 \(line 5\)"):
        config(path, target="kind", split_column="subset").build(0)


def test_numbers_are_predicted_in_their_own_unit(bptrain: Callable, tmp_path: Path) -> None:
    names = write_images(tmp_path, 40)
    rows = [f"{name},{1000.5 + 50 * (number % 2)}" for number, name in enumerate(names)]
    path = write_table(tmp_path, rows, "file,age")
    built = config(path).build(0)
    assert (built.problem.task, built.problem.names) == ("regression", ("age",))
    torch.testing.assert_close(built.train.targets.mean(), torch.tensor(0.0), atol=1e-5, rtol=0)
    (tmp_path / "c.yaml").write_text(
        "data: {kind: image_table, path: labels.csv, size: 16}\n"
        "model: {kind: mlp, hidden: []}\ntrain: {epochs: 20}\noptimizer: {kind: adam, lr: 0.01}\n"
    )
    assert bptrain("fit", "c.yaml", "--run-dir", "run").exit_code == 0
    said = bptrain("predict", "run", names[0], names[1], "--csv").stdout.splitlines()
    values = [float(line.split(",")[1]) for line in said[1:]]
    assert values == pytest.approx([1000.5, 1050.5], abs=20)
    judged = bptrain("evaluate", "run", "labels.csv", "--json")
    assert judged.exit_code == 0, judged.stderr
    mixed = bptrain("fit", "c.yaml", "data.augment=[{kind: mixup}]", "--run-dir", "other")
    assert (mixed.exit_code, "these targets are numbers" in mixed.stderr) == (2, True)


def test_two_columns_of_numbers_are_predicted_together(tmp_path: Path) -> None:
    rows = [f"{name},{n}.5,{n * 2}" for n, name in enumerate(write_images(tmp_path))]
    path = write_table(tmp_path, rows, "file,x,y")
    built = config(path, target=["x", "y"]).build(0)
    assert (built.problem.outputs, built.train.targets.shape[1]) == (2, 2)


def test_missing_and_damaged_files_are_said_at_once_or_left_out(
    bptrain: Callable, tmp_path: Path
) -> None:
    names = write_images(tmp_path)
    write_table(tmp_path, labels([*names, "img/gone.png"]))
    (tmp_path / names[4]).write_bytes(b"")
    (tmp_path / "c.yaml").write_text(
        "data: {kind: image_table, path: labels.csv, size: 16, validation_fraction: 0.2}\n"
        "model: {kind: mlp, hidden: []}\ntrain: {steps: 2}\n"
    )
    refused = bptrain("fit", "c.yaml")
    assert refused.exit_code == 3
    for said in ("2 files below labels.csv", "img/gone.png: not found", "img/004.png"):
        assert said in refused.stderr
    skipped = bptrain("fit", "c.yaml", "data.on_bad_file=skip", "--run-dir", "run")
    assert skipped.exit_code == 0, skipped.stderr
    assert "left out: 2 of 21 files" in skipped.stdout
    assert bptrain("evaluate", "run").exit_code == 0
    assert bptrain("evaluate", "run", "labels.csv").exit_code == 3


REFUSED = {  # rows besides valid ones, and what is said of them
    "the same image of two classes": (
        ["img/000.png,dog"],
        r"21 \(line 22\) both name[\s\S]*one says 'cat', the other 'dog'",
    ),
    "no name": ([",cat"], r"1 row without a file name[\s\S]*row 21"),
    "no class": (["img/extra.png,"], r"a missing cell in column 'kind'"),
    "two images of one name": (["img/twice,cat"], r"several images of this name: .*jpg"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_rows_that_say_nothing_certain_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.chdir(tmp_path)  # short paths: nothing is left out of a message
    names = write_images(Path())
    for extra in ("extra.png", "twice.png", "twice.jpg"):
        image_sets.picture(0, 1).save(Path("img") / extra)
    rows, said = REFUSED[name]
    with pytest.raises(DataError, match=said):
        config(write_table(Path(), [*labels(names), *rows])).build(0)


def test_what_counts_twice_and_what_no_row_names_is_said(tmp_path: Path) -> None:
    names = write_images(tmp_path)
    rows = [*labels(names[:-1]), "img/000.png,cat", "img/019.png,"]
    built = config(write_table(tmp_path, rows), missing_target="drop").build(0)
    assert "left out: 1 row that say again what another says" in built.notes
    assert "left out: 1 of 21 rows: without a target" in built.notes
    assert "ignored: 1 image that no row names: img/019.png" in built.notes
    assert sum(each["samples"] for each in built.contents.values()) == 19


def test_a_table_that_names_no_image_says_where_it_looked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write_images(Path("elsewhere"))
    path = write_table(Path("elsewhere", "img"), ["a.png,cat", "b.png,dog"])
    with pytest.raises(DataError, match=r"names images below .*img[\s\S]*data\.images"):
        config(path).build(0)


def test_new_labelled_images_are_judged_by_the_classes_of_training(tmp_path: Path) -> None:
    path = write_table(tmp_path, labels(write_images(tmp_path)))
    settings = config(path)
    built = settings.build(0)
    other = tmp_path / "other"
    other.mkdir()
    rows = labels(write_images(other, 4))
    split = settings.labelled(
        write_table(other, [f"{row},x" for row in rows], "file,kind,note"),
        built.problem,
        built.prepared,
    )
    assert split.targets.tolist() == [0, 1, 0, 1]
    with pytest.raises(DataError, match="class 'cow' is not in the training table"):
        settings.labelled(
            write_table(other, [*rows, "img/001.jpg,cow"]), built.problem, built.prepared
        )
