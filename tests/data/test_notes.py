"""What is said of the data before training, and how a class with a single sample is split."""

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from kinds_of_data import KINDS

from bptrain.data.audio.recordings import Recording, split_by_label
from bptrain.data.splits import Samples, hold_out


def held_out(classes: list[int], fraction: float, seed: int = 0) -> tuple[list[int], list[int]]:
    """Return the classes of both parts."""
    targets = torch.tensor(classes)
    first, second = hold_out(Samples(torch.arange(len(classes)), targets), fraction, seed)
    assert sorted(first.inputs.tolist() + (second.inputs.tolist() if second else [])) == list(
        range(len(classes))
    )
    return first.targets.tolist(), second.targets.tolist() if second else []


@pytest.mark.parametrize("seed", range(5))
def test_the_other_classes_stay_stratified_beside_one_of_a_single_sample(seed: int) -> None:
    first, second = held_out([0] * 40 + [1] * 40 + [2], 0.25, seed)
    assert np.bincount(second, minlength=3).tolist() == [10, 10, 0]
    assert np.bincount(first).tolist() == [30, 30, 1]


def test_a_class_of_two_is_split_and_then_stays_whole() -> None:
    classes = [0] * 40 + [1] * 40 + [2] * 2
    first, second = held_out(classes, 0.5)
    assert np.bincount(second).tolist() == [20, 20, 1]
    rest, validation = held_out(first, 0.25)
    assert rest.count(2) == 1
    assert validation.count(0) == validation.count(1)


def test_samples_that_are_all_different_are_still_drawn_from() -> None:
    assert len(held_out(list(range(20)), 0.25)[1]) == 5
    assert len(held_out([0, *range(20)], 0.25)[1]) == 5


def test_texts_are_no_classes_and_those_spoken_once_are_tested_too() -> None:
    texts = [f"text {n}" for n in range(30)] + ["again"] * 10
    recordings = [Recording(str(n), "", {}, text) for n, text in enumerate(texts)]
    _, test = split_by_label(recordings, 0.5, 0, are_classes=False)
    assert len({each.label for each in test}) > 5
    _, test = split_by_label(recordings, 0.2, 0, are_classes=True)
    assert {each.label for each in test} == {"again"}


def notes(bptrain: Callable, data: str, model: str = "{kind: mlp, hidden: [4]}") -> list[str]:
    """Return the lines of the data that a dry run prints."""
    Path("c.yaml").write_text(f"data: {{{data}}}\nmodel: {model}\n")
    result = bptrain("fit", "c.yaml", "--dry-run")
    assert result.exit_code == 0, result.output
    lines: list[str] = result.stdout.splitlines()
    first = next(n for n, line in enumerate(lines) if line.startswith("task "))
    return lines[first:]


def test_a_table_says_its_task_columns_rows_and_categories(bptrain: Callable) -> None:
    rows = [f"{row / 7},{'ab'[row % 2]},{['yes', 'no'][row % 2]}" for row in range(60)]
    rows[3] = ",a,no"
    rows.append("1,b,maybe")
    rows.append("2,z,yes")
    Path("t.csv").write_text("\n".join(["x,c,y", *rows]))
    Path("test.csv").write_text("x,c,y\n1,new,no\n2,a,yes\n3,other,no\n")
    found = notes(
        bptrain, "kind: table, path: t.csv, test_path: test.csv, target: y, missing: drop"
    )
    assert found[:4] == [
        "task classification   3 classes: maybe, no, yes",
        "guessed: data.task classification, from the targets",
        "columns 1 number: x   1 category: c (3)",
        "left out: 1 of 62 rows: a cell is missing (data.missing: drop)",
    ]
    unseen = "unseen: 2 cells of the test rows in column c: no training row has its category"
    assert any(line.startswith(unseen) for line in found)
    assert "no validation sample of class maybe" in found
    assert "no test sample of class maybe" in found
    given = notes(
        bptrain, "kind: table, path: t.csv, target: y, task: classification, columns: [x]"
    )
    assert not any(line.startswith("guessed") for line in given)


def test_folders_say_which_files_they_ignore(bptrain: Callable) -> None:
    KINDS["image_folder"].write()
    assert notes(bptrain, KINDS["image_folder"].data) == [
        "task classification   2 classes: cat, dog"
    ]
    Path("data/cat/notes.txt").touch()
    Path("data/dog/thumbs.db").touch()
    assert notes(bptrain, KINDS["image_folder"].data)[1] == (
        "ignored: 2 files: no image by its ending: .db, .txt"
    )
    KINDS["audio_folder of classes"].write()
    shutil.copy("data/cat/notes.txt", "sounds/readme.md")
    lines = notes(bptrain, KINDS["audio_folder of classes"].data)
    assert any(line.startswith("ignored: 1 file: its ending is not that of") for line in lines)


def test_texts_and_sequences_say_what_is_unseen_guessed_or_absent(bptrain: Callable) -> None:
    rnn = "{kind: rnn, cell: gru, hidden: 4}"
    Path("t.txt").write_text("round the rock " * 40 + "QZ the end" * 6)
    (lines, unseen) = notes(bptrain, "kind: text, path: t.txt, window: 4, batch_size: 2", rnn)
    assert lines.startswith("task language_model   ")
    assert unseen.startswith("unseen: ")
    assert "validation part: not in the vocabulary of training" in unseen
    KINDS["text_table"].write()
    assert notes(bptrain, KINDS["text_table"].data, rnn)[1].startswith("vocabulary ")
    classes = np.arange(40) % 2 * 2
    np.savez("s.npz", inputs=np.random.default_rng(0).normal(size=(40, 3, 2)), targets=classes)
    assert notes(bptrain, "kind: sequence, path: s.npz", rnn) == [
        "task classification   3 classes",
        "guessed: data.task classification, from the targets",
        "no training sample of class 1",
        "no validation sample of class 1",
        "no test sample of class 1",
    ]


def test_a_name_cannot_change_the_terminal(bptrain: Callable) -> None:
    KINDS["image_folder"].write()
    Path("data/cat").rename("data/\x1b[31mcat [red]")
    assert notes(bptrain, KINDS["image_folder"].data)[0] == (
        r"task classification   2 classes: '\x1b[31mcat [red]', dog"
    )
