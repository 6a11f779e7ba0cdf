"""What columns hold: numbers, dates, categories by value, or names that are no inputs."""

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from bptrain.data.tables.table_config import TableConfig
from bptrain.errors import BptrainError, DataError


def write(path: Path, header: str, rows: list[str]) -> str:
    path.write_text("\n".join([header, *rows, ""]))
    return str(path)


def config(path: str, **keys: Any) -> TableConfig:
    whole = {"test_fraction": 0.0} if "test_path" not in keys else {}
    return TableConfig(**{"path": path, "target": "y", "validation_fraction": 0.0, **whole, **keys})


def test_categories_are_compared_by_value(tmp_path: Path) -> None:
    train = write(tmp_path / "a.csv", "c,d,y", ["2,True,a", "2.0,TRUE,b", "02,false,a", "3,x,b"])
    test = write(tmp_path / "b.csv", "c,d,y", ["+2.00,true,a", "02,False,b", "2e0,x,b"])
    dataset = config(train, test_path=test, categorical=["c"]).build(0)
    assert dataset.prepared["columns"][0]["categories"] == ("02", "2", "3")
    assert dataset.prepared["columns"][1]["categories"] == ("False", "True", "x")
    assert dataset.train.inputs[0].equal(dataset.train.inputs[1])
    assert dataset.test.inputs[0].equal(dataset.train.inputs[0])
    assert dataset.test.inputs[1, :3].tolist() == [1, 0, 0]
    assert dataset.test.inputs[2, :3].tolist() == [0, 1, 0]
    assert not any("unseen" in note for note in dataset.notes)


def test_a_test_file_without_gaps_or_with_them_is_the_same(tmp_path: Path) -> None:
    """A column with a gap: pandas writes 2 as 2.0 in it."""
    rows = [f"{zone},{zone % 2}" for zone in [1, 2, 3] * 5]
    train = write(tmp_path / "a.csv", "zone,y", rows)
    tests = [
        write(tmp_path / "whole.csv", "zone,y", ["2,0", "3,1"]),
        write(tmp_path / "gap.csv", "zone,y", ["2.0,0", "3.0,1"]),
    ]
    whole, gap = (
        config(train, test_path=each, categorical=["zone"]).build(0).test.inputs for each in tests
    )
    assert whole.equal(gap)
    assert whole.sum(1).tolist() == [1, 1]


def test_dates_are_days_and_parts_of_the_year_and_the_week(tmp_path: Path) -> None:
    days = ["2024-01-01", "2024-07-01", "", "2025-01-01"]  # Monday, Monday, missing, Wednesday
    path = write(tmp_path / "t.csv", "when,y", [f"{day},{n % 2}" for n, day in enumerate(days)])
    inputs = config(path).build(0).train.inputs.double().numpy()
    numbers = np.array([0, 182, 366.0])
    expected = (numbers - numbers.mean()) / numbers.std()
    np.testing.assert_allclose(inputs[[0, 1, 3], 0], expected, atol=1e-6)
    year = [0, 2 * math.pi * 182 / 366, 0]
    np.testing.assert_allclose(inputs[[0, 1, 3], 1], np.sin(year), atol=1e-6)
    np.testing.assert_allclose(inputs[[0, 1, 3], 2], np.cos(year), atol=1e-6)
    week = [0, 0, 2 * math.pi * 2 / 7]
    np.testing.assert_allclose(inputs[[0, 1, 3], 3], np.sin(week), atol=1e-6)
    assert inputs[2].tolist() == [0, 0, 0, 0, 0, 1]
    assert inputs.shape == (4, 6)


def test_dates_in_another_form_are_those_that_the_key_reads(tmp_path: Path) -> None:
    iso = write(tmp_path / "i.csv", "when,y", ["2024-02-01 06:00,a", "2024-03-09 18:30,b"] * 3)
    own = write(tmp_path / "o.csv", "when,y", ["01.02.2024 06:00,a", "09.03.2024 18:30,b"] * 3)
    expected = config(iso).build(0).train.inputs
    assert expected.shape == (6, 7)  # the time of day, too
    made = config(own, dates={"when": "%d.%m.%Y %H:%M"})
    dataset = made.build(0)
    assert dataset.train.inputs.equal(expected)
    prepared = json.loads(json.dumps(dataset.prepared))
    assert made.prepare([own], prepared).inputs.equal(expected)


