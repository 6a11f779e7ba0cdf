"""What a user is told of the data before training: what was guessed, left out, or is missing.

Each note is one line. A class without a test sample, or a file that was not read, is no error, and
nobody should have to find it out later.
"""

from collections.abc import Iterable, Sequence

from torch import Tensor

from bptrain.data.splits import Dataset, Split
from bptrain.errors import shorten
from bptrain.problem import Problem

MOST_NAMES = 8  # that a line lists
NAME_WIDTH = 30  # characters of a name in a line
CALLED = {"classes": "classes", "numbers": "columns", "texts": "symbols"}


def problem_note(problem: Problem) -> str:
    """Return the task, and the classes, columns or symbols by name."""
    kind = CALLED[problem.output_kind.targets]
    kind = "symbols" if problem.task == "language_model" else kind
    more = ", ..." * (len(problem.names) > MOST_NAMES)
    named = f": {listed(problem.names[:MOST_NAMES])}{more}" if problem.names else ""
    return f"task {problem.task}   {problem.outputs:,} {kind}{named}"


def guessed_task(task: str, given: str | None) -> list[str]:
    """Return that the task was guessed, if the config does not give it."""
    return [] if given is not None else [f"guessed: data.task {task}, from the targets"]


def ignored_files(files: int, why: str) -> list[str]:
    """Return how many files were not read."""
    return [f"ignored: {count(files, 'file')}: {why}"] if files else []


def left_out_rows(left_out: int, rows: int, why: str) -> list[str]:
    """Return how many rows were left out."""
    return [f"left out: {left_out:,} of {count(rows, 'row')}: {why}"] if left_out else []


def absent_classes(dataset: Dataset) -> list[str]:
    """Return which classes have no sample in a split; the only sample of one is trained on."""
    problem = dataset.problem
    if problem.task != "classification":
        return []
    found = []
    splits = {"training": dataset.train, "validation": dataset.validation, "test": dataset.test}
    for name, split in splits.items():
        absent = classes_not_in(split, problem)
        if absent:
            one = "class" if len(absent) == 1 else "classes"
            found.append(f"no {name} sample of {one} {listed(absent)}")
    return found


def classes_not_in(split: Split | None, problem: Problem) -> list[str]:
    """Return the names of the classes that a split has no sample of."""
    targets = getattr(split, "targets", None)
    if not isinstance(targets, Tensor) or targets.dim() != 1:
        return []
    there = set(targets.unique().tolist())
    names = problem.names or tuple(map(str, range(problem.outputs)))
    return [name for number, name in enumerate(names) if number not in there]


def listed(names: Sequence[str], most: int = MOST_NAMES) -> str:
    """Return the first of many names."""
    shown = ", ".join(shorten(shown_name(name), NAME_WIDTH) for name in names[:most])
    return f"{shown}, ... ({len(names):,} in all)" if len(names) > most else shown


def shown_name(name: str) -> str:
    """Return a name as it is, or quoted where it would not be seen or would change the terminal."""
    return name if name and name.isprintable() and name == name.strip() else repr(name)


def count(number: int, thing: str) -> str:
    """Return a number of things."""
    return f"{number:,} {thing}{'s' * (number != 1)}"


def flattened(*groups: Iterable[str]) -> tuple[str, ...]:
    """Return the notes of several groups."""
    return tuple(note for group in groups for note in group)
