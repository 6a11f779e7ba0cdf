"""Runs of two and three processes: what one process would have done, to rounding."""

import json
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from jobs import Job, as_json
from torch import Tensor

from bptrain.commands import fit as fit_command
from bptrain.config import config_of
from bptrain.errors import ConfigKeyError, UsageError
from bptrain.experiment.config import ExperimentConfig
from bptrain.experiment.plan import plan
from bptrain.experiment.several_processes import refuse_what_needs_one_process
from bptrain.rundir.checkpoint import newest_valid
from bptrain.train.ranks import SeveralRanks

CONFIGS = {  # a `bucket_mb` that is small divides the gradients into several buckets
    # 73 to train on: the last batch has one sample, fewer than there are ranks
    "points": """
data: {kind: spirals, samples: 81, batch_size: 9}
model: {kind: mlp, hidden: [6]}
optimizer: {kind: adamw, lr: 0.02, weight_decay: 0.1}
schedule: {kind: plateau, patience: 0, factor: 0.5}
train: {epochs: 3, grad_accum_steps: 2, clip_grad_norm: 0.2, ema_decay: 0.9, l1: 0.001,
        early_stopping: {patience: 2}, bucket_mb: 0.00001}
monitor: {log_every: 3}
""",
    # sequences of different lengths, a class for each step: ranks have other numbers of predictions
    "sequences": """
engine: autograd
data: {kind: sequence, path: s.npz, batch_size: 8, validation_fraction: 0.2}
model: {kind: rnn, cell: lstm, hidden: 5}
train: {steps: 8, clip_grad_adaptive: 0.1, bucket_mb: 0.0005}
monitor: {log_every: 5}
""",
    "dropout": """
data: {kind: spirals, samples: 41, batch_size: 10}
model: {kind: mlp, hidden: [6], dropout: 0.5}
train: {epochs: 3}
""",
    # 5 streams, more for one process than for the other; their states are carried
    "text": """
data: {kind: text, path: t.txt, window: 6, batch_size: 5, validation_fraction: 0.2}
model: {kind: rnn, cell: lstm, hidden: 5, layers: 2, tied: true}
schedule: {kind: plateau, patience: 0, factor: 0.5}
train: {epochs: 3, grad_accum_steps: 2, clip_grad_norm: 0.2, ema_decay: 0.9, bptt: 4,
        early_stopping: {patience: 2}, bucket_mb: 0.0005}
monitor: {log_every: 3}
""",
    "decoder": """
data: {kind: text, path: t.txt, window: 6, batch_size: 3, validation_fraction: 0.2}
model: {kind: transformer, width: 8, depth: 1, heads: 2}
train: {epochs: 1, bucket_mb: 0.0005}
monitor: {log_every: 3}
""",
    "normalized": """
data: {kind: spirals, samples: 81, batch_size: 10}
model: {kind: mlp, hidden: [6, 5], normalization: batch}
train: {epochs: 2, sync_batch_norm: true, bucket_mb: 0.0001}
monitor: {level: basic, log_every: 3}
""",
}
BF16, FP16 = "precision=bf16", "precision=fp16"


def job(name: str, config: str, ranks: int, *words: str, **options: object) -> Job:
    return Job(name, ranks, [f"{config}.yaml", "--run-dir", name, *words], **options)


STOP, KILL, HANG = signal.SIGTERM, signal.SIGKILL, signal.SIGSTOP
JOBS = [
    job("hanging", "dropout", 3, "train.process_timeout_s=5", signal=(5, HANG), waits=True),
    job("without data", "sequences", 2, own={"1": ["data.path=there.npz"]}, waits=True),
    job("one", "points", 1),
    job("two", "points", 2, concludes=True),
    job("three", "points", 3),
    job("sequences of one", "sequences", 1),
    job("sequences of three", "sequences", 3),
    job("text of one", "text", 1),
    job("text of two", "text", 2, signal=(5, STOP)),
    Job("text of three", 3, ["text.yaml", "--run-dir", "text of two", "--resume"]),
    job("text by autograd", "text", 2, "engine=autograd", concludes=True),
    job("decoder of one", "decoder", 1),
    job("decoder of two", "decoder", 2),
    job("normalized of one", "normalized", 1),
    job("normalized of three", "normalized", 3),
    job("normalized by autograd", "normalized", 2, "engine=autograd"),
    job("bf16 of one", "points", 1, BF16),
    job("bf16 of two", "points", 2, BF16),
    job("fp16 of one", "points", 1, FP16),
    job("fp16 of two", "points", 2, FP16),
    *(
        job(f"{policy} of {ranks}", "points", ranks, f"train.on_non_finite={policy}", bad=[3])
        for policy in ("skip", "rollback")
        for ranks in (1, 2)
    ),
    job("whole", "dropout", 2),
    job("stopped", "dropout", 2, signal=(5, STOP)),
    Job("resumed", 2, ["dropout.yaml", "--run-dir", "stopped", "--resume=auto"]),
    job("stopped with two", "points", 2, signal=(4, STOP)),
    Job("resumed with three", 3, ["points.yaml", "--run-dir", "stopped with two", "--resume"]),
    job("killed", "dropout", 2, "checkpoint.every_steps=2", signal=(5, KILL)),
    Job("after a kill", 2, ["dropout.yaml", "--run-dir", "killed", "--resume=auto"]),
    job("other configs", "dropout", 2, own={"1": ["optimizer.lr=0.5"]}),
    job("not finite", "dropout", 2, "optimizer.lr=1e30"),
    job("one", "dropout", 2),  # whose folder is there
]


