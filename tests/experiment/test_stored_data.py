"""Evaluation by what the run stored: data that has changed since is refused, its change named."""

import json
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sounds
from kinds_of_data import KINDS
from PIL import Image

from bptrain.tags import BASELINE

TABLE = "kind: table, path: table.csv, columns: [x, c], target"


def train(bptrain: Callable, data: str, model: str = "{kind: mlp, hidden: [8]}") -> None:
    Path("c.yaml").write_text(
        f"data: {{{data}, batch_size: 16}}\nmodel: {model}\ntrain: {{steps: 2}}\n"
    )
    fitted = bptrain("fit", "c.yaml", "--run-dir", "run")
    assert fitted.exit_code == 0, fitted.stderr


def refused(result: Any, *words: str) -> None:
    assert result.exit_code == 3, result.output
    for word in words:
        assert word in result.stderr, result.stderr
    assert len(result.stderr.strip().splitlines()) <= 6


def change_lines(path: str, change: Callable[[list[str]], Sequence[str]]) -> Callable[[], object]:
    """Return a change of the lines of a text file below its first."""

    def act() -> None:
        first, *rest = Path(path).read_text().splitlines()
        Path(path).write_text("\n".join([first, *change(rest)]) + "\n")

    return act


def change_arrays(**changes: Callable[[np.ndarray], np.ndarray]) -> Callable[[], object]:
    def act() -> None:
        with np.load("train.npz") as held:
            arrays = dict(held)
        np.savez("train.npz", **{k: changes.get(k, lambda a: a)(a) for k, a in arrays.items()})

    return act


def paint() -> None:
    """Change a pixel of one image."""
    path = sorted(Path("data").rglob("*.png"))[0]
    with Image.open(path) as image:
        image.putpixel((0, 0), (1, 2, 3))
        image.save(path)


def rename(old: str, new: str) -> Callable[[], object]:
    return lambda: Path(old).rename(new)


def new_class() -> None:
    shutil.copytree("data/cat", "data/emu")


def change_bytes(path: str) -> Callable[[], object]:
    """Return a change of the last byte of a file."""

    def act() -> None:
        content = Path(path).read_bytes()
        Path(path).write_bytes(content[:-1] + bytes([content[-1] ^ 1]))

    return act


def swap_digits() -> None:
    """Swap the recordings of two digits, so that their labels are others."""
    first, second = (Path(f"sounds/{digit}_a_0.wav") for digit in "03")
    one, other = first.read_bytes(), second.read_bytes()
    first.write_bytes(other)
    second.write_bytes(one)


def relabel(rows: list[str]) -> list[str]:
    return [rows[0].replace("yes", "no"), *rows[1:]]


