"""`sweep`: what becomes of trials that end, fail, are pruned, stopped or killed."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from math import log10
from pathlib import Path
from typing import Any

import pytest
from alembic.config import Config
from alembic.script import ScriptDirectory
from hyperparameter_table import hyperparameter_table
from rich.console import Console
from small_files import CONFIGS
from typer.testing import Result

from bptrain.commands import trial_process
from bptrain.commands.sweep import SweepOptions, checked, searched
from bptrain.commands.trial_process import TrialProcess
from bptrain.config import load_config
from bptrain.errors import (
    InterruptedRun,
    RunInUseError,
    StorageError,
    TrialsError,
    UsageError,
    exit_code_of,
)
from bptrain.experiment.config import ExperimentConfig
from bptrain.experiment.search import sweep as loop
from bptrain.experiment.search.sweep import RunFiles
from bptrain.rundir.run_lock import locked
from bptrain.train.signals import StopRequest

Bptrain = Callable[..., Result]
XOR = CONFIGS / "xor_mlp.yaml"
FOLDER = Path("runs/xor-mlp-sweep")
GRID = ["optimizer.lr=0.001,0.01,0.1"]


@pytest.fixture(autouse=True, scope="module")
def _scripts_that_are_read_once() -> Iterator[None]:
    """Have optuna read its 12 migration scripts once, and not three times for each search."""
    read, kept = ScriptDirectory.from_config, {}

    def from_config(config: Config) -> ScriptDirectory:
        place = config.get_main_option("script_location")
        return kept.get(place) or kept.setdefault(place, read(config))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ScriptDirectory, "from_config", from_config)
        yield


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(loop, "POLL_S", 0.0)


@dataclass
class Run:
    """A run that logs a curve at once, and ends with an exit code; -1 waits for a stop."""

    code: int
    stopped: bool = False
    polls: int = 0

    def poll(self) -> int | None:
        self.polls += 1
        assert self.polls < 1000, "nobody stops it"
        if self.stopped:
            return 143
        return None if self.code < 0 else self.code

    def stop(self) -> None:
        self.stopped = True


@dataclass
class Runs:
    """Runs in place of processes, their loss a function of the rate and the seed.

    codes    exit codes by rate
    """

    codes: dict[float, int] = field(default_factory=dict)
    started: list[str] = field(default_factory=list)
    slots: list[int] = field(default_factory=list)
    made: list[Run] = field(default_factory=list)

    def __call__(self, files: RunFiles, slot: int) -> Run:
        config = load_config(ExperimentConfig, files.config)
        rate = config.optimizer.lr
        self.started.append(files.run_dir.name)
        self.slots.append(slot)
        code = self.codes.get(rate, 0)
        final = abs(log10(rate) + 2) + 0.1 * config.seed
        lines = [{"step": n, "val/loss": final + 2 - n, "val/accuracy": n / 4} for n in (1, 2)]
        files.run_dir.mkdir(exist_ok=True)
        text = "".join(json.dumps(line) + "\n" for line in lines)
        (files.run_dir / "metrics.jsonl").write_text(text)
        files.log.write_text("error: the loss is nan at step 3\n  why: a test" * (code > 0))
        self.made.append(Run(code))
        return self.made[-1]


Search = Callable[..., list[dict]]


@pytest.fixture
def search(capsys: pytest.CaptureFixture[str]) -> Search:
    """Return a function that searches, and returns the trials as JSON tells them."""

    def run(words: list[str], runs: Runs, **options: Any) -> list[dict]:
        stop = options.pop("stop", StopRequest())
        found = checked(XOR, words, SweepOptions(**options, json=True))
        capsys.readouterr()
        searched(found, runs, Console(), stop)
        trials: list[dict] = json.loads(capsys.readouterr().out)["trials"]
        return trials

    return run


def test_a_grid_is_tried_once_and_the_best_is_ready_for_fit(search: Search) -> None:
    runs = Runs()
    trials = search(GRID, runs)
    assert runs.started == ["trial-000", "trial-001", "trial-002"]
    assert trials[0]["config"] == {"optimizer.lr": 0.01}
    assert [each["value"] for each in trials] == pytest.approx([0, 1, 1])
    assert load_config(ExperimentConfig, FOLDER / "best.yaml").optimizer.lr == 0.01
    assert search(GRID, runs) == trials
    assert len(runs.started) == 3, "a finished search trains nothing again"


def test_the_table_has_the_best_first_and_says_what_is_next(
    capsys: pytest.CaptureFixture[str],
) -> None:
    searched(checked(XOR, GRID, SweepOptions()), Runs(codes={0.1: 6}), Console(), StopRequest())
    shown = capsys.readouterr().out
    rows = [line.split("│")[1:5] for line in shown.splitlines() if line.startswith("│")]
    assert [row[1].strip() for row in rows if row[1].strip()] == ["0.01", "0.001", "0.1"]
    status = " ".join(row[3].strip() for row in rows)
    assert status == "finished finished failed, exit code 6: the loss is nan at step 3"
    assert "next: bptrain fit runs/xor-mlp-sweep/best.yaml" in shown


def test_part_of_a_grid_is_tried_and_a_larger_number_goes_on(search: Search) -> None:
    words, runs = [*GRID, "seed=0,1"], Runs()
    assert len(search(words, runs, trials=2)) == 2
    trials = search(words, runs, trials=100)
    assert len(runs.started) == 6
    assert len({json.dumps(each["config"]) for each in trials}) == 6


@pytest.mark.parametrize("kind", ["random", "tpe"])
def test_a_search_that_goes_on_draws_other_values(search: Search, kind: str) -> None:
    words = [
        "optimizer.lr=log(1e-4,1)",
        "data.batch_size=int(8,64)",
        "model.dropout=uniform(0,0.5)",
    ]
    search(words, Runs(), search=kind, trials=3)
    trials = search(words, Runs(), search=kind, trials=6)
    rates = {each["config"]["optimizer.lr"] for each in trials}
    assert len(rates) == 6
    assert all(1e-4 <= rate <= 1 for rate in rates)
    assert all(type(each["config"]["data.batch_size"]) is int for each in trials)


def test_seeds_of_a_trial_give_a_mean_and_a_spread(search: Search) -> None:
    runs = Runs()
    (first, *_) = search(GRID, runs, seeds=3)
    assert runs.started[:3] == [f"trial-000-seed-{seed}" for seed in range(3)]
    assert first["seeds"] == pytest.approx([0, 0.1, 0.2])
    assert (first["value"], first["spread"]) == pytest.approx((0.1, 0.1))
    assert load_config(ExperimentConfig, FOLDER / "best.yaml").seed == 0


def test_a_metric_of_which_more_is_better_is_maximized(search: Search) -> None:
    (first, *_) = search(GRID, Runs(), metric="val/accuracy", goal="max")
    assert first["value"] == 0.5
    best = load_config(ExperimentConfig, FOLDER / "best.yaml")
    assert best.checkpoint.best_by == "val/accuracy"


def test_a_trial_that_fails_fails_alone(search: Search) -> None:
    trials = search(GRID, Runs(codes={0.01: 7}))
    assert [each["status"] for each in trials] == ["finished", "finished", "failed"]
    failed = trials[-1]
    assert (failed["exit_code"], failed["why"]) == (7, "the loss is nan at step 3")
    assert load_config(ExperimentConfig, FOLDER / "best.yaml").optimizer.lr != 0.01


def test_where_every_trial_fails_the_search_ends_with_their_exit_code() -> None:
    runs = Runs(codes=dict.fromkeys((0.001, 0.01, 0.1), 6))
    with pytest.raises(TrialsError, match="exit code 6: the loss is nan") as refused:
        searched(checked(XOR, GRID, SweepOptions()), runs, Console(), StopRequest())
    assert exit_code_of(refused.value) == 6
    assert not (FOLDER / "best.yaml").exists()


def test_a_trial_worse_than_the_median_is_stopped(search: Search) -> None:
    words = ["optimizer.lr=0.011,0.012,0.013,0.014,0.015,100", "seed=19"]  # which tries 100 last
    runs = Runs(codes={100.0: -1})
    trials = search(words, runs, prunes=True)
    assert [run.stopped for run in runs.made].count(True) == 1
    assert [each["status"] for each in trials].count("pruned") == 1
    assert trials[-1]["config"] == {"optimizer.lr": 100}
    assert trials[-1]["why"] == "after validation 2"


def test_jobs_at_a_time_have_slots_of_their_own(search: Search) -> None:
    runs = Runs()
    search(GRID, runs, at_once=2)
    assert runs.slots[:2] == [0, 1]


def test_a_stop_keeps_what_is_done_and_the_same_command_continues(
    search: Search, capsys: pytest.CaptureFixture[str]
) -> None:
    stop, runs = StopRequest(), Runs(codes={0.1: -1})

    def stopping(files: RunFiles, slot: int) -> Run:
        run = runs(files, slot)
        stop.signal_number = signal.SIGINT if run.code < 0 else None
        return run

    with pytest.raises(InterruptedRun, match="of 3 trials are done") as stopped:
        search(GRID, stopping, stop=stop)
    assert exit_code_of(stopped.value) == 130
    assert runs.made[-1].stopped
    statuses = [each["status"] for each in json.loads(capsys.readouterr().out)["trials"]]
    assert statuses.count("unfinished") == 1
    interrupted = runs.started[-1]
    again = Runs()
    assert {each["status"] for each in search(GRID, again)} == {"finished"}
    assert again.started[0] == interrupted
    assert len(runs.started) + len(again.started) == 4


def test_an_error_of_the_search_stops_what_runs(search: Search) -> None:
    runs = Runs(codes={0.001: -1, 0.1: -1})

    def failing(files: RunFiles, slot: int) -> Run:
        if runs.made:
            raise OSError("no more processes")
        return runs(files, slot)

    with pytest.raises(OSError, match="no more processes"):
        search(["optimizer.lr=0.001,0.1"], failing, at_once=2)
    assert [run.stopped for run in runs.made] == [True]


@pytest.mark.parametrize(
    ("words", "options", "said"),
    [
        (["optimizer.lr=0.001,0.01"], {}, r"space.optimizer.lr was 0.001,0.01,0.1, is 0.001,0.01"),
        ([*GRID, "model.hidden=[9]"], {}, r"config.model.hidden was \[8\], is \[9\]"),
        (GRID, {"seeds": 2}, "seeds was 1, is 2"),
    ],
)
def test_another_search_in_the_same_folder_is_refused(
    search: Search, words: list[str], options: dict, said: str
) -> None:
    search(GRID, Runs())
    with pytest.raises(UsageError, match=said):
        search(words, Runs(), **options)
    assert len(search(words, Runs(), folder=Path("another"), **options)) >= 2


def test_two_machines_share_a_database(search: Search) -> None:
    storage = {"storage": f"sqlite:///{Path.cwd() / 'shared.db'}"}
    first, second = Runs(codes={0.01: -1}), Runs()
    stop = StopRequest()

    def leaving(files: RunFiles, slot: int) -> Run:
        run = first(files, slot)
        stop.signal_number = signal.SIGINT if run.code < 0 else None
        return run

    with pytest.raises(InterruptedRun):
        search(GRID, leaving, stop=stop, folder=Path("one"), **storage)
    trials = search(GRID, second, folder=Path("two"), **storage)
    assert len(first.started) + len(second.started) == 3
    assert "elsewhere" in {each["status"] for each in trials}
    third = Runs()
    trials = search(GRID, third, folder=Path("one"), **storage)
    assert third.started == first.started[-1:], "its own trial, which it had not finished"
    assert {each["status"] for each in trials} == {"finished"}


def test_one_search_at_a_time_uses_a_folder(search: Search) -> None:
    FOLDER.mkdir(parents=True)
    with locked(FOLDER), pytest.raises(RunInUseError):
        search(GRID, Runs())


def test_a_damaged_database_is_named(search: Search) -> None:
    FOLDER.mkdir(parents=True)
    (FOLDER / "study.db").write_bytes(b"no database" * 1000)
    with pytest.raises(StorageError, match=r"study.db: the trials cannot be read"):
        search(GRID, Runs())


SGD = ["optimizer={kind: sgd, lr: 1.0}", "model.activation=relu"]
SMALL = ["data.samples=200", "train.epochs=8", "monitor.level=basic", "monitor.log_every=1000"]


def test_a_trial_is_a_process_that_begins_once_its_folder_is_free(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    python = tmp_path / "python"  # without the seconds that torch takes to import
    python.write_text('#!/bin/sh\necho "$@"\ntrap "exit 143" TERM\n[ -z $FAILS ] || exit 6\n')
    python.chmod(0o755)
    with python.open("a") as script:
        script.write("while :; do sleep 0.01; done\n")
    monkeypatch.setattr(trial_process.sys, "executable", str(python))
    files = RunFiles(Path("c.yaml"), tmp_path / "run", tmp_path / "log")
    files.run_dir.mkdir()
    trial = TrialProcess(files, os.environ)
    with locked(files.run_dir):
        assert trial.poll() is None
        assert trial.process is None
    assert trial.poll() is None
    while not files.log.read_text():
        time.sleep(0.01)
    assert (
        files.log.read_text() == f"-m bptrain fit c.yaml --run-dir {files.run_dir} --resume=auto\n"
    )
    trial.stop()
    assert ended(trial) == 143
    assert ended(TrialProcess(files, os.environ | {"FAILS": "1"})) == 6
    killed = TrialProcess(files, os.environ)
    assert killed.poll() is None
    assert killed.process is not None
    killed.process.kill()
    assert ended(killed) == 128 + signal.SIGKILL
    unbegun = TrialProcess(files, os.environ)
    unbegun.stop()
    assert unbegun.poll() == 143


def ended(trial: TrialProcess) -> int:
    """Wait for a trial's end, and return its exit code."""
    while (code := trial.poll()) is None:
        time.sleep(0.01)
    return code