def test_dates_without_the_key_are_named_with_their_form(tmp_path: Path) -> None:
    rows = [f"{day:02}/{month:02}/2024,{day % 2}" for day in (5, 6) for month in (1, 13, 20)]
    path = write(tmp_path / "t.csv", "sold,y", rows)
    with pytest.raises(DataError, match=r"dates like '05/01/2024'[\s\S]*\{sold: \"%m/%d/%Y\"\}"):
        config(path).build(0)


NAMES = [f"{n},person {n},note {n * 7},,{n % 2}" for n in range(30)]


def test_names_and_free_text_are_refused_together_with_a_line_to_paste(tmp_path: Path) -> None:
    path = write(tmp_path / "t.csv", "PassengerId,Name,Remark,Nothing,y", NAMES)
    with pytest.raises(DataError) as refused:
        config(path).build(0)
    hint = "data.exclude: [PassengerId, Name, Remark, Nothing]"
    assert refused.value.hint == hint
    assert hint in str(refused.value)
    with pytest.raises(DataError, match="no column besides the target"):
        config(path, exclude=["PassengerId", "Name", "Remark", "Nothing"]).build(0)


def test_a_hint_to_exclude_repeats_what_is_excluded(tmp_path: Path) -> None:
    path = write(tmp_path / "t.csv", "PassengerId,Name,Remark,Nothing,y", NAMES)
    with pytest.raises(DataError) as refused:
        config(path, exclude=["Name", "Nothing"]).build(0)
    assert refused.value.hint == "data.exclude: [Name, Nothing, PassengerId, Remark]"


def test_excluded_columns_are_no_inputs_and_ids_are_pointed_at(tmp_path: Path) -> None:
    path = write(tmp_path / "t.csv", "PassengerId,Name,Remark,Nothing,y", NAMES)
    dataset = config(path, exclude=["Name", "Remark", "Nothing"]).build(0)
    assert dataset.train.inputs.shape == (30, 1)
    assert "column PassengerId looks like an id: data.exclude leaves it out" in dataset.notes


def test_codes_of_numbers_and_texts_are_names_not_wrong_numbers(tmp_path: Path) -> None:
    rows = [f"{'A/' * (n % 3 == 0)}{n * 37},{n % 2}" for n in range(60)]
    path = write(tmp_path / "t.csv", "ticket,y", rows)
    with pytest.raises(DataError, match="'ticket' holds 40 numbers and 20 texts"):
        config(path).build(0)


def test_the_first_ten_wrong_cells_are_listed_and_the_others_counted(tmp_path: Path) -> None:
    rows = [f"{n},{n},{n % 2}" for n in range(200)]
    for row in range(0, 120, 10):
        rows[row] = f"{row},oops,1"
    rows[3] = "x3,3,1"
    path = write(tmp_path / "t.csv", "a,b,y", rows)
    with pytest.raises(DataError) as refused:
        config(path).build(0)
    said = str(refused.value)
    assert "13 such cells in columns 'a', 'b'" in said
    assert "'x3' in row 4 (line 5)" in said
    assert said.count("'oops' in row") == 9
    assert "and 3 more" in said


