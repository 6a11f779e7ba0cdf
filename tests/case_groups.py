"""Runs a table of cases in groups: a test of pytest's own for each case costs more than most cases.

    @every_case(CASES)
    def test_it_is_right(case: Case) -> None: ...

makes a test for each operation, which calls the function for every case of it and then names all
cases that failed. Under `--case TEXT` only the cases whose label holds TEXT run, each a test.
"""

import inspect
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import wraps
from typing import Any, Generic, Protocol, TypeVar

import pytest

LARGEST = 16  # cases: one process would still run a larger group when the others have nothing left


class Labelled(Protocol):
    """What a report calls `operation: case`."""

    @property
    def label(self) -> str:
        """Its name."""


C = TypeVar("C", bound=Labelled)


@dataclass(frozen=True)
class Group(Generic[C]):
    """Cases of one operation that one test runs."""

    cases: tuple[C, ...]
    is_slow: bool = False

    @property
    def label(self) -> str:
        """Return the test's name: the first case, and how many follow."""
        more = len(self.cases) - 1
        return self.cases[0].label + (f" and {more} more" if more else "")


class Asked:
    """What `--case` asks for, set before tests are collected."""

    text = ""


def groups_of(
    cases: Iterable[C],
    is_slow: Callable[[C], bool] = lambda _: False,
    first_apart: bool = False,
) -> list[Group[C]]:
    """Group cases by operation, slow ones apart; `first_apart`: each operation's first one too."""
    groups: list[Group[C]] = []
    gathered: dict[tuple[str, bool], list[C]] = {}
    for case in cases:
        if Asked.text in case.label:
            key = (case.label.partition(":")[0], is_slow(case))
            gathered.setdefault(key, []).append(case)
    for (_, slow), found in gathered.items():
        size = 1 if Asked.text else LARGEST
        start = 1 if first_apart else 0
        parts = [found[:start], *(found[at : at + size] for at in range(start, len(found), size))]
        groups += [Group(tuple(part), slow) for part in parts if part]
    return groups


def every_case(
    cases: Iterable[C],
    is_slow: Callable[[C], bool] = lambda _: False,
    first_apart: bool = False,
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Return a decorator that runs a function of `case` over the cases, in groups.

    What else the function takes, a parameter or a fixture, is one for all cases of a group.
    """
    parameters = [
        pytest.param(group, id=group.label, marks=pytest.mark.slow if group.is_slow else ())
        for group in groups_of(cases, is_slow, first_apart)
    ]

    def decorate(function: Callable[..., None]) -> Callable[..., None]:
        @wraps(function)
        def run(group: Group[Any], **others: Any) -> None:
            run_each(group.cases, lambda case: function(case=case, **others))

        signature = inspect.signature(function)
        own = [each for name, each in signature.parameters.items() if name != "case"]
        group = inspect.Parameter("group", inspect.Parameter.POSITIONAL_OR_KEYWORD)
        run.__signature__ = signature.replace(parameters=[group, *own])  # what pytest fills in
        return pytest.mark.parametrize("group", parameters)(run)

    return decorate


def run_each(cases: Iterable[C], function: Callable[[C], None]) -> None:
    """Call the function for every case; then raise what failed together, each with its label.

    Random numbers start anew for each case, so that it fails alone as it does among others.
    """
    import torch  # not above: conftest imports this, and torch counts its threads as it is imported

    failed: list[BaseException] = []
    lines, skipped, count = [], [], 0
    for case in cases:
        count += 1
        torch.default_generator.manual_seed(0)
        try:
            function(case)
        except pytest.skip.Exception as skip:
            skipped.append(skip)
        except (Exception, pytest.fail.Exception) as error:
            error.add_note(f"case {case.label}")
            failed.append(error)
            lines.append(f"{case.label}: {type(error).__name__}: {error}")
    if failed:
        text = "\n".join([f"{len(failed)} of {count} cases failed", *lines])
        raise BaseExceptionGroup(text, failed)
    if len(skipped) == count > 0:
        raise skipped[0]
