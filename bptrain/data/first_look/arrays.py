"""A look at an .npz file of arrays: sequences, and what to predict of each."""

from collections import Counter
from pathlib import Path
from typing import Any

from bptrain.data.first_look.found import Found, batch_size_of, imbalance_of
from bptrain.data.notes import count, listed
from bptrain.data.sequences.npz_file import names_in, read_npz
from bptrain.data.sequences.sequence_arrays import USUAL_NAMES, Sequences, read_sequences
from bptrain.errors import UsageError
from bptrain.problem import Problem


def look_at_arrays(path: Path, target: str | None) -> Found:
    """Return what an .npz file holds; raise DataError for one that is not read.

    target  name of the array of targets; None to guess it
    """
    names = _array_names(path, target)
    found = read_sequences(path, None, names)
    samples = found.samples
    steps, features = samples.inputs.shape[1:]
    varies = samples.lengths is not None
    data: dict[str, Any] = {"kind": "sequence", "path": str(path)}
    reasons: dict[str, str] = {}
    if names:
        data["arrays"], reasons["arrays"] = names, "guessed by the names of the arrays in the file"
    data["task"], reasons["task"] = found.task, _task_evidence(found)
    data["batch_size"] = batch_size_of(len(samples))
    steps_each = f"up to {steps:,} steps" if varies else count(steps, "step")
    seen = [f"{count(len(samples), 'sequence')} of {steps_each}, {count(features, 'number')} each"]
    problem = Problem(found.task, (steps, features), found.outputs, is_sequence=True, varies=varies)
    counts = class_counts(found)
    return Found(
        data, reasons, seen, problem, len(samples), imbalance=imbalance_of(counts) if counts else ""
    )


def _array_names(path: Path, target: str | None) -> dict[str, str]:
    """Return the arrays of a file whose names are not the usual ones, by what they hold."""
    read_npz(path, ())  # refuses what is no .npz file
    there = names_in(path)
    if target is not None and target not in there:
        raise UsageError(
            f"{path}: no array {target!r}",
            f"its arrays: {listed(there)}",
            "--target with one of them",
        )
    names = {} if target in (None, "targets") else {"targets": str(target)}
    for meant, usual in USUAL_NAMES.items():
        if meant in there or meant in names or (meant == "inputs" and "values" in there):
            continue
        close = [name for name in there if name.lower() in usual and name != target]
        if close and (meant != "lengths" or "values" in there):
            names[meant] = close[0]
    return names


def _task_evidence(found: Sequences) -> str:
    if found.task == "regression":
        return f"guessed: the targets are {count(found.outputs, 'number')} that are no classes"
    each = "step" if found.task == "tagging" else "sequence"
    return f"guessed: the targets are one of {found.outputs:,} classes for each {each}"


def class_counts(found: Sequences) -> dict[str, int]:
    """Return how many sequences each class has; {} where they have none."""
    if found.task != "classification":
        return {}
    return {str(label): rows for label, rows in Counter(found.samples.targets.tolist()).items()}