@pytest.mark.parametrize(
    ("cells", "said", "key"),
    [
        (["1,234,567", "950"], "commas between thousands", 'data.thousands: ","'),
        (["1,234", "2,345"], "or in place of a point", 'data.decimal: ","'),
        (["1.234.567", "2.345.678"], "points between thousands", 'data.thousands: "."'),
        (["1 234", "12"], "spaces between thousands", 'data.thousands: " "'),
        (["1'234", "12"], "apostrophes between thousands", 'data.thousands: "\'"'),
        (["45%", "0.5"], "has %", "write all cells of the column alike"),
        (["$45", "€5"], "has no", "write all cells alike"),
        (["45%", "half"], "has no %", "write all cells alike"),
        (["unknown", "unknown", "1"], "'unknown' in column 'x'", "data.missing_values"),
        (["2024-02-30", "2024-02-28"], "is no date", "data.dates"),
    ],
)
def test_numbers_in_another_spelling_are_named_with_the_key_that_reads_them(
    tmp_path: Path, cells: list[str], said: str, key: str
) -> None:
    rows = [f"{cell};{n % 2}" for n, cell in enumerate(cells * 4)]
    with pytest.raises(DataError) as refused:
        config(write(tmp_path / "t.csv", "x;y", rows)).build(0)
    assert said in str(refused.value)
    assert key in refused.value.hint


def test_rows_without_a_target_are_left_out_alone(tmp_path: Path) -> None:
    rows = ["1,a", ",b", "3,", ",", "5,b"]
    path = write(tmp_path / "t.csv", "x,y", rows)
    dataset = config(path, missing_target="drop").build(0)
    assert dataset.train.targets.tolist() == [0, 1, 1]
    assert any("left out: 2 of 5 rows: without a target" in note for note in dataset.notes)
    assert len(config(path, missing="drop").build(0).train) == 2


def test_percentages_to_predict_need_their_sign(tmp_path: Path) -> None:
    path = write(tmp_path / "t.csv", "share,y", ["45%,a", "50%,b", "70%,a"])
    made = config(path)
    prepared = json.loads(json.dumps(made.build(0).prepared))
    new = write(tmp_path / "new.csv", "share", ["45%", "70%"])
    assert made.prepare([new], prepared).inputs.equal(made.build(0).train.inputs[[0, 2]])
    bare = write(tmp_path / "bare.csv", "share", ["45", "70"])
    with pytest.raises(DataError, match="has no %"):
        made.prepare([bare], prepared)


def several(tmp_path: Path) -> str:
    rows = [f"{n / 10},{n * 3.5},{1000 - n}%" for n in range(40)]
    return write(tmp_path / "t.csv", "x,price,share", rows)


def test_several_columns_of_numbers_can_be_the_target(tmp_path: Path) -> None:
    dataset = config(several(tmp_path), target=["price", "share"]).build(0)
    assert dataset.problem.task == "regression"
    assert dataset.problem.names == ("price", "share")
    assert dataset.train.inputs.shape == (40, 1)
    assert dataset.train.targets[2].tolist() == [7.0, 998.0]


def test_several_targets_are_scaled_each_in_its_unit(tmp_path: Path) -> None:
    made = config(several(tmp_path), target=["price", "share"], scale_target=True)
    dataset = made.build(0)
    assert dataset.train.targets.mean(0).tolist() == pytest.approx([0, 0], abs=1e-6)
    assert dataset.train.targets.std(0, correction=0).tolist() == pytest.approx([1, 1])
    unit = [torch.tensor(each) for each in (dataset.problem.spread, dataset.problem.center)]
    restored = dataset.train.targets * unit[0] + unit[1]
    assert restored[2].tolist() == pytest.approx([7.0, 998.0])


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ({"target": ["x", "price"], "task": "classification"}, "data.target names 2 columns"),
        ({"target": "price", "exclude": ["w"]}, "no column 'w', which data.exclude names"),
        ({"target": "price", "dates": {"w": "%Y"}}, "no column 'w', which data.dates names"),
        ({"target": "price", "dates": {"x": "%Y-%m"}}, "'0.0' in column 'x' is no date"),
    ],
)
def test_keys_that_do_not_fit_are_refused(tmp_path: Path, keys: dict[str, Any], said: str) -> None:
    with pytest.raises(BptrainError, match=said):
        config(several(tmp_path), **keys).build(0)


@pytest.mark.parametrize(
    "keys", [{"columns": ["x"], "exclude": ["share"]}, {"target": []}, {"target": ["x", "x"]}]
)
def test_keys_that_exclude_each_other_are_refused(keys: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"both choose the inputs|names no column"):
        TableConfig(**{"path": "t.csv", "target": "price", **keys})