CHANGES: dict[str, tuple[str, Callable[[], object], Sequence[str]]] = {
    "a class folder is renamed": (
        "image_folder",
        rename("data/cat", "data/tiger"),
        ["class 'tiger' is new, class 'cat' is gone"],
    ),
    "a class folder is added": ("image_folder", new_class, ["class 'emu' is new"]),
    "an image is changed": ("image_folder", paint, ["inputs of the", "samples"]),
    "a row is added": (
        "table of classes",
        change_lines("table.csv", lambda rows: [*rows, rows[0]]),
        ["training samples, were"],
    ),
    "a row is removed": (
        "table of classes",
        change_lines("table.csv", lambda rows: rows[1:]),
        ["samples, were"],
    ),
    "rows are in another order": (
        "table of classes",
        change_lines("table.csv", lambda rows: rows[::-1]),
        ["or their order"],
    ),
    "a row is relabelled": (
        "table of classes",
        change_lines("table.csv", relabel),
        ["targets of the training samples"],
    ),
    "a number is another": (
        "table of numbers",
        change_lines("table.csv", lambda rows: ["9,a,yes,1.5", *rows[1:]]),
        ["samples"],
    ),
    "a category is renamed": (
        "table of classes",
        change_lines("table.csv", lambda rows: [row.replace(",b,", ",z,") for row in rows]),
        ["the inputs of the training samples"],
    ),
    "a class is renamed": (
        "table of classes",
        change_lines("table.csv", lambda rows: [row.replace("yes", "maybe") for row in rows]),
        ["class 'maybe' is new, class 'yes' is gone"],
    ),
    "a text is longer": (
        "text",
        change_lines("verse.txt", lambda rows: [*rows, "round"]),
        ["training samples, were"],
    ),
    "a text has another symbol": (
        "text",
        change_lines("verse.txt", lambda rows: ["ROUND", *rows]),
        ["symbol 'D', 'N', 'O' (and 2 more) is new"],
    ),
    "a text of a table is another": (
        "text_table",
        change_lines("opinions.csv", lambda rows: ["a fine film,pro", *rows[1:]]),
        ["the inputs of the", "samples"],
    ),
    "a recording is another": ("audio_folder of classes", swap_digits, ["the inputs of the"]),
    "a number of a sequence is another": (
        "sequence of a class",
        change_arrays(values=lambda values: values * np.float64(2)),
        ["the inputs of the training samples"],
    ),
    "a class of a sequence is another": (
        "sequence of tags",
        change_arrays(targets=lambda targets: targets[::-1]),
        ["the targets of the training samples"],
    ),
    "a label of MNIST is another": (
        "mnist",
        lambda: (
            shutil.rmtree("data"),
            KINDS["fashion_mnist"].write(),
            Path("data/FashionMNIST").rename("data/MNIST"),
            relabel_mnist(),
        ),
        ["the targets of the test samples"],
    ),
    "an image of CIFAR is another": (
        "cifar10",
        change_bytes("data/cifar-10-batches-bin/test_batch.bin"),
        ["the inputs of the test samples"],
    ),
}


def relabel_mnist() -> None:
    import gzip

    path = Path("data/MNIST/raw/t10k-labels-idx1-ubyte.gz")
    content = bytearray(gzip.decompress(path.read_bytes()))
    content[-1] = 0
    path.write_bytes(gzip.compress(bytes(content)))


@pytest.mark.parametrize("name", CHANGES)
def test_changed_data_is_neither_evaluated_nor_resumed_with(bptrain: Callable, name: str) -> None:
    kind_name, change, words = CHANGES[name]
    kind = KINDS[kind_name]
    kind.write()
    train(bptrain, kind.data, kind.model)
    assert bptrain("evaluate", "run").exit_code == 0
    change()
    refused(bptrain("evaluate", "run"), *words)
    refused(bptrain("fit", "c.yaml", "--run-dir", "run", "--resume"), *words)


def evaluated(bptrain: Callable, *words: str) -> dict[str, Any]:
    result = bptrain("evaluate", "run", *words, "--json")
    assert result.exit_code == 0, result.output
    found: dict[str, Any] = json.loads(result.stdout)
    return found


@pytest.mark.parametrize(
    ("name", "place", "moved"),
    [
        ("table of numbers", "table.csv", "path=elsewhere"),
        ("image_folder", "data", "root=elsewhere"),
        ("text", "verse.txt", "path=elsewhere"),
    ],
)
def test_data_that_has_moved_is_evaluated_where_it_lies_and_compared(
    bptrain: Callable, name: str, place: str, moved: str
) -> None:
    kind = KINDS[name]
    kind.write()
    train(bptrain, kind.data, kind.model)
    before = evaluated(bptrain)
    Path(place).rename("elsewhere")
    assert bptrain("evaluate", "run").exit_code == 3
    assert evaluated(bptrain, "--data", moved) == before
    if name == "image_folder":
        new_class_in_elsewhere = Path("elsewhere/emu")
        shutil.copytree("elsewhere/cat", new_class_in_elsewhere)
    else:
        change_lines("elsewhere", lambda rows: rows[1:])()
    refused(bptrain("evaluate", "run", "--data", moved), "is not what it was")


