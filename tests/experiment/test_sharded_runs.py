"""Runs whose processes share one model's weights: what one process would have done, to rounding."""

import json
import signal
import subprocess
import sys
from pathlib import Path
from unittest.mock import MagicMock

import pytest
import torch
from jobs import Job, as_json
from test_several_processes import CONFIGS, assert_equal_runs, job, tensors_of, told

from bptrain.config import config_of
from bptrain.errors import ConfigKeyError, UsageError
from bptrain.experiment import training
from bptrain.experiment.config import ExperimentConfig
from bptrain.experiment.failed_step import read_failed_step
from bptrain.experiment.plan import plan

SHARDED, WATCHED = "train.sharded=true", "monitor.max_overhead=null"
POINTS = "points.yaml"
STOP, KILL = signal.SIGTERM, signal.SIGKILL
ONE = job("one", "points", 1, WATCHED)
JOBS = [
    ONE,
    job("divided", "points", 2, WATCHED, SHARDED, signal=(4, STOP), counts=True),
    Job("then whole", 1, [POINTS, "--run-dir", "divided", WATCHED, "--resume"]),
    job("whole", "points", 1, WATCHED, signal=(4, STOP)),
    Job(
        "then divided",
        3,
        [POINTS, "--run-dir", "whole", WATCHED, SHARDED, "--resume"],
        concludes=True,
    ),
]
FAILING = [
    ONE,
    job("killed", "points", 2, WATCHED, SHARDED, "checkpoint.every_steps=2", signal=(5, KILL)),
    Job("restarted", 2, [POINTS, "--run-dir", "killed", WATCHED, SHARDED, "--resume=auto"]),
    job("not finite", "points", 2, SHARDED, "optimizer.lr=1e30"),
]


@pytest.fixture(scope="module")
def jobs(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict]:
    """Run jobs that end well, and return their folder and results."""
    return results_of(JOBS, tmp_path_factory.mktemp("sharded"))


@pytest.fixture(scope="module")
def failing(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict]:
    """Run jobs that fail, and return their folder and results."""
    return results_of(FAILING, tmp_path_factory.mktemp("failing"))


def results_of(listed: list[Job], folder: Path) -> tuple[Path, dict]:
    (folder / POINTS).write_text(CONFIGS["points"])
    (folder / "jobs.json").write_text(as_json(listed))
    program = [sys.executable, str(Path(__file__).with_name("jobs.py"))]
    subprocess.run([*program, "jobs.json", "results.json"], cwd=folder, check=True, timeout=600)
    return folder, json.loads((folder / "results.json").read_text())


@pytest.mark.parametrize(
    ("run", "began", "ended", "codes"),
    [
        ("divided", "divided", "then whole", ([143, 143], [0])),
        ("whole", "whole", "then divided", ([143], [0, 0, 0])),
    ],
)
def test_a_run_goes_on_with_and_without_shared_weights(
    jobs: tuple, run: str, began: str, ended: str, codes: tuple
) -> None:
    folder, results = jobs
    assert (results[began]["codes"], results[ended]["codes"]) == codes, told(folder, ended, 0)
    assert_equal_runs(folder, "one", run)
    assert_equal_norms(folder, "one", run)


@pytest.mark.slow
def test_a_killed_process_ends_the_job_and_a_restart_comes_to_the_same_end(failing: tuple) -> None:
    folder, results = failing
    assert results["killed"]["codes"] == [10, -9]
    assert "error: rank 1 was killed or hangs" in told(folder, "killed", 0)
    assert results["restarted"]["codes"] == [0, 0]
    assert_equal_runs(folder, "one", "killed")


def assert_equal_norms(folder: Path, one: str, other: str) -> None:
    """Compare the norms of all layers: of gradients, before and after clipping, and weights."""
    ours, theirs = (norms_of(folder / each) for each in (other, one))
    assert any("weight/" in tag for line in theirs for tag in line)
    assert any("grad/layer_clipped/" in tag for line in theirs for tag in line)
    for line, expected in zip(ours, theirs, strict=True):
        assert line == pytest.approx(expected, rel=1e-3, abs=1e-5)


