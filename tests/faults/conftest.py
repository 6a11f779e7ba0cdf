"""What the rooms of faults share: a server of runs, a folder in memory, and a tally."""

import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from golden_runs import Goldens
from launcher import Launcher
from reliability_table import Tally, markdown

TALLY = pytest.StashKey[Tally]()
STARTED_S = pytest.StashKey[float]()


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the option that writes the table."""
    parser.addoption(
        "--reliability-table",
        type=Path,
        metavar="PATH",
        help="write what was tried by the tests of faults, and what failed, as Markdown",
    )


def pytest_configure(config: pytest.Config) -> None:
    """Begin the tally."""
    config.stash[TALLY] = Tally()
    config.stash[STARTED_S] = time.monotonic()


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Write the table, if it is asked for."""
    stash = session.config.stash
    # absent where this file was found too late to take part in the command line
    path = session.config.getoption("--reliability-table", default=None)
    if path is not None:
        minutes = (time.monotonic() - stash[STARTED_S]) / 60
        path.write_text(markdown(stash[TALLY], minutes), encoding="utf-8")


@pytest.fixture
def tally(request: pytest.FixtureRequest) -> Callable[..., None]:
    """Count a fault that was tried: its kind, and what happened, "" if all was as it should be.

    It does not raise: a test that asserts for itself tries what is left first.
    """
    counted, room = request.config.stash[TALLY], request.module

    def count(kind: str, what_happened: str = "") -> None:
        counted.count(room.__doc__ or room.__name__, kind, what_happened)

    return count


@pytest.fixture(scope="session")
def launcher() -> Iterator[Launcher]:
    """Return a server of runs."""
    with Launcher() as started, folder_in_memory() as folder:
        assert started.run(["--version"], folder)[0] == 0  # imported by now: what follows is quick
        yield started


@pytest.fixture(scope="session")
def goldens(launcher: Launcher) -> Iterator[Goldens]:
    """Return the runs left alone."""
    with folder_in_memory() as folder:
        yield Goldens(launcher, folder)


@pytest.fixture
def room() -> Iterator[Path]:
    """Return an empty folder that no disk is waited for."""
    with folder_in_memory() as folder:
        yield folder


@contextmanager
def folder_in_memory() -> Iterator[Path]:
    """Make a folder on /dev/shm where there is one, for the block."""
    memory = "/dev/shm"
    usable = os.access(memory, os.W_OK)
    folder = Path(tempfile.mkdtemp(prefix="bptrain-", dir=memory if usable else None))
    try:
        yield folder
    finally:
        shutil.rmtree(folder)