@pytest.fixture(scope="session")
def jobs(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict]:
    """Run all jobs, and return their folder and results."""
    folder = tmp_path_factory.mktemp("jobs")
    for name, text in CONFIGS.items():
        (folder / f"{name}.yaml").write_text(text)
    write_sequences(folder / "s.npz")
    words = [hashed % 997 for hashed in range(1, 200_000, 2003)]
    (folder / "t.txt").write_text(" ".join(map(str, words)))
    named = [*JOBS[:-1], Job("folder that is there", 2, JOBS[-1].words)]
    (folder / "jobs.json").write_text(as_json(named))
    program = [sys.executable, str(Path(__file__).with_name("jobs.py"))]
    subprocess.run([*program, "jobs.json", "results.json"], cwd=folder, check=True, timeout=600)
    return folder, json.loads((folder / "results.json").read_text())


def write_sequences(path: Path) -> None:
    import numpy as np

    random = np.random.default_rng(0)
    lengths = random.integers(1, 7, 40)
    np.savez(
        path,
        values=random.normal(size=(lengths.sum(), 2)).astype(np.float32),
        lengths=lengths,
        targets=random.integers(0, 3, lengths.sum()),
    )


def tensors_of(run: Path) -> dict[str, Tensor]:
    _, state, _ = newest_valid(run / "checkpoints")
    _, rest = state.rest()
    return state.model | {
        k: v for k, v in rest.items() if k.startswith(("optimizer", "average", "carried"))
    }


def lines_of(run: Path, rtol: float) -> list[dict[str, float]]:
    """Return the lines of a log before the test, what depends on all samples alike."""
    lines = map(json.loads, (run / "metrics.jsonl").read_text().splitlines())
    kept = ("train/loss", "val/loss", "step", "train/lr", "grad/total")
    kept += ("train/accuracy", "val/") if rtol < 1e-3 else ()  # which one sample changes
    found = [{k: v for k, v in line.items() if k.startswith(kept)} for line in lines]
    return [line for line in found if len(line) > 1]


def assert_equal_runs(folder: Path, one: str, other: str, rtol: float = 1e-4) -> None:
    first, second = tensors_of(folder / one), tensors_of(folder / other)
    assert first.keys() == second.keys()
    for name in first:
        torch.testing.assert_close(second[name], first[name], rtol=rtol, atol=rtol / 10, msg=name)
    ours, theirs = (lines_of(folder / name, rtol) for name in (other, one))
    assert [line["step"] for line in ours] == [line["step"] for line in theirs]
    for line, expected in zip(ours, theirs, strict=True):
        assert line == pytest.approx(expected, rel=rtol, abs=rtol / 10)


@pytest.mark.parametrize(
    ("one", "several", "rtol"),
    [
        ("one", "two", 1e-4),
        ("one", "three", 1e-4),
        ("sequences of one", "sequences of three", 1e-4),
        ("text of one", "text by autograd", 1e-4),
        ("decoder of one", "decoder of two", 1e-4),
        ("normalized of one", "normalized of three", 1e-4),
        ("normalized of one", "normalized by autograd", 1e-4),
        ("bf16 of one", "bf16 of two", 3e-2),  # a sum of 16-bit parts
        ("fp16 of one", "fp16 of two", 1e-2),
    ],
)
def test_several_processes_train_as_one(jobs: tuple, one: str, several: str, rtol: float) -> None:
    folder, results = jobs
    assert {*results[one]["codes"], *results[several]["codes"]} == {0}, told(folder, several, 0)
    assert_equal_runs(folder, one, several, rtol)


@pytest.mark.parametrize(
    ("policy", "message"), [("skip", "step skipped: "), ("rollback", "rolled back to ")]
)
def test_a_loss_that_is_nan_in_one_process_is_acted_on_by_all(
    jobs: tuple, policy: str, message: str
) -> None:
    folder, results = jobs
    one, two = (f"{policy} of {ranks}" for ranks in (1, 2))
    assert results[one]["codes"] + results[two]["codes"] == [0, 0, 0], told(folder, two, 0)
    said = [told(folder, name, 0).count(message) for name in (one, two)]
    assert said[0] == said[1] >= 2  # the sample is met in every epoch
    assert_equal_runs(folder, one, two)


def told(folder: Path, name: str, rank: int) -> str:
    return (folder / f"{name}.{rank}.txt").read_text()