def norms_of(run: Path) -> list[dict[str, float]]:
    of_rows = ("grad/activation/", "grad/time/")  # those of rank 0
    found = [
        {
            tag: value
            for tag, value in json.loads(line).items()
            if tag.startswith(("grad/", "weight/", "update/")) and not tag.startswith(of_rows)
        }
        for line in (run / "metrics.jsonl").read_text().splitlines()
    ]
    return [line for line in found if line]  # that of the test has none


def test_each_process_holds_its_part_of_weights_and_optimizer(jobs: tuple) -> None:
    folder, _ = jobs
    state = tensors_of(folder / "one")
    whole = sum(each.numel() for name, each in state.items() if "/" not in name)
    entries = sum(e.numel() for name, e in state.items() if name.startswith("optimizer/"))
    ranks = [json.loads((folder / f"divided.{rank}.json").read_text()) for rank in (0, 1)]
    assert sum(rank["model"] for rank in ranks) == whole
    assert sum(rank["trained"] for rank in ranks) == whole
    steps = sum(name.endswith("/step") for name in state)  # each rank has its own
    assert sum(rank["optimizer"] for rank in ranks) == entries + steps
    assert all(rank["model"] <= 0.6 * whole for rank in ranks)


def test_rank_0_says_what_is_divided(jobs: tuple) -> None:
    folder, _ = jobs
    assert "its part of the weights" in told(folder, "divided", 0)
    assert "by autograd" in told(folder, "divided", 0)
    assert "test accuracy" in told(folder, "then divided", 0)
    assert told(folder, "divided", 1) == ""


@pytest.mark.slow
def test_a_step_that_is_not_finite_is_stored_whole(failing: tuple) -> None:
    folder, results = failing
    assert results["not finite"]["codes"] == [6, 6]
    assert "bptrain replay" in told(folder, "not finite", 0)
    failed, weights = read_failed_step(folder / "not finite", torch.device("cpu"))
    assert failed.failure.step == 2
    expected = {k: e.shape for k, e in tensors_of(folder / "one").items() if "/" not in k}
    assert {name: each.shape for name, each in weights.items()} == expected


def test_a_model_that_one_process_cannot_hold_is_not_tested_and_that_is_said(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def refuse(*_: object) -> None:
        raise UsageError("the model needs about 100 GB on cuda, 80 GB are free")

    lines: list[str] = []
    session = MagicMock()
    session.experiment.ranks.shares_weights = True
    session.diagnosis.verdicts.return_value = []
    session.log.console.print_line = lines.append
    monkeypatch.setattr(training, "restore", refuse)
    training.conclude(session, tmp_path)
    assert lines == [
        "not tested: the model needs about 100 GB on cuda, 80 GB are free; "
        "`bptrain evaluate` does where it fits"
    ]
    session.log.board.conclude.assert_called_once()


SMALL = {"data": {"kind": "spirals", "samples": 40}, "model": {"kind": "mlp", "hidden": [4]}}


@pytest.mark.parametrize(
    ("word", "named"),
    [
        ("engine=tape", "engine=tape"),
        ("backward=sign_symmetry", "backward=sign_symmetry"),
        ("train.checkpointing=blocks", "train.checkpointing"),
        ("compile=auto", "compile=auto"),
        ("precision=fp16", "precision=fp16"),
        ("optimizer.kind=muon", "optimizer.kind=muon"),
        ("optimizer.kind=lbfgs", "optimizer.kind=lbfgs"),
        ("train.on_non_finite=rollback", "train.on_non_finite=rollback"),
        ("monitor.level=full", "monitor.level=full"),
    ],
)
def test_what_needs_whole_weights_is_refused_by_name(word: str, named: str) -> None:
    with pytest.raises(ConfigKeyError, match=f"cannot be used with {named}") as error:
        plan(config_of(ExperimentConfig, SMALL, [SHARDED, word]))
    assert error.value.what.startswith("train.sharded")
    assert error.value.why
    assert plan(config_of(ExperimentConfig, SMALL, [SHARDED])).config.train.sharded
