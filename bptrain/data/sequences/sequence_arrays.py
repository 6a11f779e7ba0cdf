"""Checks the arrays of a sequence file and turns them into samples."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from bptrain.data.given_arrays import NUMBERS, place_of, zeros
from bptrain.data.sequences.labels import Label, classes_of_rows, indices, labels_of
from bptrain.data.sequences.npz_file import names_in, read_npz
from bptrain.data.splits import IGNORED, Samples
from bptrain.errors import DataError, shorten

SequenceTask = Literal["classification", "regression", "tagging"]
Array = NDArray[Any]

WANTED = ("inputs", "values", "lengths", "targets")
NO_NAMES: Mapping[str, str] = MappingProxyType({})
USUAL_NAMES = {
    "inputs": ("x", "data", "features", "sequences", "x_train", "input"),
    "targets": ("y", "labels", "label", "target", "classes", "y_train", "t"),
    "lengths": ("length", "lens", "seq_len", "n"),
}
MOST_CLASSES = 1_000_000
EXACT_BYTES = 4  # of a float that float32 holds exactly
LARGEST = 3.4e38  # float32 overflows beyond
LARGEST_BYTES = 2**33  # of the padded sequences
NAME = Path("the sequences")  # that a program gives, in messages


@dataclass(frozen=True)
class Sequences:
    """Samples and their task.

    labels  of the classes, where these are not 0, 1, ...
    """

    samples: Samples
    task: SequenceTask
    outputs: int
    labels: tuple[Label, ...] = ()


def read_sequences(
    path: Path,
    task: SequenceTask | None,
    names: Mapping[str, str] = NO_NAMES,
    training: Sequences | None = None,
) -> Sequences:
    """Return the sequences and targets of a file, or raise DataError naming what is wrong.

    names     of the arrays in the file, where they are others than WANTED
    training  the sequences to train on, if these are to test on
    """
    arrays = _named_arrays(path, WANTED, names)
    if "targets" not in arrays:
        raise DataError(f"{path}: no array 'targets'", *_found(path, "targets"))
    values, lengths = _flat(path, arrays)
    columns = arrays["targets"].shape[1:]
    task = _with_classes(arrays, len(lengths), task)
    is_class = task == "classification"
    labels = labels_of(arrays["targets"]) if training is None else training.labels
    if arrays["targets"].dtype.kind in "iubU":
        arrays["targets"] = indices(path, arrays["targets"], labels)
    fewest = 2 if training is None else 1
    task, targets = _targets(path, arrays, lengths, task, fewest)
    outputs = targets.shape[1] if task == "regression" else int(targets.max()) + 1
    if is_class and columns[:1] > (1,):
        outputs = columns[0]  # one-hot: a class that no row has is a class
    if task == "tagging":
        targets = _padded(path, targets, lengths, IGNORED)
    samples = _samples(path, values, lengths, torch.from_numpy(targets))
    return Sequences(samples, task, len(labels) or outputs, labels)


def _named_arrays(
    path: Path, wanted: Collection[str], names: Mapping[str, str]
) -> dict[str, Array]:
    """Return the arrays of a file by their usual names."""
    called = {names.get(name, name): name for name in wanted}
    found = read_npz(path, called, texts=[names.get("targets", "targets")])
    for key, name in names.items():
        if key in wanted and name not in found:
            shown = shorten(", ".join(names_in(path)) or "none", 120)
            raise DataError(
                f"{path}: no array {name!r}, which data.arrays names", f"its arrays: {shown}"
            )
    return {called[name]: array for name, array in found.items()}


def _with_classes(
    arrays: dict[str, Array], count: int, task: SequenceTask | None
) -> SequenceTask | None:
    """Replace targets that are classes in another form, and return the task that is then known."""
    targets = arrays["targets"]
    each_step = arrays["values"].shape[:1] if "values" in arrays else arrays["inputs"].shape[:2]
    is_tagging = targets.dtype.kind in "iub" and targets.shape == each_step
    classes = classes_of_rows(targets, count, is_tagging, task)
    if classes is None:
        return task
    arrays["targets"] = classes
    return "classification"


def read_inputs(path: Path, names: Mapping[str, str] = NO_NAMES) -> Samples:
    """Return the sequences of a file; its targets are not read, zeros take their place."""
    values, lengths = _flat(path, _named_arrays(path, WANTED[:3], names))
    return _samples(path, values, lengths, torch.zeros(len(lengths), dtype=torch.int64))


def inputs_of(sequences: Sequence[Array]) -> Samples:
    """Return sequences [T, F] or [T] that a program gives; zeros take the place of targets."""
    for row, each in enumerate(sequences):
        if each.ndim not in (1, 2) or each.size == 0 or each.dtype.kind not in NUMBERS:
            raise _wrong_shape(
                Path(place_of(row)), "a sequence", each, "[steps, features] or [steps]"
            )
    steps = [each.reshape(len(each), -1) for each in sequences]
    features = {each.shape[1] for each in steps}
    if len(features) > 1:
        raise DataError(f"the sequences have {min(features)} to {max(features)} features")
    arrays = {"values": np.concatenate(steps), "lengths": np.array([len(each) for each in steps])}
    values, lengths = _flat(NAME, arrays)
    return _samples(NAME, values, lengths, zeros(len(lengths)))


def _samples(path: Path, values: Array, lengths: Array, targets: Tensor) -> Samples:
    inputs = torch.from_numpy(_padded(path, values, lengths, 0))
    same = bool((lengths == lengths[0]).all())
    return Samples(inputs, targets, None if same else torch.from_numpy(lengths))


def _flat(path: Path, arrays: dict[str, Array]) -> tuple[Array, Array]:
    """Return values [sum T, F] in float32 and lengths [N], checked."""
    if ("inputs" in arrays) == ("values" in arrays):
        both = "it holds both inputs and values" if "inputs" in arrays else "no array 'inputs'"
        raise DataError(f"{path}: {both}", *_found(path, "inputs"))
    if "values" in arrays:
        values = arrays["values"]
        if "lengths" not in arrays:
            raise DataError(f"{path}: values without an array 'lengths'", *_found(path, "lengths"))
        if values.ndim not in (1, 2):
            raise _wrong_shape(path, "values", values, "[steps, features] or [steps]")
        lengths = _lengths(path, arrays["lengths"], len(values))
        if int(lengths.sum()) != len(values):
            total = int(lengths.sum())
            raise DataError(
                f"{path}: lengths add up to {total:,}, values has {len(values):,} steps"
            )
        return _numbers(path, "values", values.reshape(len(values), -1)), lengths
    inputs = arrays["inputs"]
    if inputs.ndim not in (2, 3):
        raise _wrong_shape(path, "inputs", inputs, "[N, steps, features] or [N, steps]")
    count, steps = inputs.shape[:2]
    lengths = np.full(count, steps, np.int64)
    if "lengths" in arrays:
        lengths = _lengths(path, arrays["lengths"], steps)
        if len(lengths) != count:
            raise DataError(f"{path}: {len(lengths):,} lengths for {count:,} inputs")
    if inputs.size == 0:
        raise DataError(f"{path}: inputs {list(inputs.shape)} hold no number")
    valid = np.arange(steps) < lengths[:, None]  # values in the padding are ignored
    return _numbers(path, "inputs", inputs.reshape(count, steps, -1)[valid]), lengths


def _lengths(path: Path, lengths: Array, most: int) -> Array:
    if lengths.dtype.kind not in "iu" or lengths.ndim != 1 or len(lengths) == 0:
        raise _wrong_shape(path, "lengths", lengths, "[N] of integers")
    wrong = np.flatnonzero((lengths < 1) | (lengths > most))
    if len(wrong):
        row = int(wrong[0])
        raise DataError(
            f"{path}: lengths[{row}] is {lengths[row]}, expected 1 to {most:,}",
            "a sequence has at least one step, and no more than the file holds",
        )
    return lengths.astype(np.int64)


def _numbers(path: Path, name: str, array: Array) -> Array:
    """Return an array [M, F] in float32, or float64 if its numbers need that to be exact.

    Raises DataError for a number that does not fit float32.
    """
    if array.size == 0:
        raise DataError(f"{path}: {name} {list(array.shape)} hold no number")
    broken = ~(np.abs(array, dtype=np.float64) <= LARGEST)
    if broken.any():
        step, feature = (int(each) for each in np.argwhere(broken)[0])
        raise DataError(
            f"{path}: {name} hold {array[step, feature]} at step {step:,}, feature {feature:,}",
            f"counted over all sequences; {int(broken.sum()):,} numbers are not finite",
            "fill in missing numbers, or leave out their sequences",
        )
    is_exact = array.dtype.kind == "f" and array.dtype.itemsize <= EXACT_BYTES
    return array.astype(np.float32 if is_exact else np.float64)


def _targets(
    path: Path,
    arrays: dict[str, Array],
    lengths: Array,
    task: SequenceTask | None,
    fewest_classes: int,
) -> tuple[SequenceTask, Array]:
    """Return the task, and classes [N], numbers [N, D] or a class for each step [sum T]."""
    targets, count = arrays["targets"], len(lengths)
    found = _task(path, arrays, count)
    if task is not None and task != found:
        raise DataError(
            f"{path}: targets {_shape_and_type(targets)} are for {found}, data.task says {task}",
            "classification: integers [N]; tagging: an integer for each step; regression: floats",
        )
    if found == "regression":
        return found, _numbers(path, "targets", targets.reshape(count, -1))
    if found == "tagging" and "inputs" in arrays:
        targets = targets[np.arange(targets.shape[1]) < lengths[:, None]]
    allowed = targets >= 0
    if found == "tagging":
        allowed |= targets == IGNORED
    wrong = np.flatnonzero(~allowed | (targets >= MOST_CLASSES))
    if len(wrong):
        extra = f", or {IGNORED} where a step is ignored" if found == "tagging" else ""
        raise DataError(
            f"{path}: targets[{wrong[0]:,}] is {targets[wrong[0]]}",
            f"classes are 0 to {MOST_CLASSES - 1:,}{extra}",
            "number the classes from 0",
        )
    known = targets[targets >= 0]
    if len(np.unique(known)) < fewest_classes:
        raise DataError(
            f"{path}: the targets have a single class", f"all {len(known):,} are the same"
        )
    return found, targets.astype(np.int64)


def _task(path: Path, arrays: dict[str, Array], count: int) -> SequenceTask:
    """Return the task that type and shape of the targets imply, or raise DataError."""
    targets = arrays["targets"]
    integer = targets.dtype.kind in "iubU"
    if targets.ndim == 1 and len(targets) == count:
        return "classification" if integer else "regression"
    if targets.ndim == 2 and len(targets) == count and targets.shape[1] and not integer:
        return "regression"
    each_step = arrays["values"].shape[:1] if "values" in arrays else arrays["inputs"].shape[:2]
    if integer and targets.shape == each_step:
        return "tagging"
    raise DataError(
        f"{path}: targets {_shape_and_type(targets)} do not fit {count:,} sequences",
        f"expected [{count}], integers {list(each_step)}, or floats [{count}, D]",
    )


def _padded(path: Path, flat: Array, lengths: Array, filler: int) -> Array:
    """Return concatenated sequences [sum T, ...] as [N, T, ...], padded with `filler`."""
    shape = (len(lengths), int(lengths.max()), *flat.shape[1:])
    # one long sequence among a million short ones pads them all
    if int(np.prod([float(size) for size in shape])) * flat.itemsize > LARGEST_BYTES:
        raise DataError(
            f"{path}: padded to the longest, {list(shape)} numbers are too many to hold",
            f"{shape[1]:,} steps in the longest, {float(lengths.mean()):,.1f} in the mean",
            "cut or leave out the longest sequences",
        )
    padded = np.full(shape, filler, flat.dtype)
    padded[np.arange(shape[1]) < lengths[:, None]] = flat
    return padded


def _wrong_shape(path: Path, name: str, array: Array, expected: str) -> DataError:
    return DataError(f"{path}: {name} {_shape_and_type(array)}, expected {expected}")


def _shape_and_type(array: Array) -> str:
    return f"{list(array.shape)} of {array.dtype}"


def _found(path: Path, name: str) -> tuple[str, str]:
    """Return which arrays the file has, and which of them was probably meant."""
    names = names_in(path)
    usual = [each for each in names if each.lower() in USUAL_NAMES.get(name, ())]
    meant = [*get_close_matches(name, names, n=1), *usual]
    shown = shorten(", ".join(names) or "none", 120)
    key = f"data.arrays: {{{name}: {meant[0]}}}" if meant else ""
    hint = f"{key}, or rename {meant[0]!r} to {name!r}" if meant else ""
    return f"its arrays: {shown}; expected inputs or values, lengths, targets", hint