def halves(name: str) -> None:
    """Write the data of a kind with its test samples in a file or folder of their own."""
    KINDS[name].write()
    if name == "image_folder":
        Path("data").rename("all")
        shutil.copytree("all", "data/train")
        shutil.copytree("all", "data/test")
        for path in sorted(Path("data/test").rglob("*.png"))[::2]:
            path.unlink()
    elif name.startswith("sequence"):
        shutil.copy("train.npz", "test.npz")
    else:
        path = {"text_table": "opinions.csv"}.get(name, "table.csv")
        first, *rest = Path(path).read_text().splitlines()
        Path("test.csv").write_text("\n".join([first, *rest[::3]]))


NEW = {
    "table of classes": ("test.csv", ", test_path: test.csv"),
    "table of numbers": ("test.csv", ", test_path: test.csv"),
    "text_table": ("test.csv", ", test_path: test.csv"),
    "sequence of a class": ("test.npz", ", test_path: test.npz"),
    "sequence of numbers": ("test.npz", ", test_path: test.npz"),
    "sequence of tags": ("test.npz", ", test_path: test.npz"),
    "image_folder": ("data/test", ""),
}


@pytest.mark.parametrize("name", NEW)
def test_labelled_files_are_evaluated_as_the_test_split_is(bptrain: Callable, name: str) -> None:
    kind, (files, key) = KINDS[name], NEW[name]
    halves(name)
    train(bptrain, kind.data + key, kind.model)
    pictures = {path: path.read_bytes() for path in Path("run").rglob("*.png")}
    assert pictures or name == "sequence of numbers"
    whole = evaluated(bptrain)
    for path in Path().glob("*.csv"):  # no other file is read
        if path.name != files:
            path.unlink()
    new = evaluated(bptrain, files)
    assert new.pop("checkpoint") == whole.pop("checkpoint")
    assert any(tag.startswith(BASELINE) for tag in new)
    assert new == pytest.approx(whole, rel=1e-6)
    if key:
        again = evaluated(bptrain, "--data", f"test_path={files}")
        assert {key: again[key] for key in new} == new
    assert bptrain("evaluate", "run", files, "--data", f"test_path={files}").exit_code == 2
    assert {path: path.read_bytes() for path in Path("run").rglob("*.png")} == pictures


def test_new_recordings_new_texts_and_new_drawings_are_evaluated(bptrain: Callable) -> None:
    for name, files in (
        ("audio_folder of classes", "new"),
        ("audio_folder of texts", "new"),
        ("text", "new.txt"),
        ("digits", "drawings"),
    ):
        shutil.rmtree("run", ignore_errors=True)
        KINDS[name].write()
        sounds.write_folder(Path("new"), sounds.digits(2))
        Path("new.txt").write_text("a ragged rascal ran" * 3)
        for digit in "37":
            Path("drawings", digit).mkdir(parents=True, exist_ok=True)
            shutil.copy("drawing.png", f"drawings/{digit}/0.png") if name == "digits" else None
        train(bptrain, KINDS[name].data, KINDS[name].model)
        found = evaluated(bptrain, files)
        assert found["test/loss"] > 0


def test_labels_that_training_did_not_have_are_refused_by_name(bptrain: Callable) -> None:
    KINDS["table of classes"].write()
    train(bptrain, KINDS["table of classes"].data)
    Path("new.csv").write_text("x,c,y\n1,a,yes\n2,b,perhaps\n")
    refused(bptrain("evaluate", "run", "new.csv"), "new.csv", "'perhaps'", "row 2")
    Path("new.csv").write_text("x,c\n1,a\n")
    refused(bptrain("evaluate", "run", "new.csv"), "no column 'y'")
    refused(bptrain("evaluate", "run", "nowhere.csv"), "nowhere.csv")


def test_generated_data_reads_no_files_and_a_key_that_is_no_place_is_refused(
    bptrain: Callable,
) -> None:
    train(bptrain, KINDS["xor"].data)
    before = evaluated(bptrain)
    assert bptrain("evaluate", "run", "new.csv").exit_code == 2
    result = bptrain("evaluate", "run", "--data", "noise=0.1")
    assert result.exit_code == 2
    assert "--data noise=0.1" in result.stderr
    assert evaluated(bptrain) == before
