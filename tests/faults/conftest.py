"""Fixtures of the fault tests: runs without faults, a folder in memory, and a tally."""

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from launcher import Launcher, folder_in_memory
from reference_runs import ReferenceRuns
from reliability_table import Tally, read, this_run, write

TALLY = pytest.StashKey[Tally]()
STARTED_S = pytest.StashKey[float]()


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the option that writes the table."""
    parser.addoption(
        "--reliability-table",
        type=Path,
        metavar="PATH",
        help="write the faults that were tried, and the failures, as Markdown",
    )
    parser.addoption(
        "--keep-other-rows",
        action="store_true",
        help="keep the table's rows of kinds that are not tried",
    )


def pytest_configure(config: pytest.Config) -> None:
    """Create the tally."""
    config.stash[TALLY] = Tally()
    config.stash[STARTED_S] = time.monotonic()


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Write the table, if the option asks for it; a worker of xdist hands its part on."""
    stash = session.config.stash
    if (output := getattr(session.config, "workeroutput", None)) is not None:
        output["tally"] = stash[TALLY].rows()
        return
    # absent where pytest loads this file after it has parsed the command line
    path = session.config.getoption("--reliability-table", default=None)
    if path is not None:
        tally = stash[TALLY]
        tally.end(this_run(), (time.monotonic() - stash[STARTED_S]) / 60)
        if session.config.getoption("--keep-other-rows"):
            tally = tally.joined(read(path.with_suffix(".json")))
        write(tally, path)


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    """Add the tally of a worker of xdist; one that crashed has none, and its test has failed."""
    for row in getattr(node, "workeroutput", {}).get("tally", ()):
        node.config.stash[TALLY].add(*row)


@pytest.fixture
def tally(request: pytest.FixtureRequest) -> Callable[..., None]:
    """Count a fault that was tried: its kind, and what happened, "" if it passed.

    It does not raise, so that a test can try the remaining faults before it asserts.
    """
    counted, area = request.config.stash[TALLY], request.module

    def count(kind: str, what_happened: str = "") -> None:
        counted.add(
            area.__name__, area.__doc__ or "", kind, 1, [what_happened] if what_happened else []
        )

    return count


@pytest.fixture(scope="session")
def reference_runs(launcher: Launcher) -> Iterator[ReferenceRuns]:
    """Return the runs without faults."""
    with folder_in_memory() as folder:
        yield ReferenceRuns(launcher, folder)


@pytest.fixture
def work_dir() -> Iterator[Path]:
    """Return an empty folder in memory, so that no test waits for a disk."""
    with folder_in_memory() as folder:
        yield folder
