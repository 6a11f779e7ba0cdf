"""The table of faults is joined of runs on several days, each row with its own."""

from pathlib import Path

import pytest
from reliability_table import Tally, markdown, read, write

FIRST, SECOND = "2026-01-01: of one machine", "2026-01-02: of another"


def tally(run: str, *rows: tuple[str, int, list[str]]) -> Tally:
    """Return what a run found of the kinds of one test file."""
    made = Tally()
    for row in rows:
        made.add("test_kills", "Kills.\n\nOf a process.\n", *row)
    made.end(run, 3)
    return made


def test_a_run_of_some_kinds_replaces_their_rows_alone() -> None:
    first = tally(FIRST, ("by the clock", 5, ["it hung"]), ("within a write", 7, []))
    second = tally(SECOND, ("by the clock", 6, []))
    joined = second.joined(first)
    assert [row[2:] for row in joined.rows()] == [
        ("by the clock", 6, []),
        ("within a write", 7, []),
    ]
    page = markdown(joined)
    assert "13 faults were tried, 0 failed" in page
    assert f"- {FIRST}; 7 faults in 3 minutes\n- {SECOND}; 6 faults in 3 minutes" in page
    assert "| by the clock | 6 | 6 | 0 | 2026-01-02 |" in page
    assert "| within a write | 7 | 7 | 0 | 2026-01-01 |" in page
    assert "it hung" not in page


def test_a_run_of_which_no_row_is_left_is_not_named() -> None:
    first, second = (tally(run, ("by the clock", 5, [])) for run in (FIRST, SECOND))
    assert FIRST not in markdown(second.joined(first))


def test_what_is_written_is_read_back(tmp_path: Path) -> None:
    made = tally(FIRST, ("by the clock", 5, ["it hung"]))
    write(made, tmp_path / "page.md")
    assert read(tmp_path / "page.json") == made
    assert "- failed: by the clock: it hung" in (tmp_path / "page.md").read_text()


@pytest.mark.parametrize("run", [FIRST, SECOND])
def test_minutes_of_the_same_run_are_added(run: str) -> None:
    parts = [tally(FIRST, ("by the clock", 5, [])), tally(run, ("within a write", 7, []))]
    assert sum(parts[1].joined(parts[0]).minutes.values()) == 6
