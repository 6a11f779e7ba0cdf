"""Which tests `-m quick` runs: under a minute on two cores, for the inner loop.

A test's path makes it quick, so that a new test in these places is quick without a mark. Of tests
over the table of cases, the first case of each operation and module is selected.
"""

import re
from collections.abc import Iterable
from pathlib import Path

import pytest

TESTS = Path(__file__).parent
PLACES = (  # folders and files below tests/
    "config/test_config.py",
    "config/test_yaml_tree.py",
    "losses",
    "ops",
    "optim",
    "rundir",
    "test_architecture.py",
    "train",
)
TOO_SLOW = (  # what takes seconds in PLACES: files and functions
    "test_checkpoint_faults.py",
    "test_malicious_checkpoints.py",
    "test_every_optimizer_lowers_the_loss_of_a_small_model",
    "test_one_graph_is_compiled",
)
ONE_CASE_OF_EACH = (  # functions of tests/verify, and these alone
    "test_gradients_agree_with_finite_differences",
    "test_float64_agrees_with_torch",
)
LABEL = re.compile(r"\[([^:\]]+)")  # "[linear: no bias-cpu]" and "[linear-cpu]" are of linear


def is_in_quick_file(path: Path) -> bool:
    """Return whether a file or folder holds a quick test."""
    if path.name in TOO_SLOW:
        return False
    place = path.relative_to(TESTS).as_posix() + "/"
    return place.startswith(("verify/", *(f"{each}/" for each in PLACES)))


def is_quick_function(path: Path, name: str) -> bool:
    """Return whether a test function may be quick."""
    if path.is_relative_to(TESTS / "verify"):
        return name in ONE_CASE_OF_EACH
    return name not in TOO_SLOW


def mark_quick(items: Iterable[pytest.Item]) -> None:
    """Mark the quick tests among those that were collected."""
    seen: set[tuple[str, str]] = set()
    for item in items:
        name = item.name.split("[")[0]
        if any(item.get_closest_marker(each) for each in ("slow", "faults", "cuda")):
            continue
        if not is_in_quick_file(item.path) or not is_quick_function(item.path, name):
            continue
        if name in ONE_CASE_OF_EACH:
            label = LABEL.search(item.name)
            operation = (name, label[1].removesuffix("-cpu") if label else "")
            if operation in seen:
                continue
            seen.add(operation)
        item.add_marker(pytest.mark.quick)
