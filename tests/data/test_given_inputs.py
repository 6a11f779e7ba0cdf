"""Inputs that a program gives: the same tensors as those of files that hold the same."""

from datetime import date
from pathlib import Path
from typing import Any

import image_sets
import numpy as np
import pytest
import soundfile
import torch
from kinds_of_data import KINDS
from PIL import Image

from bptrain.config import config_of
from bptrain.data.splits import Dataset, Samples
from bptrain.errors import DataError
from bptrain.experiment.config import ExperimentConfig


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def built(name: str) -> tuple[Any, Dataset]:
    """Return the config and the data set of a kind of data."""
    KINDS[name].write()
    text = f"data: {{{KINDS[name].data}}}\nmodel: {KINDS[name].model}\n"
    Path("c.yaml").write_text(text)
    from bptrain.config import load_config

    data = load_config(ExperimentConfig, "c.yaml").data
    return data, data.build(0)


def assert_same(found: Samples, expected: Samples) -> None:
    torch.testing.assert_close(found.inputs, expected.inputs, rtol=0, atol=0)
    torch.testing.assert_close(found.lengths, expected.lengths, rtol=0, atol=0)
    assert found.targets.shape == expected.targets.shape


@pytest.mark.parametrize("name", ["digits", "mnist", "cifar10"])
def test_images_in_the_unit_of_the_data_set_are_scaled_as_its_own(name: str) -> None:
    data, dataset = built(name)
    test = dataset.test.inputs[:5]
    mean, std = (torch.tensor(dataset.prepared[key]).view(-1, 1, 1) for key in ("mean", "std"))
    pixels = (test * std + mean).round().numpy().astype(np.uint8)
    found = data.prepare_arrays(list(pixels), dataset.problem, dataset.prepared)
    torch.testing.assert_close(found.inputs, test, rtol=0, atol=0)
    last = pixels[:, 0] if len(pixels[0]) == 1 else pixels.transpose(0, 2, 3, 1)
    again = data.prepare_arrays(list(last), dataset.problem, dataset.prepared)
    torch.testing.assert_close(again.inputs, test, rtol=0, atol=0)


def test_pixels_of_a_file_are_read_as_the_file_is() -> None:
    data, dataset = built("image_folder")
    image_sets.picture(1, 0, (16, 16)).save("small.png")
    pixels = np.asarray(Image.open("small.png").convert("RGB"))
    found = data.prepare_arrays([pixels], dataset.problem, dataset.prepared)
    assert_same(found, data.prepare(["small.png"], dataset.prepared))


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (np.full((8, 8), 17), "pixels from 17 to 17"),
        (np.full((8, 8), -1.0), "pixels from -1"),
        (np.full((8, 8), 0.5), "if 1 is the brightest"),
        (np.zeros((9, 8)), r"its shape is \[1, 9, 8\]"),
        (np.zeros((8, 8), "U1"), "an array of <U1, expected numbers"),
        (np.full((8, 8), np.inf), "it holds NaN or infinity"),
    ],
)
def test_images_of_another_unit_or_shape_are_refused(image: np.ndarray, message: str) -> None:
    data, dataset = built("digits")
    with pytest.raises(
        DataError, match=f"input 1: {message}" if "if 1" not in message else message
    ):
        data.prepare_arrays([np.ones((8, 8), int), image], dataset.problem, dataset.prepared)


def test_rows_are_read_as_the_lines_of_a_file() -> None:
    data, dataset = built("table of classes")
    expected = data.prepare(["new.csv"], dataset.prepared)
    rows = [{"x": 1.5, "c": " a", "more": object()}, {"x": None, "c": None}]
    assert_same(data.prepare_rows(rows, dataset.prepared), expected)
    rows = [{"x": np.float32(1.5), "c": "a"}, {"x": float("nan"), "c": ""}]
    assert_same(data.prepare_rows(rows, dataset.prepared), expected)
    rows = [{"x": "1.5", "c": "a"}, {"x": "NA", "c": "?"}]
    assert_same(data.prepare_rows(rows, dataset.prepared), expected)


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"c": "a"}, "input 0: no column 'x'"),
        ({"x": "many", "c": "a"}, "many"),
        ({"x": [1], "c": "a"}, "column 'x' holds a list"),
        ({"x": float("inf"), "c": "a"}, "inf"),
    ],
)
def test_a_row_that_is_no_row_of_the_table_is_refused(row: dict[str, object], message: str) -> None:
    data, dataset = built("table of classes")
    with pytest.raises(DataError, match=message):
        data.prepare_rows([row], dataset.prepared)


