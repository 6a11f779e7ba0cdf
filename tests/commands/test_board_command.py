"""`board`: TensorBoard on a folder of runs, each by its own name."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from shutil import rmtree
from urllib.request import urlopen

from typer.testing import Result

from bptrain.commands.board import Links
from bptrain.monitor.tensorboard import Board

WAIT_S = 120


def write_run(folder: Path) -> Path:
    with Board(folder / "tensorboard", "name: x\n", {"seed": 0}, []) as board:
        board.write(1, {"train/loss": 0.5})
    return folder


def names_in(folder: Path) -> set[str]:
    """Return the folders of event files below a folder, as TensorBoard finds them."""
    found = os.walk(folder, followlinks=True)
    return {str(Path(place).relative_to(folder)) for place, _, files in found if files}


def links(tmp_path: Path, runs: Path) -> Links:
    (tmp_path / "links").mkdir()
    return Links(runs, tmp_path / "links")


def test_runs_are_named_by_their_folders(tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    for name in ("digits-mlp", "digits-mlp-2", "sweep/lr=0.1"):
        write_run(runs / name)
    (runs / "not-begun" / "tensorboard").mkdir(parents=True)
    (runs / "notes").mkdir()
    made = links(tmp_path, runs)
    assert made.follow() == 3
    assert names_in(made.folder) == {"digits-mlp", "digits-mlp-2", "sweep/lr=0.1"}


def test_the_folder_of_one_run_shows_that_run(tmp_path: Path) -> None:
    made = links(tmp_path, write_run(tmp_path / "runs" / "digits-mlp"))
    assert made.follow() == 1
    assert names_in(made.folder) == {"digits-mlp"}


def test_runs_that_begin_later_join_and_removed_ones_go(tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    first = write_run(runs / "first")
    made = links(tmp_path, runs)
    made.follow()
    write_run(runs / "second")
    assert made.follow() == 2
    rmtree(first)
    assert made.follow() == 1
    assert names_in(made.folder) == {"second"}
    assert made.follow() == 1  # nothing is made twice


def test_what_is_no_folder_is_refused(bptrain: Callable[..., Result]) -> None:
    shown = bptrain("board", "nowhere")
    assert shown.exit_code == 2
    assert "nowhere: not a folder" in shown.stderr


def test_tensorboard_serves_the_runs_until_it_is_stopped(tmp_path: Path) -> None:
    write_run(tmp_path / "runs" / "digits-mlp")
    write_run(tmp_path / "runs" / "deep" / "digits-cnn")
    own = tmp_path / "tmp"
    own.mkdir()
    words = [sys.executable, "-m", "bptrain", "board"]
    streams = {"stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL, "text": True}
    environment = os.environ | {"TMPDIR": str(own), "COLUMNS": "200"}
    with subprocess.Popen(words, cwd=tmp_path, env=environment, **streams) as server:
        try:
            assert server.stdout is not None
            line = server.stdout.readline()
            matched = re.match(r"2 runs of runs at (http://\S+) ", line)
            assert matched, line
            assert shown_by(matched[1]) == {"digits-mlp", "deep/digits-cnn"}
            server.send_signal(signal.SIGINT)
            assert server.wait(WAIT_S) == 130
        finally:
            server.kill()
    assert not list(own.glob("bptrain-board-*"))


def shown_by(url: str) -> set[str]:
    """Return the names of the runs, once TensorBoard has read them."""
    deadline = time.monotonic() + WAIT_S
    while time.monotonic() < deadline:
        with urlopen(f"{url}data/runs", timeout=WAIT_S) as answer:
            if names := json.load(answer):
                return set(names)
        time.sleep(0.1)
    return set()
