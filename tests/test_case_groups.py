"""Cases that run in groups fail by name, and none hides another."""

import os
from dataclasses import dataclass

import pytest
import torch
from case_groups import Asked, every_case, groups_of, run_each


@dataclass(frozen=True)
class Row:
    label: str
    is_slow: bool = False


ROWS = [Row("add: one"), Row("add: two"), Row("mul: one"), Row("add: three"), Row("mul: two", True)]


def labels(**options: object) -> list[tuple[list[str], bool]]:
    groups = groups_of(ROWS, is_slow=lambda row: row.is_slow, **options)
    return [([case.label for case in group.cases], group.is_slow) for group in groups]


def test_cases_are_grouped_by_operation_and_slow_ones_stand_apart() -> None:
    others = [(["mul: one"], False), (["mul: two"], True)]
    assert labels() == [(["add: one", "add: two", "add: three"], False), *others]
    first, rest = (["add: one"], False), (["add: two", "add: three"], False)
    assert labels(first_apart=True) == [first, rest, *others]


def test_a_large_group_is_split_and_every_case_is_in_one() -> None:
    rows = [Row(f"add: {number}") for number in range(40)]
    groups = groups_of(rows)
    assert [len(group.cases) for group in groups] == [16, 16, 8]
    assert [case for group in groups for case in group.cases] == rows
    assert [group.label for group in groups][1] == "add: 16 and 15 more"


def test_the_cases_that_were_asked_for_run_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Asked, "text", "add: t")
    assert labels() == [(["add: two"], False), (["add: three"], False)]


def test_a_case_that_fails_is_named_and_those_after_it_run() -> None:
    seen = []

    def check(row: Row) -> None:
        seen.append(row.label)
        if row.label == "add: two":
            raise ValueError("no such number")
        if row.label == "mul: one":
            pytest.fail("too large")

    with pytest.raises(BaseExceptionGroup) as caught:
        run_each(ROWS, check)
    assert seen == [row.label for row in ROWS]
    assert caught.value.message.splitlines() == [
        "2 of 5 cases failed",
        "add: two: ValueError: no such number",
        "mul: one: Failed: too large",
    ]
    assert [each.__notes__ for each in caught.value.exceptions] == [
        ["case add: two"],
        ["case mul: one"],
    ]


def test_every_case_starts_from_the_same_random_numbers() -> None:
    drawn = []
    run_each(ROWS, lambda _: drawn.append(torch.rand(()).item()))
    assert len(set(drawn)) == 1


def test_a_group_is_skipped_where_all_its_cases_are() -> None:
    def check(row: Row) -> None:
        if row.label != "add: one":
            pytest.skip("not here")

    run_each(ROWS, check)
    with pytest.raises(pytest.skip.Exception, match="not here"):
        run_each(ROWS[1:], check)


RUN: list[tuple[str, str]] = []


@pytest.mark.parametrize("device", ["cpu"])
@every_case(ROWS)
def test_a_function_is_called_for_each_case_with_its_other_parameters(
    case: Row, device: str
) -> None:
    assert (case.label, device) not in RUN
    RUN.append((case.label, device))
    assert case in ROWS


@pytest.mark.skipif("PYTEST_XDIST_WORKER" not in os.environ, reason="one process may use all cores")
def test_a_process_of_several_has_the_threads_that_were_set_for_it() -> None:
    # they are counted when torch is imported, so nothing may import it before conftest sets them
    assert torch.get_num_threads() == int(os.environ["OMP_NUM_THREADS"])
