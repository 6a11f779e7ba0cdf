"""Shared fixtures: a command line in this process, and small data on disk."""

import gc
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import typer.main
import typer.testing
from case_groups import Asked
from fingerprints import draw_fingerprints
from hypothesis import HealthCheck, settings
from launcher import Launcher, folder_in_memory
from quick_tests import is_in_quick_file, is_quick_function, mark_quick
from small_files import idx_bytes
from typer.testing import CliRunner, Result

from bptrain.cli import app

if "PYTEST_XDIST_WORKER" in os.environ:
    # several processes that each use every core would wait for one another
    os.environ.setdefault("OMP_NUM_THREADS", "1")


# the commands are built from their functions in 30 ms, and a test calls several
typer.testing._get_command = cache(typer.main.get_command)

# how long an example takes says something of the machine, and nothing of bptrain
settings.register_profile("untimed", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("untimed")

MEMORY, ROOM = Path("/dev/shm"), 4 * 2**30
if os.access(MEMORY, os.W_OK) and shutil.disk_usage(MEMORY).free > ROOM:
    # pytest's folders: a run waits for the disk fifty times, a test that reads it for nothing
    os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", str(MEMORY))


def pytest_xdist_auto_num_workers() -> int:
    """Return the number of processes for `-n auto`: each imports torch, about 0.5 GB."""
    usable = getattr(os, "sched_getaffinity", lambda _: range(os.cpu_count() or 1))
    return min(max(2, len(usable(0))), 8)


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the option that runs single cases of the table of cases."""
    parser.addoption("--case", default="", metavar="TEXT", help="cases whose label holds TEXT")


def pytest_configure(config: pytest.Config) -> None:
    """Tell the tests of cases, before they are collected, which ones were asked for."""
    Asked.text = config.option.case
    gc.disable()  # while modules and tests are made, which all stay


def is_asked_for_quick(config: pytest.Config) -> bool:
    """Return whether only quick tests run: collecting the others would take most of the time."""
    return bool(config.option.markexpr == "quick")


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Leave out files without a quick test under `-m quick`."""
    if not is_asked_for_quick(config) or not collection_path.name.startswith("test_"):
        return None
    return None if is_in_quick_file(collection_path) else True


@pytest.hookimpl(tryfirst=True)  # before pytest makes an item of each case
def pytest_pycollect_makeitem(collector: pytest.Module | pytest.Class, name: str) -> list | None:
    """Leave out functions that are not quick under `-m quick`."""
    is_left_out = name.startswith("test_") and not is_quick_function(collector.path, name)
    return [] if is_left_out and is_asked_for_quick(collector.config) else None


@pytest.hookimpl(tryfirst=True)  # before pytest looks at the marks
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the quick tests; keep hypothesis from 5 s of collecting constants in all sources."""
    mark_quick(items)
    providers = sys.modules.get("hypothesis.internal.conjecture.providers")
    if hasattr(providers, "is_local_module_file"):
        providers.is_local_module_file = lambda _: False


def pytest_collection_finish() -> None:
    """Leave modules and tests out of the collection of garbage, which takes a second with them."""
    gc.collect()
    gc.freeze()
    gc.enable()


def pytest_make_parametrize_id(val: object) -> None:
    """Refuse packed bytes as a test's name: they hold the time, so each worker's would differ."""
    if isinstance(val, bytes) and val.startswith((b"\x1f\x8b", b"PK")):
        raise pytest.UsageError("a case of packed bytes needs a name: give parametrize ids")


@pytest.fixture
def bptrain(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> Callable[..., Result]:
    """Run a command line in an empty folder and return exit_code, stdout and stderr.

    Without the fixture real_pictures, runs draw fingerprints of their pictures and write short
    samples of text.
    """
    monkeypatch.chdir(tmp_path)
    if "real_pictures" not in request.fixturenames:
        draw_fingerprints(monkeypatch.setattr)
    return lambda *words: CliRunner().invoke(app, [str(word) for word in words])


@pytest.fixture
def real_pictures() -> None:
    """Have the runs of `bptrain` draw real pictures and write whole samples, which takes longer."""


@pytest.fixture(scope="session")
def launcher() -> Iterator[Launcher]:
    """Return a server of runs."""
    with Launcher() as started, folder_in_memory() as folder:
        assert started.run(["--version"], folder)[0] == 0  # the imports are done now
        yield started


@pytest.fixture(scope="session")
def mounting(launcher: Launcher) -> Iterator[Launcher]:
    """Return a launcher of runs that may mount file systems, which only they see."""
    if shutil.which("unshare") is None:
        pytest.skip("there is no unshare")
    # `cat` waits for the end of its input
    words = ["sh", "-c", "mount -t tmpfs none /mnt && echo ready && exec cat"]
    words = ["unshare", "--mount", "--map-root-user", *words]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen(words, text=True, **pipes) as holder:
        assert holder.stdout
        if holder.stdout.readline() != "ready\n":
            pytest.skip("file systems cannot be mounted here")
        yield launcher.with_mounts_of(holder.pid)
        holder.communicate()


@pytest.fixture
def mnist_files() -> dict[str, bytes]:
    """Return small files in MNIST's format, by name."""
    random = np.random.default_rng(0)
    files = {}
    for prefix, samples in (("train", 200), ("t10k", 50)):
        labels = np.arange(samples) % 10
        images = random.integers(0, 100, (samples, 28, 28))
        images[np.arange(samples), labels * 2] += (
            150  # the position of a bright row gives the class
        )
        files[f"{prefix}-images-idx3-ubyte"] = idx_bytes(images)
        files[f"{prefix}-labels-idx1-ubyte"] = idx_bytes(labels)
    return files


@pytest.fixture
def bptrain_data() -> Path:
    """Return the folder of real data sets, or skip."""
    folder = os.environ.get("BPTRAIN_DATA")
    if not folder:
        pytest.skip("BPTRAIN_DATA does not name a folder of real data sets")
    return Path(folder)