@pytest.mark.slow
def test_a_search_that_was_killed_continues_and_its_best_config_trains(
    bptrain: Bptrain, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loop, "POLL_S", 0.1)  # or it would take the time of the runs
    words = ["sweep", str(XOR), "optimizer.lr=0.01,0.2,1e20", *SGD, *SMALL, "--json"]
    begun = subprocess.Popen([sys.executable, "-m", "bptrain", *words], stdout=subprocess.DEVNULL)
    deadline = time.monotonic() + 120
    while not list(FOLDER.glob("trial-*/checkpoints/step-*")) and time.monotonic() < deadline:
        time.sleep(0.02)
    begun.kill()
    begun.wait()
    result = bptrain(*words)
    assert result.exit_code == 0, result.stderr
    found = json.loads(result.stdout)
    by_rate = {each["config"]["optimizer.lr"]: each for each in found["trials"]}
    assert (by_rate[1e20]["status"], by_rate[1e20]["exit_code"]) == ("failed", 6)
    assert by_rate[0.2]["value"] < by_rate[0.01]["value"]
    assert found["trials"][0]["config"] == {"optimizer.lr": 0.2}

    keys, metrics, rows = hyperparameter_table(FOLDER)
    assert "optimizer.lr" in keys
    assert "val/loss" in metrics
    shown = {row.hparams["optimizer.lr"].number_value: row for row in rows.values()}
    assert shown.keys() == by_rate.keys()
    best = {each.name.tag: each.value for each in shown[0.2].metric_values}
    assert best["val/loss"] == pytest.approx(by_rate[0.2]["value"], rel=0.1)  # of its last step

    result = bptrain("fit", found["best_config"], "train.epochs=1")
    assert result.exit_code == 0, result.stderr
    assert (tmp_path / "runs" / "xor-mlp" / "report.html").exists()
