"""`--resume=auto`: one command for a scheduler that restarts what was preempted or killed."""

import json
import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from bptrain.experiment import training
from bptrain.rundir.run_lock import locked
from bptrain.train.signals import StopRequest

CONFIG = """name: x
data: {kind: xor, samples: 40}
model: {kind: mlp, hidden: [8]}
train: {steps: 3}
"""


@pytest.fixture
def fit(bptrain: Callable) -> Callable:
    """Run the one command."""
    Path("c.yaml").write_text(CONFIG)
    return lambda *words: bptrain("fit", "c.yaml", "--resume=auto", *words)


def steps_of(run: str) -> list[int]:
    lines = Path(run, "metrics.jsonl").read_text().splitlines()
    return [json.loads(line)["step"] for line in lines]


@pytest.mark.parametrize("words", [[], ["--run-dir", "there"]])
def test_without_a_run_it_starts_one_and_then_resumes_it(
    fit: Callable, bptrain: Callable, words: list[str]
) -> None:
    run = words[-1] if words else "runs/x"
    first = fit(*words)
    assert first.exit_code == 0, first.output
    assert "no checkpoint to resume from: a new run" in first.stdout
    second = fit(*words, "train.steps=5")
    assert second.exit_code == 0, second.output
    assert f"resuming {run} from step-000003: step 3 of 5" in second.stdout
    assert steps_of(run)[-1] == 5
    again = fit(*words, "train.steps=5")
    assert "the run is finished" in again.stdout
    assert [path.name for path in Path("runs").glob("*")] == [] if words else ["x"]


def test_a_run_killed_before_its_first_checkpoint_is_started_anew(
    fit: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Killed(BaseException):
        pass

    def kill(*_: object) -> None:
        raise Killed

    for words, runs in ((["--run-dir", "there"], []), ([], ["x", "x-2"])):
        for name in ("write_description", "Session"):
            with monkeypatch.context() as patched:
                patched.setattr(training, name, kill)
                with pytest.raises(Killed):
                    fit(*words)
        result = fit(*words)
        assert result.exit_code == 0, result.output
        assert "a new run" in result.stdout
        assert not Path("there/error.log").exists()
        names = sorted(path.name for path in Path("runs").glob("*"))
        assert names == runs or set(runs) <= set(names)
        assert "resuming" in fit(*words).stdout


def test_a_folder_that_holds_anything_else_is_left_alone(fit: Callable) -> None:
    Path("there").mkdir()
    Path("there/config.yaml").write_text("mine")
    Path("there/thesis.txt").write_text("mine")
    result = fit("--run-dir", "there")
    assert result.exit_code == 2
    assert "there exists already" in result.stderr
    assert Path("there/thesis.txt").read_text() == Path("there/config.yaml").read_text() == "mine"


def test_checkpoints_of_which_none_is_valid_are_no_reason_to_start_anew(fit: Callable) -> None:
    assert fit().exit_code == 0
    for path in Path("runs/x/checkpoints").glob("*/manifest.json"):
        path.write_text("damaged")
    result = fit()
    assert result.exit_code == 4
    assert [path.name for path in Path("runs").iterdir()] == ["x"]


@pytest.mark.parametrize("words", [[], ["--run-dir", "runs/x"]])
def test_a_run_that_another_process_has_just_started_is_in_use(
    fit: Callable, words: list[str]
) -> None:
    Path("runs/x").mkdir(parents=True)
    with locked(Path("runs/x")):
        result = fit(*words)
    assert result.exit_code == 9
    assert [path.name for path in Path("runs").iterdir()] == ["x"]


def test_resume_stays_a_flag_and_excludes_what_it_excluded(bptrain: Callable) -> None:
    Path("c.yaml").write_text(CONFIG)
    assert bptrain("fit", "c.yaml", "--resume").exit_code == 4
    for option in ("--resume", "--dry-run", "--fast-dev-run"):
        result = bptrain("fit", "c.yaml", "--resume=auto", option)
        assert result.exit_code == 2
        assert "exclude each other" in result.stderr
    assert bptrain("fit", "c.yaml", "--resume=now").exit_code == 2
    assert bptrain("fit", "c.yaml", "--resume", "train.steps=1").exit_code == 4  # no value of it


@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGUSR1])
def test_a_signal_of_a_terminal_or_scheduler_saves_and_the_same_command_goes_on(
    fit: Callable, monkeypatch: pytest.MonkeyPatch, number: signal.Signals
) -> None:
    write = training.RunLog.advance

    def advance(log: object, step: int, epoch: int) -> None:
        write(log, step, epoch)  # type: ignore[arg-type]
        if step == 2:
            os.kill(os.getpid(), number)

    before = signal.signal(number, signal.SIG_DFL)  # nohup ignores SIGHUP, and fit leaves it so
    with monkeypatch.context() as patched:
        patched.setattr(training.RunLog, "advance", advance)
        stopped = fit()
    signal.signal(number, before)
    assert stopped.exit_code == 128 + number
    assert stopped.stderr.startswith("stopped at step 2\n  next: --resume continues")
    result = fit()
    assert result.exit_code == 0
    assert "resuming runs/x from step-000002" in result.stdout


def test_a_run_under_nohup_outlives_its_terminal() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with StopRequest() as stop, stop.noted():
            os.kill(os.getpid(), signal.SIGHUP)
            assert stop.signal_number is None
        assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)