def test_numbers_have_a_point_whatever_the_training_file_has_and_dates_are_dates() -> None:
    days = [f"2024-01-{day:02}" for day in range(1, 29)]
    lines = [f"{n},5;{day};{'ab'[n % 2]}" for n, day in enumerate(days)]
    Path("t.csv").write_text("\n".join(["x;day;c", *lines]))
    tree = {
        "data": {"kind": "table", "path": "t.csv", "target": "c", "decimal": ","},
        "model": {"kind": "mlp"},
    }
    data: Any = config_of(ExperimentConfig, tree).data
    prepared = data.build(0).prepared
    Path("new.csv").write_text("x;day\n3,25;2024-02-03\n")
    found = data.prepare_rows([{"x": 3.25, "day": date(2024, 2, 3)}], prepared)
    assert_same(found, data.prepare(["new.csv"], prepared))


def test_arrays_are_rows_in_the_order_of_the_columns() -> None:
    lines = [f"{n},{n % 3},{n % 5},{'ab'[n % 2]}" for n in range(30)]
    Path("t.csv").write_text("\n".join(["x,y,z,c", *lines]))
    tree = {"data": {"kind": "table", "path": "t.csv", "target": "c"}, "model": {"kind": "mlp"}}
    data: Any = config_of(ExperimentConfig, tree).data
    dataset = data.build(0)
    rows = np.array([[1.0, 2, 3], [0.1, 0, 4]])
    Path("new.csv").write_text("z,x,y\n3,1,2\n4,0.1,0\n")
    found = data.prepare_arrays(list(rows), dataset.problem, dataset.prepared)
    assert_same(found, data.prepare(["new.csv"], dataset.prepared))
    with pytest.raises(DataError, match="a row has the 3 columns 'x', 'y', 'z'"):
        data.prepare_arrays([np.zeros(2)], dataset.problem, dataset.prepared)


@pytest.mark.parametrize("name", ["sequence of a class", "sequence of tags"])
def test_sequences_are_read_as_those_of_a_file(name: str) -> None:
    data, dataset = built(name)
    with np.load("new.npz") as file:
        parts = np.split(file["values"], np.cumsum(file["lengths"])[:-1])
    found = data.prepare_arrays(parts, dataset.problem, dataset.prepared)
    assert_same(found, data.prepare(["new.npz"], dataset.prepared))
    for wrong, message in (
        ([np.zeros((2, 3))], "3 features at each step"),
        ([np.zeros((0, 2))], r"input 0: a sequence \[0, 2\]"),
        ([np.zeros((2, 2)), np.zeros((2, 1))], "1 to 2 features"),
        ([np.full((2, 2), np.nan)], "hold nan"),
    ):
        with pytest.raises(DataError, match=message):
            data.prepare_arrays(wrong, dataset.problem, dataset.prepared)


@pytest.mark.parametrize("name", ["audio_folder of classes", "audio_folder of texts"])
def test_recordings_are_read_as_those_of_files(name: str) -> None:
    data, dataset = built(name)
    words = list(KINDS[name].inputs)
    waves = [soundfile.read(word, dtype="float32")[0] for word in words]
    found = data.prepare_arrays(waves, dataset.problem, dataset.prepared)
    assert_same(found, data.prepare(words, dataset.prepared))
    with pytest.raises(DataError, match=r"input 0: \[9\] of int16"):
        data.prepare_arrays([np.full(9, 300, np.int16)], dataset.problem, dataset.prepared)


def test_texts_in_rows_are_texts_whatever_they_look_like() -> None:
    data, dataset = built("text_table")
    expected = data.prepare(["a good idea"], dataset.prepared)
    assert_same(
        data.prepare_rows([{"text": "a good idea", "label": 1}], dataset.prepared), expected
    )
    found = data.prepare_rows([{"text": "unseen.txt"}], dataset.prepared)
    assert int(found.lengths[0]) == 3 or found.inputs.shape[1] < 12  # its name, not its content
    for row, message in (
        ({"texts": "a"}, "no text under 'text'"),
        ({"text": " "}, "an empty text"),
    ):
        with pytest.raises(DataError, match=f"input 0: {message}"):
            data.prepare_rows([row], dataset.prepared)