def test_rank_0_alone_writes_and_prints(jobs: tuple) -> None:
    folder, _ = jobs
    assert "2 processes, each with its rows of every batch" in told(folder, "two", 0)
    assert "test accuracy" in told(folder, "two", 0)
    assert [told(folder, name, 1) for name in ("two", "three", "whole")] == ["", "", ""]
    assert json.loads((folder / "two/environment.json").read_text())["processes"] == 2


def test_a_stop_ends_all_at_one_step_and_the_resumed_run_as_if_it_had_not(jobs: tuple) -> None:
    folder, results = jobs
    assert results["stopped"]["codes"] == [143, 143]
    assert "stopped at step 5" in told(folder, "stopped", 0)
    assert told(folder, "stopped", 1) == ""
    assert results["resumed"]["codes"] == [0, 0]
    assert_equal_runs(folder, "whole", "stopped", 1e-6)


def test_a_run_goes_on_with_another_number_of_processes(jobs: tuple) -> None:
    folder, results = jobs
    assert results["stopped with two"]["codes"] == [143, 143]
    assert results["resumed with three"]["codes"] == [0, 0, 0]
    output = told(folder, "resumed with three", 0)
    assert "results may differ: processes was 2, is 3" in output
    assert_equal_runs(folder, "three", "stopped with two")


def test_a_killed_process_ends_the_job_and_a_restart_comes_to_the_same_end(jobs: tuple) -> None:
    folder, results = jobs
    assert results["killed"]["codes"] == [10, -9]
    assert "error: rank 1 was killed or hangs" in told(folder, "killed", 0)
    assert results["after a kill"]["codes"] == [0, 0]
    assert_equal_runs(folder, "whole", "killed", 1e-6)


def test_a_hanging_process_ends_the_job(jobs: tuple) -> None:
    folder, results = jobs
    assert results["hanging"]["codes"] == [10, 10, -9]
    assert "error: rank 2 was killed or hangs" in told(folder, "hanging", 0)


@pytest.mark.parametrize(
    ("name", "codes", "message", "rank"),
    [
        ("other configs", [10, 10], "rank 1 has another config than rank 0", 0),
        ("without data", [10, 3], "rank 1 failed\n  why: ", 0),
        ("not finite", [6, 6], "bptrain replay", 0),
        ("folder that is there", [2, 10], "exists already", 0),
    ],
)
def test_a_failure_ends_all_and_is_told_once(
    jobs: tuple, name: str, codes: list[int], message: str, rank: int
) -> None:
    folder, results = jobs
    assert results[name]["codes"] == codes
    assert message in told(folder, name, rank)
    silent = told(folder, name, 1)
    assert not silent or codes[1] == 3  # which says itself what is wrong


POINTS = {"data": {"kind": "spirals", "samples": 40}, "model": {"kind": "mlp", "hidden": [4]}}


@pytest.mark.parametrize(
    ("words", "key"),
    [
        (["optimizer.kind=lbfgs"], "optimizer.kind: kind=lbfgs"),
        (["backward=sign_symmetry"], "backward: backward=sign_symmetry"),
        (["compile=auto"], "compile: compile=auto"),
        (["monitor.level=full"], "monitor.level: level=full"),
        (["loss.kind=cross_entropy", "loss.class_weights=balanced"], "loss.class_weights"),
        (["model.normalization=batch"], "model: the layer norm1"),
        (["train.sync_batch_norm=true"], "train.sync_batch_norm"),
    ],
)
def test_what_needs_one_process_is_refused_by_name(words: list[str], key: str) -> None:
    made = plan(config_of(ExperimentConfig, POINTS, words))
    with pytest.raises(ConfigKeyError, match="trains in one process") as error:
        refuse_what_needs_one_process(made)
    assert error.value.what.startswith(key)


NORMALIZED = ["train.sync_batch_norm=true", "model.normalization=batch", "monitor.level=basic"]


@pytest.mark.parametrize("words", [[], NORMALIZED])
def test_what_is_not_refused_passes(words: list[str]) -> None:
    refuse_what_needs_one_process(plan(config_of(ExperimentConfig, POINTS, words)))


def test_normalization_needs_a_sample_in_each_process() -> None:
    made = plan(config_of(ExperimentConfig, POINTS, [*NORMALIZED, "data.batch_size=34"]))
    assert len(made.dataset.train) == 36
    three = SeveralRanks(0, 3, lambda: None, pytest.fail)
    with pytest.raises(ConfigKeyError, match="the last batch of an epoch has 2 of 36 samples"):
        refuse_what_needs_one_process(replace(made, ranks=three))


def test_a_job_that_torchrun_did_not_start_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(UsageError, match="which torchrun did not start"):
        fit_command.refuse_several_processes()
    for name in ("RANK", "LOCAL_RANK", "MASTER_PORT"):
        monkeypatch.setenv(name, "0")
    monkeypatch.setenv("MASTER_ADDR", "localhost")
    with pytest.raises(UsageError, match="takes one process"):
        fit_command.refuse_several_processes()
