"""What the rooms of faults share: a launcher, a golden run, a folder in memory, a tally."""

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from launcher import Launcher
from small_run import SmallRun


@pytest.fixture(scope="session")
def launcher() -> Iterator[Launcher]:
    """Return a server of runs."""
    with Launcher() as started:
        yield started


@pytest.fixture(scope="session")
def golden(launcher: Launcher) -> Iterator[Path]:
    """Return the folder of the small run that nothing was done to."""
    with folder_in_memory() as folder:
        made = SmallRun(launcher, folder)
        code, said = made.fit()
        assert code == 0, said
        yield made.run_dir


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


@pytest.fixture
def tally() -> Callable[..., None]:
    """Count a fault that was tried: "" for what happened if it went as it should."""
    return lambda kind, what_happened="": None
