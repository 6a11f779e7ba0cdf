"""Runs that are stopped in the test's own process."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from stops import Killed, Stop, kill
from typer.testing import Result

from bptrain.experiment import session
from bptrain.rundir.checkpoint import list_checkpoints


@pytest.fixture
def stopping(monkeypatch: pytest.MonkeyPatch) -> Callable[[int, Stop], None]:
    """Arrange for the next run to be stopped once a step is taken, before it is settled."""
    whole = session.fit

    def arrange(step: int, stop: Stop) -> None:
        def fit(*arguments: Any) -> Iterator[Any]:
            for report in whole(*arguments):
                if report.position.step == step:
                    monkeypatch.setattr(session, "fit", whole)
                    stop()
                yield report

        monkeypatch.setattr(session, "fit", fit)

    return arrange


@pytest.fixture
def verify_resume_in_this_process(
    bptrain: Callable[..., Result],
    stopping: Callable[[int, Stop], None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Have verify-resume's runs in this process, where a test can patch them."""

    def words(config: Path, run_dir: Path) -> list[object]:
        there = list_checkpoints(run_dir / "checkpoints")
        return ["fit", config, "--run-dir", run_dir, *["--resume"] * bool(there)]

    def finish(config: Path, run_dir: Path) -> None:
        assert bptrain(*words(config, run_dir)).exit_code == 0

    def kill_after(config: Path, run_dir: Path, step: int) -> None:
        stopping(step + 1, kill)
        with pytest.raises(Killed):
            bptrain(*words(config, run_dir))

    monkeypatch.setattr("bptrain.commands.verify_resume.finish", finish)
    monkeypatch.setattr("bptrain.commands.verify_resume.kill_after", kill_after)
