"""Numbers keep their digits until they are scaled, and integer labels all of them."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from bptrain.commands.predict import to_rows
from bptrain.data.sequences.sequence_config import SequenceConfig
from bptrain.data.splits import Samples
from bptrain.data.tables.table_config import TableConfig
from bptrain.errors import DataError

ROWS = 200


def table(targets: list[object], **keys: object) -> TableConfig:
    lines = [f"{row},{target}" for row, target in enumerate(targets)]
    Path("table.csv").write_text("\n".join(["x,y", *lines]))
    return TableConfig.model_validate({"path": "table.csv", "target": "y", **keys})


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize("offset", [0, 1_700_000_000, 1_700_000_000_000])
def test_targets_are_scaled_before_they_are_rounded(offset: int) -> None:
    near = table(list(range(ROWS)), scale_target=True, task="regression").build(0)
    far = table([offset + row for row in range(ROWS)], scale_target=True).build(0)
    for split in ("train", "validation", "test"):
        one, other = getattr(near, split), getattr(far, split)
        assert isinstance(one, Samples)
        assert other.targets.dtype is torch.float32
        assert torch.allclose(one.targets, other.targets, atol=1e-5)
    assert far.problem.center == pytest.approx(offset + near.problem.center, abs=1e-3)
    assert far.problem.spread == pytest.approx(near.problem.spread, rel=1e-6)


def test_new_labelled_rows_are_scaled_alike() -> None:
    config = table([1_700_000_000 + row for row in range(ROWS)], scale_target=True)
    dataset = config.build(0)
    Path("new.csv").write_text("x,y\n3,1700000003\n4,1700000004\n")
    new = config.labelled(Path("new.csv"), dataset.problem, dataset.prepared)
    problem = dataset.problem
    values = new.targets.double() * problem.spread + problem.center - 1_700_000_000
    assert values.flatten().tolist() == pytest.approx([3, 4], abs=1e-3)


def test_targets_that_float32_would_round_away_are_refused_with_the_key() -> None:
    with pytest.raises(DataError, match="too far from 0") as refused:
        table([1_700_000_000 + row for row in range(ROWS)]).build(0)
    assert "scale_target: true" in refused.value.hint
    table([f"{1e6 + row / 3}" for row in range(ROWS)]).build(0)  # rounded, by a small part


LARGE = 2**53 + 1  # which float64 rounds


@pytest.mark.parametrize("write", [str, lambda n: f"{n}.0", lambda n: f"{n:+}"])
def test_integer_labels_beyond_2_to_the_53_are_different_classes(
    write: Callable[[int], str],
) -> None:
    labels = [LARGE - 1, LARGE, LARGE + 1, -LARGE]
    dataset = table([write(labels[row % 4]) for row in range(ROWS)]).build(0)
    assert dataset.problem.names == tuple(map(str, sorted(labels)))
    assert isinstance(dataset.test, Samples)
    assert dataset.test.targets.bincount().tolist() == [10] * 4


def test_labels_of_one_value_are_one_class_however_they_are_written() -> None:
    forms = ["3", "3.0", "+3", "3e0", "20", "2e1"]
    dataset = table([forms[row % 6] for row in range(ROWS)]).build(0)
    assert dataset.problem.names == ("3", "20")


def sequences(inputs: np.ndarray, targets: np.ndarray, **keys: object) -> SequenceConfig:
    np.savez("s.npz", inputs=inputs, targets=targets)
    return SequenceConfig.model_validate({"path": "s.npz", **keys})


def test_inputs_of_sequences_are_scaled_before_they_are_rounded() -> None:
    steps = np.arange(ROWS * 4).reshape(ROWS, 4)
    classes = np.arange(ROWS) % 2
    near = sequences(steps.astype(np.float64), classes).build(0)
    for shifted in (steps + 1_700_000_000, steps + 1.7e12):
        config = sequences(shifted, classes)
        far = config.build(0)
        assert isinstance(far.train, Samples)
        assert isinstance(near.train, Samples)
        assert far.train.inputs.dtype is torch.float32
        assert torch.allclose(near.train.inputs, far.train.inputs, atol=1e-5)
        given = config.prepare(["s.npz"], far.prepared)
        assert given.inputs.dtype is torch.float32
        assert len(given.inputs.unique()) == ROWS * 4


def test_targets_of_sequences_that_float32_would_round_away_are_refused() -> None:
    inputs, numbers = np.zeros((ROWS, 2)), np.arange(ROWS, dtype=np.float64)
    inputs[:, 0] = numbers
    targets = np.stack([numbers, numbers + 1.7e9], 1)
    with pytest.raises(DataError, match="too far from 0"):
        sequences(inputs, targets).build(0)
    dataset = sequences(inputs, np.stack([numbers, np.full(ROWS, 0.1)], 1)).build(0)
    assert isinstance(dataset.train, Samples)
    assert dataset.train.targets.dtype is torch.float32


def test_a_run_on_large_targets_explains_them_and_prints_their_digits(bptrain: Callable) -> None:
    table([1_700_000_000 + row for row in range(ROWS)])
    Path("c.yaml").write_text(
        "data: {kind: table, path: table.csv, target: y, scale_target: true, batch_size: 16}\n"
        "model: {kind: mlp, hidden: []}\noptimizer: {kind: sgd, lr: 0.05}\ntrain: {epochs: 20}\n"
    )
    assert bptrain("fit", "c.yaml", "--run-dir", "run").exit_code == 0
    assert json.loads(bptrain("evaluate", "run", "--json").stdout)["test/r2"] > 0.999
    assert bptrain("predict", "run", "table.csv").stdout.splitlines()[100].split()[1][:8] == (
        "17000000"
    )


def test_the_table_of_predictions_shows_the_digits_of_large_numbers() -> None:
    (row,) = to_rows([{"input": "a", "y": 1_700_000_123.25, "z": 1.5e-7}])[1:]
    assert row == ["a", "1700000123.25", "1.5e-07"]
