"""Tables: how columns are encoded, by the training rows only, and what a target is."""

import csv
import json
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.compose import ColumnTransformer
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from bptrain.data.tables.table_config import TableConfig
from bptrain.data.tables.table_file import read_table
from bptrain.errors import DataError


def write(path: Path, header: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([header, *rows])
    return str(path)


def mixed_rows(count: int = 60) -> list[list[object]]:
    """Return rows of a number, a color and a class that follows from them."""
    random = np.random.default_rng(0)
    rows = []
    for size, color in zip(random.normal(50, 9, count), random.choice(3, count), strict=True):
        answer = "big" if size + 5 * color > 55 else "small"
        rows.append([f"{size:.3f}", ["red", "green", "blue"][color], answer])
    return rows


@pytest.fixture
def mixed(tmp_path: Path) -> str:
    return write(tmp_path / "mixed.csv", ["size", "color", "answer"], mixed_rows())


def test_columns_become_what_scikit_learn_makes_of_them(tmp_path: Path) -> None:
    header = ["size", "color", "answer"]
    train = write(tmp_path / "train.csv", header, mixed_rows(40))
    test = write(tmp_path / "test.csv", header, mixed_rows(60)[40:])
    config = TableConfig(path=train, test_path=test, target="answer", validation_fraction=0.0)
    dataset = config.build(0)
    theirs = ColumnTransformer(
        [("number", StandardScaler(), [0]), ("category", OneHotEncoder(), [1])], sparse_threshold=0
    )
    parts = [np.array(rows, object)[:, :2] for rows in (mixed_rows(40), mixed_rows(60)[40:])]
    expected = theirs.fit_transform(parts[0]).astype(np.float32)
    np.testing.assert_allclose(dataset.train.inputs, expected, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(
        dataset.test.inputs, theirs.transform(parts[1]).astype(np.float32), rtol=1e-5, atol=1e-6
    )
    assert dataset.problem.input_shape == (4,)
    assert dataset.problem.names == ("big", "small")


def test_statistics_and_categories_come_from_the_training_rows_only(tmp_path: Path) -> None:
    header = ["size", "color", "answer"]
    train = write(tmp_path / "train.csv", header, [[0, "red", 1], [2, "blue", 0], [4, "red", 1]])
    test = write(tmp_path / "test.csv", header, [[1_000, "violet", 1]])
    config = TableConfig(path=train, test_path=test, target="answer", validation_fraction=0.0)
    dataset = config.build(0)
    std = np.std([0, 2, 4])
    # a color that training never saw is none of those that it did
    assert dataset.test.inputs.tolist() == [[pytest.approx(998 / std), 0, 0]]
    assert dataset.train.inputs[0].tolist() == [pytest.approx(-2 / std), 0, 1]


def test_a_missing_number_is_the_mean_with_an_indicator_and_a_missing_category_is_its_own(
    tmp_path: Path,
) -> None:
    rows = [[1, "a", 0], ["", "b", 1], [3, "?", 0], ["NaN", "a", 1]]
    path = write(tmp_path / "train.csv", ["x", "c", "y"], rows)
    test = write(tmp_path / "test.csv", ["x", "c", "y"], [["n/a", "NA", 0], [2, "a", 1]])
    config = TableConfig(path=path, test_path=test, target="y", validation_fraction=0.0)
    dataset = config.build(0)
    assert dataset.train.inputs.tolist() == [  # x, x is missing, c is missing, c is a, c is b
        [-1, 0, 0, 1, 0],
        [0, 1, 0, 0, 1],
        [1, 0, 1, 0, 0],
        [0, 1, 0, 1, 0],
    ]
    assert dataset.test.inputs.tolist() == [[0, 1, 1, 0, 0], [0, 0, 0, 1, 0]]


def test_rows_that_miss_a_cell_are_dropped_on_request(tmp_path: Path) -> None:
    rows = [[1, 0], ["", 1], [3, 1], [4, "?"], [5, 0]]
    path = write(tmp_path / "t.csv", ["x", "y"], rows)
    config = TableConfig(
        path=path, target="y", missing="drop", test_fraction=0.0, validation_fraction=0.0
    )
    dataset = config.build(0)
    assert dataset.train.targets.tolist() == [0, 1, 0]
    assert dataset.test is None


def test_a_constant_column_stays_and_is_0(tmp_path: Path) -> None:
    rows = [[7.1, row, row % 2] for row in range(10)]
    path = write(tmp_path / "t.csv", ["same", "x", "y"], rows)
    dataset = TableConfig(path=path, target="y").build(0)
    assert dataset.train.inputs[:, 0].tolist() == [0.0] * len(dataset.train)
    assert dataset.train.inputs.isfinite().all()


@pytest.mark.parametrize(
    ("targets", "task", "names"),
    [
        (["no", "yes"] * 5, "classification", ("no", "yes")),
        ([-1, 1] * 5, "classification", ("-1", "1")),
        ([10, 9] * 5, "classification", ("9", "10")),
        (["1.0", "2.0"] * 5, "classification", ("1", "2")),
        (["=", "b"] * 5, "classification", ("=", "b")),
        (["1", "b"] * 5, "classification", ("1", "b")),
        ([0.5, 1.5] * 5, "regression", ("y",)),
        (list(range(30)), "regression", ("y",)),
    ],
    ids=["text", "-1", "order", "1.0", "=", "mixed", "fractions", "many integers"],
)
def test_the_task_is_inferred_from_the_target(
    tmp_path: Path, targets: list, task: str, names: tuple
) -> None:
    path = write(tmp_path / "t.csv", ["x", "y"], list(enumerate(targets)))
    problem = TableConfig(path=path, target="y").build(0).problem
    assert (problem.task, problem.names, problem.outputs) == (task, names, len(names))


def test_the_task_can_be_set(tmp_path: Path) -> None:
    path = write(tmp_path / "t.csv", ["x", "y"], [[row, row % 3] for row in range(12)])
    dataset = TableConfig(path=path, target="y", task="regression", test_fraction=0.0).build(0)
    assert dataset.problem.task == "regression"
    assert dataset.train.targets.shape == (len(dataset.train), 1)
    assert dataset.train.targets.dtype == torch.float32


def test_numbers_can_be_categories_and_columns_left_out(tmp_path: Path) -> None:
    rows = [[row, row % 3, f"name {row}", row % 2] for row in range(30)]
    path = write(tmp_path / "t.csv", ["x", "code", "id", "y"], rows)
    config = TableConfig(path=path, target="y", columns=["code"], categorical=["code"])
    dataset = config.build(0)
    assert dataset.problem.input_shape == (3,)
    assert dataset.train.inputs.sum(1).tolist() == [1.0] * len(dataset.train)


@pytest.mark.parametrize("separator", [",", ";", "\t", "|"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_the_separator_is_inferred_from_the_header(
    tmp_path: Path, separator: str, end: str
) -> None:
    lines = [["﻿a", '"b,;|"', " c "], ["1", '"x ""quoted"""', " z"], [], ["2", "y", "?"]]
    path = tmp_path / "t.csv"
    path.write_bytes(end.join(separator.join(cells) for cells in lines).encode())
    table = read_table(path)
    cells = table.frame.to_dict(as_series=False)
    assert cells == {"a": ["1", "2"], "b,;|": ['x "quoted"', "y"], "c": ["z", "?"]}
    assert table.place(1) == "row 2 (line 4)"


def test_a_cell_may_hold_a_line_break(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text('a,b\n"one\ntwo",1\nthree,2\n')
    table = read_table(path)
    assert table.frame["a"].to_list() == ["one\ntwo", "three"]
    assert table.place(1) == "row 2 (line 4)"


def test_the_test_rows_are_the_same_whatever_the_seed(mixed: str) -> None:
    first, second = (TableConfig(path=mixed, target="answer").build(seed) for seed in (0, 1))
    assert len(first.test) == 12
    assert len(first.train) + len(first.validation) == 48
    assert first.test.targets.equal(second.test.targets)
    assert not first.train.inputs.equal(second.train.inputs)
    again = TableConfig(path=mixed, target="answer").build(1)
    assert again.train.inputs.equal(second.train.inputs)


def test_rows_to_predict_are_prepared_as_training_saw_them(mixed: str, tmp_path: Path) -> None:
    config = TableConfig(path=mixed, target="answer", test_fraction=0.0, validation_fraction=0.0)
    dataset = config.build(0)
    prepared = json.loads(json.dumps(dataset.prepared))
    assert config.prepare([mixed], prepared).inputs.equal(dataset.train.inputs)
    # other order, no target
    bare = write(tmp_path / "bare.csv", ["color", "size"], [row[1::-1] for row in mixed_rows()])
    both = config.prepare([bare, mixed], prepared)
    assert both.inputs.equal(torch.cat([dataset.train.inputs] * 2))
    assert len(both) == 120


def test_a_row_can_be_read_again_from_its_inputs(tmp_path: Path) -> None:
    header = ["size", "price", "color", "day", "time", "answer"]
    rows = [
        ["1.5", "12%", "red", "2024-02-29", "2024-02-29T13:05", "yes"],
        ["", "9%", "", "", "2023-12-31T00:00", "no"],
        ["4", "10.5%", "blue", "1969-07-20", "2024-06-30T23:59", "yes"],
        ["2", "1%", "red", "2024-01-01", "2024-01-01T12:00", "no"],
    ] * 5
    path = write(tmp_path / "t.csv", header, rows)
    config = TableConfig(path=path, target="answer", test_fraction=0.0, validation_fraction=0.0)
    dataset = config.build(0)
    read = [config.described(row, dataset.prepared) for row in dataset.train.inputs[:4]]
    for found, row in zip(read, rows, strict=False):
        size, price, color, day, time, _ = row
        assert list(found.values()) == [size, price.replace("%", " %"), color, day, time]
    unseen = dataset.train.inputs[0].clone()
    unseen[3:6] = 0
    assert config.described(unseen, dataset.prepared)["color"] == "?"


def test_rows_to_predict_need_the_columns_and_whole_cells(mixed: str, tmp_path: Path) -> None:
    config = TableConfig(path=mixed, target="answer", missing="error")
    prepared = config.build(0).prepared
    lacking = write(tmp_path / "lacking.csv", ["sise", "color"], [[1, "red"]])
    with pytest.raises(DataError, match=r"no column 'size'.*[\s\S]*did you mean 'sise'"):
        config.prepare([lacking], prepared)
    hole = write(tmp_path / "hole.csv", ["size", "color"], [[1, "red"], ["", "red"]])
    with pytest.raises(DataError, match=r"missing cell in column 'size'[\s\S]*row 2"):
        config.prepare([hole], prepared)


def target_rows(count: int = 80) -> list[list[float]]:
    return [[x := row / count, 5_000 + 300 * x] for row in range(count)]


@pytest.mark.usefixtures("real_pictures")
def test_metrics_and_predictions_of_scaled_targets_are_in_the_targets_unit(
    bptrain: Callable, tmp_path: Path
) -> None:
    path = write(tmp_path / "t.csv", ["x", "price"], target_rows())
    config = tmp_path / "c.yaml"
    config.write_text(
        f"data: {{kind: table, path: {path}, target: price, scale_target: true, batch_size: 16}}\n"
        "model: {kind: mlp, hidden: []}\noptimizer: {kind: sgd, lr: 0.1}\ntrain: {epochs: 60}\n"
    )
    assert bptrain("fit", config, "--run-dir", "run").exit_code == 0
    last = json.loads((tmp_path / "run" / "metrics.jsonl").read_text().splitlines()[-1])
    std = 300 * np.arange(80).std() / 80
    assert last["test/rmse"] == pytest.approx(last["test/loss"] ** 0.5 * std, rel=0.05)
    assert last["test/r2"] > 0.999
    query = write(tmp_path / "q.csv", ["x"], [[0.25], [0.5]])
    result = bptrain("predict", "run", query, "--json")
    assert result.exit_code == 0, result.stderr
    prices = [each["price"] for each in json.loads(result.stdout)]
    assert prices == [pytest.approx(5_075, abs=1), pytest.approx(5_150, abs=1)]


def test_targets_are_scaled_only_on_request(tmp_path: Path) -> None:
    path = write(tmp_path / "t.csv", ["x", "price"], target_rows())
    plain = TableConfig(path=path, target="price").build(0)
    assert plain.train.targets.min() >= 5_000
    assert (plain.problem.center, plain.problem.spread) == (0.0, 1.0)
    scaled = TableConfig(path=path, target="price", scale_target=True).build(0)
    assert scaled.train.targets.mean().item() == pytest.approx(0, abs=1e-5)
    restored = scaled.test.targets * scaled.problem.spread + scaled.problem.center
    torch.testing.assert_close(restored, plain.test.targets)
