"""Sequences from .npz files: padded and concatenated ones are the same, padding is ignored."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from bptrain.data.sequences.npz_file import read_npz
from bptrain.data.sequences.sequence_config import SequenceConfig
from bptrain.errors import DataError

LENGTHS = np.array([3, 5, 1, 4, 5, 2, 3, 5])


def some_sequences(features: int = 2) -> list[np.ndarray]:
    random = np.random.default_rng(0)
    return [random.normal(7, 3, (length, features)) for length in LENGTHS]


def padded(sequences: list[np.ndarray], filler: float = np.nan) -> np.ndarray:
    whole = np.full((len(sequences), max(map(len, sequences)), *sequences[0].shape[1:]), filler)
    for row, sequence in enumerate(sequences):
        whole[row, : len(sequence)] = sequence
    return whole


def save(path: Path, **arrays: Any) -> str:
    np.savez(path, **arrays)
    return str(path)


def whole(path: str, **keys: Any) -> Any:
    """Return the data set with every sequence in training."""
    return SequenceConfig(path=path, test_fraction=0.0, validation_fraction=0.0, **keys).build(0)


def test_concatenated_values_and_padded_inputs_are_the_same_sequences(tmp_path: Path) -> None:
    sequences, targets = some_sequences(), np.arange(8) % 3
    flat = save(
        tmp_path / "a.npz", values=np.concatenate(sequences), lengths=LENGTHS, targets=targets
    )
    # values in the padding are ignored, even NaN
    square = save(
        tmp_path / "b.npz", inputs=padded(sequences), lengths=LENGTHS.astype("u1"), targets=targets
    )
    one, other = whole(flat), whole(square)
    assert one.train.inputs.equal(other.train.inputs)
    assert one.train.lengths.tolist() == other.train.lengths.tolist() == LENGTHS.tolist()
    assert one.problem == other.problem
    assert one.problem.varies
    assert one.problem.input_shape == (5, 2)
    assert one.problem.outputs == 3


def test_features_are_scaled_by_the_valid_steps(tmp_path: Path) -> None:
    sequences = some_sequences()
    path = save(
        tmp_path / "a.npz", values=np.concatenate(sequences), lengths=LENGTHS, targets=LENGTHS % 2
    )
    samples = whole(path).train
    valid = torch.arange(5) < samples.lengths.unsqueeze(1)
    torch.testing.assert_close(samples.inputs[valid].mean(0), torch.zeros(2), atol=1e-6, rtol=0)
    std = samples.inputs[valid].std(0, correction=0)
    torch.testing.assert_close(std, torch.ones(2))
    assert samples.inputs[~valid].abs().sum() == 0
    plain = whole(path, standardize=False).train
    expected = torch.from_numpy(np.concatenate(sequences)).float()
    assert plain.inputs[valid].equal(expected)


def test_mean_and_std_are_those_of_the_training_sequences(tmp_path: Path) -> None:
    inputs = np.ones((4, 3, 1))
    train = save(
        tmp_path / "a.npz", inputs=inputs * [[[1]], [[2]], [[3]], [[2]]], targets=[0, 1] * 2
    )
    test = save(tmp_path / "b.npz", inputs=inputs * 1_000, targets=[0, 1] * 2)
    dataset = SequenceConfig(path=train, test_path=test, validation_fraction=0.0).build(0)
    expected = 998 / np.std([1, 2, 3, 2])
    torch.testing.assert_close(dataset.test.inputs, torch.full((4, 3, 1), float(expected)))


@pytest.mark.parametrize(
    ("targets", "task", "outputs"),
    [
        (np.arange(8) % 3, "classification", 3),
        (np.arange(8, dtype="u2") % 3, "classification", 3),
        (np.arange(8) % 2 == 1, "classification", 2),
        (np.arange(8) / 2, "regression", 1),
        (np.ones((8, 4), "f2"), "regression", 4),
        (np.tile(np.arange(5), (8, 1)), "tagging", 5),
    ],
    ids=["int64", "uint16", "bool", "float", "float16", "tags"],
)
def test_the_task_is_inferred_from_the_targets(
    tmp_path: Path, targets: np.ndarray, task: str, outputs: int
) -> None:
    path = save(tmp_path / "a.npz", inputs=np.ones((8, 5)), targets=targets)
    problem = whole(path).problem
    assert (problem.task, problem.outputs) == (task, outputs)
    assert (problem.input_shape, problem.is_sequence, problem.varies) == ((5, 1), True, False)


def test_tags_are_padded_with_the_ignored_class(tmp_path: Path) -> None:
    values, tags = np.arange(23.0), np.arange(1, 24) % 4
    tags[1] = -100
    lengths = np.array([10, 13])
    path = save(tmp_path / "a.npz", values=values, lengths=lengths, targets=tags)
    samples = whole(path).train
    assert samples.targets[0].tolist() == [1, -100, 3, *(np.arange(4, 11) % 4), -100, -100, -100]
    batch = next(iter(samples.serve(8).epoch(0)))
    assert batch.weight == 22  # predictions, not sequences
    shuffled = next(iter(samples.serve(1, seed=0).epoch(0)))
    assert shuffled.weight == int((shuffled.targets[0] != -100).sum())


@pytest.mark.parametrize("dtype", ["<f4", ">f8", "<i2", "|u1", "|b1", "<f2"])
@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("packed", [False, True], ids=["stored", "deflated"])
def test_arrays_are_read_as_numpy_wrote_them(
    tmp_path: Path, dtype: str, order: str, packed: bool
) -> None:
    array = np.array(np.random.default_rng(0).integers(0, 9, (4, 3, 5)), dtype, order=order)
    (np.savez_compressed if packed else np.savez)(tmp_path / "a.npz", array=array, other=[1])
    read = read_npz(tmp_path / "a.npz", ["array"])
    assert list(read) == ["array"]
    assert np.array_equal(read["array"], array)
    assert read["array"].dtype == array.dtype.newbyteorder("=")


def test_sequences_to_predict_equal_their_training_inputs(tmp_path: Path) -> None:
    values = np.concatenate(some_sequences())
    path = save(tmp_path / "a.npz", values=values, lengths=LENGTHS, targets=LENGTHS % 2)
    config = SequenceConfig(path=path, test_fraction=0.0, validation_fraction=0.0)
    dataset = config.build(0)
    prepared = json.loads(json.dumps(dataset.prepared))
    short = save(tmp_path / "b.npz", values=values[:3], lengths=LENGTHS[:1])
    ready = config.prepare([path, short], prepared)
    assert ready.inputs[:8].equal(dataset.train.inputs)
    assert ready.inputs[8].equal(dataset.train.inputs[0])
    assert ready.lengths.tolist() == [*LENGTHS, 3]


def test_sequences_to_predict_have_the_form_of_training(tmp_path: Path) -> None:
    path = save(tmp_path / "a.npz", inputs=np.ones((8, 5, 2)), targets=LENGTHS % 2)
    config = SequenceConfig(path=path)
    prepared = config.build(0).prepared
    wide = save(tmp_path / "b.npz", inputs=np.ones((8, 5, 3)))
    with pytest.raises(DataError, match=r"3 features[\s\S]*trained on 2"):
        config.prepare([wide], prepared)
    long = save(tmp_path / "c.npz", inputs=np.ones((8, 6, 2)))
    with pytest.raises(DataError, match=r"sequences of 6 steps[\s\S]*have 5 steps"):
        config.prepare([long], prepared)


LABELS = np.arange(8) % 2
FORMS: dict[str, tuple[np.ndarray, dict[str, Any], tuple[str, ...]]] = {
    "one-hot floats": (np.eye(2)[LABELS], {}, ()),
    "one-hot integers": (np.eye(2, dtype=int)[LABELS], {}, ()),
    "a column": (LABELS[:, None], {}, ()),
    "from 1": (LABELS + 1, {}, ("1", "2")),
    "signs": (LABELS * 2 - 1, {}, ("-1", "1")),
    "texts": (np.array(["cat", "dog"])[LABELS], {}, ("cat", "dog")),
    "whole floats": (LABELS.astype(float), {"task": "classification"}, ()),
}


@pytest.mark.parametrize("name", FORMS)
def test_classes_are_the_same_in_every_form(tmp_path: Path, name: str) -> None:
    targets, keys, names = FORMS[name]
    path = save(tmp_path / "a.npz", inputs=np.arange(40.0).reshape(8, 5), targets=targets)
    dataset = whole(path, **keys)
    assert (dataset.problem.task, dataset.problem.outputs) == ("classification", 2)
    assert dataset.problem.names == names
    assert dataset.train.targets.tolist() == LABELS.tolist()
    prepared = json.loads(json.dumps(dataset.prepared))
    again = SequenceConfig(path=path, **keys).labelled(Path(path), dataset.problem, prepared)
    assert again.targets.tolist() == LABELS.tolist()


def test_one_hot_rows_are_numbers_where_the_task_says_so(tmp_path: Path) -> None:
    path = save(tmp_path / "a.npz", inputs=np.ones((8, 5)), targets=np.eye(2)[LABELS])
    problem = whole(path, task="regression").problem
    assert (problem.task, problem.outputs) == ("regression", 2)


def test_a_one_hot_class_without_a_row_is_a_class(tmp_path: Path) -> None:
    path = save(tmp_path / "a.npz", inputs=np.ones((8, 5)), targets=np.eye(4)[LABELS])
    assert whole(path).problem.outputs == 4


def test_tags_may_begin_at_1(tmp_path: Path) -> None:
    tags = np.array([[1, 2, -100], [3, 1, 2]])
    path = save(tmp_path / "a.npz", inputs=np.ones((2, 3)), targets=tags)
    dataset = whole(path)
    assert (dataset.problem.task, dataset.problem.outputs) == ("tagging", 3)
    assert dataset.train.targets.tolist() == [[0, 1, -100], [2, 0, 1]]


def test_a_label_that_training_lacks_is_refused(tmp_path: Path) -> None:
    inputs = np.ones((8, 5))
    path = save(tmp_path / "a.npz", inputs=inputs, targets=LABELS + 1)
    test = save(tmp_path / "b.npz", inputs=inputs, targets=LABELS + 2)
    with pytest.raises(DataError, match=r"targets\[1\] is '3'[\s\S]*classes are 1, 2"):
        SequenceConfig(path=path, test_path=test).build(0)


def test_arrays_may_have_names_of_their_own(tmp_path: Path) -> None:
    inputs = np.arange(40.0).reshape(8, 5)
    own = save(tmp_path / "a.npz", X=inputs, y=LABELS)
    usual = save(tmp_path / "b.npz", inputs=inputs, targets=LABELS)
    names = {"inputs": "X", "targets": "y"}
    dataset = whole(own, arrays=names)
    assert dataset.train.inputs.equal(whole(usual).train.inputs)
    config = SequenceConfig(path=own, arrays=names)
    assert config.prepare([own], dataset.prepared).inputs.equal(dataset.train.inputs)
    with pytest.raises(DataError, match=r"no array 'targets'[\s\S]*data.arrays: \{targets: y\}"):
        whole(own)
    with pytest.raises(DataError, match=r"no array 'z', which data.arrays names"):
        whole(own, arrays={**names, "targets": "z"})
