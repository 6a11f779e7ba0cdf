"""A run that was stopped, in any way and any number of times, ends as one that was not."""

import json
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from image_sets import write_folder
from small_files import CONFIGS
from stops import Killed, Stop, ask, kill
from test_every_kind_of_data import KINDS
from typer.testing import Result

from bptrain.commands import verify_resume
from bptrain.experiment import evaluation, session
from bptrain.rundir.checkpoint import list_checkpoints
from bptrain.verify.run_equality import compare_runs

Bptrain = Callable[..., Result]
DIGITS = CONFIGS / "digits_mlp.yaml"
SMALL = ["model.hidden=[16]", "train.steps=12", "data.batch_size=256", "monitor.log_every=4"]


Interrupted = Callable[[Path, list[tuple[int, Stop]]], None]


@pytest.fixture
def interrupted(bptrain: Bptrain, stopping: Callable[[int, Stop], None]) -> Interrupted:
    """Train into "stopped", stopping at each of the steps and resuming, to the end."""

    def train(config: Path, stops: list[tuple[int, Stop]]) -> None:
        arguments = ["fit", config, "--run-dir", "stopped"]
        for step, stop in stops:
            stopping(step, stop)
            if stop is kill:
                with pytest.raises(Killed):
                    bptrain(*arguments)
            else:
                result = bptrain(*arguments)
                assert result.exit_code == 143, result.stderr
                assert f"stopped at step {step}" in result.stderr
            if "--resume" not in arguments:
                arguments.append("--resume")
        ended = bptrain(*arguments)
        assert ended.exit_code == 0, ended.stderr
        assert "results may differ" not in ended.stdout

    return train


def train_whole(bptrain: Bptrain, config: Path, words: list[str]) -> None:
    result = bptrain("fit", config, *words, "--run-dir", "whole")
    assert result.exit_code == 0, result.stderr


def assert_same(first: str = "whole", second: str = "stopped") -> None:
    compared = compare_runs(Path(first), Path(second))
    assert [each for each in compared if each.difference] == []
    assert all(each.compared for each in compared)


def lines_of(run: str) -> list[dict[str, float]]:
    return [json.loads(line) for line in Path(run, "metrics.jsonl").read_text().splitlines()]


def write(config: str) -> Path:
    path = Path("c.yaml")
    path.write_text(config)
    return path


# --- bit for bit: each case is cut into epochs of 4 to 6 steps, of which 14 are taken

DROPOUT = "model: {kind: mlp, hidden: [16], dropout: 0.3}"
KEYS = "monitor: {log_every: 3}\ncheckpoint: {every_steps: 2}\n"
EARLY = "early_stopping: {patience: 50, min_delta: 9}"  # none is: it counts from the start


def digits(
    model: str = DROPOUT, train: str = "steps: 14", rest: str = "", data: str = ""
) -> Callable[[], Path]:
    return lambda: write(
        f"data: {{kind: digits, batch_size: 300{data}}}\n{model}\ntrain: {{{train}}}\n{KEYS}{rest}"
    )


def cnn() -> Path:
    return write(
        "data:\n  kind: digits\n  batch_size: 300\n  augment: [{kind: crop, padding: 1}, "
        "{kind: noise}, {kind: mixup}, {kind: cutmix}]\n"
        "model: {kind: cnn, stages: [{channels: 4}], dropout: 0.2}\n"
        f"train: {{steps: 14, ema_decay: 0.9}}\n{KEYS}"
    )


def language_model() -> Path:
    KINDS["text"].write()
    return write(
        "data: {kind: text, path: verse.txt, window: 30, batch_size: 4}\n"
        "model: {kind: rnn, cell: lstm, hidden: 8, layers: 2, dropout: 0.2}\n"
        f"train: {{steps: 14, bptt: 25, clip_grad_norm: 0.5}}\n{KEYS}"
    )


def tags(train: str = "steps: 14") -> Callable[[], Path]:
    def make() -> Path:
        KINDS["sequence of tags"].write()
        return write(
            "data: {kind: sequence, path: train.npz, batch_size: 4}\n"
            "model: {kind: rnn, cell: gru, hidden: 8, layers: 2, dropout: 0.2}\n"
            f"optimizer: {{kind: adam}}\ntrain: {{{train}}}\n{KEYS}"
        )

    return make


CASES: dict[str, Callable[[], Path]] = {
    "mlp": digits(),
    "cnn with augmentation and average": cnn,
    "language model": language_model,
    "sequences of varying lengths": tags(),
    "accumulated batches": tags("steps: 14, grad_accum_steps: 2"),
    "accumulated batches without the last one": digits(
        train="steps: 14, grad_accum_steps: 3", data=", drop_last: true, sampling: balanced"
    ),
    "plateau, early stopping and average": digits(
        train=f"steps: 14, ema_decay: 0.9, {EARLY}",
        rest="schedule: {kind: plateau, patience: 0, threshold: 0.9}\n",
    ),
    "fp16": digits(train="steps: 14, l1: 0.001", rest="precision: fp16\ndevice: cpu\n"),
    "adamw": digits(rest="optimizer: {kind: adamw, decay_norm_and_bias: false}\n"),
    "muon": digits(rest="optimizer: {kind: muon}\nschedule: {kind: cosine}\n"),
    "lbfgs": digits(rest="optimizer: {kind: lbfgs, iterations: 3, history: 4}\n"),
}
# within a window of the log, within and at the end of an epoch, between two checkpoints and at one,
# one right after the other, and at the last step
STOPS = [(3, ask), (5, kill), (8, ask), (9, ask), (10, kill), (14, ask)]
FEW_STOPS = [(5, kill), (8, ask)]  # after which all of the state has been read again

WEEKLY = ("mlp", "sequences of varying lengths")  # others hold all of their state, and more
# where in an epoch, a window or a text the run stops matters; others have more state only
AT_ALL_STOPS = ("language model", "accumulated batches", "accumulated batches without the last one")


@pytest.mark.parametrize(
    "name", [pytest.param(each, marks=[pytest.mark.slow] * (each in WEEKLY)) for each in CASES]
)
def test_a_run_that_was_stopped_ends_as_one_that_was_not(
    bptrain: Bptrain, interrupted: Interrupted, name: str
) -> None:
    config = CASES[name]()
    train_whole(bptrain, config, [])
    interrupted(config, STOPS if name in (*AT_ALL_STOPS, *WEEKLY) else FEW_STOPS)
    assert_same()


@pytest.mark.slow
@pytest.mark.parametrize("name", [each for each in CASES if each not in (*AT_ALL_STOPS, *WEEKLY)])
def test_it_does_so_stopped_wherever_it_can_be(
    bptrain: Bptrain, interrupted: Interrupted, name: str
) -> None:
    config = CASES[name]()
    train_whole(bptrain, config, [])
    interrupted(config, STOPS)
    assert_same()


@pytest.mark.parametrize("stops", [[(1, kill), (14, kill)], [(1, ask)], [(5, ask)], [(14, kill)]])
def test_it_does_so_at_any_stops(
    bptrain: Bptrain, interrupted: Interrupted, stops: list[tuple[int, Stop]]
) -> None:
    config = CASES["mlp"]()
    train_whole(bptrain, config, [])
    interrupted(config, stops)
    assert_same()


def test_images_that_workers_decode_resume_in_mid_epoch(
    bptrain: Bptrain, interrupted: Interrupted
) -> None:
    write_folder(Path("images"), images=16)
    config = write(
        "data:\n  {kind: image_folder, root: images, size: 8, batch_size: 6, memory_bytes: 0,\n"
        "  workers: 1, augment: [{kind: flip}, {kind: color_jitter}]}\n"
        f"{DROPOUT}\ntrain: {{steps: 7}}\n{KEYS}"
    )
    train_whole(bptrain, config, [])
    interrupted(config, [(3, ask), (5, kill)])
    assert_same()


# --- when a stop arrives


@pytest.mark.parametrize("stop", [ask, kill])
def test_a_stop_within_an_evaluation_has_it_repeated(
    bptrain: Bptrain, monkeypatch: pytest.MonkeyPatch, stop: Stop
) -> None:
    words = [*SMALL, "train.ema_decay=0.9", "train.epochs=3", "train.steps=null"]
    words += ["train.early_stopping={patience: 9}", "data.batch_size=64"]
    train_whole(bptrain, DIGITS, words)
    whole, seen = evaluation.totals_of, []

    def evaluate(model: Any, loss: Any, metric: Any, batches: Any, *rest: Any) -> Any:
        def served() -> Iterator[Any]:
            for batch in batches:
                yield batch
                seen.append(batch)
                if len(seen) == 5:  # the second of three batches, the second time
                    stop()

        return whole(model, loss, metric, served(), *rest)

    monkeypatch.setattr(evaluation, "totals_of", evaluate)
    arguments = ["fit", DIGITS, *words, "--run-dir", "stopped"]
    if stop is kill:
        with pytest.raises(Killed):
            bptrain(*arguments)
    else:
        assert bptrain(*arguments).exit_code == 143
        names = [path.name for path in list_checkpoints(Path("stopped/checkpoints"))]
        assert names == ["step-000000", "step-000021", "step-000042"]
    assert [line["step"] for line in lines_of("stopped") if "val/loss" in line] == [21]
    assert bptrain(*arguments, "--resume").exit_code == 0
    assert_same()


def test_a_stop_at_the_very_end_has_its_exit_code(
    bptrain: Bptrain, monkeypatch: pytest.MonkeyPatch
) -> None:
    train_whole(bptrain, DIGITS, SMALL)
    run = session.Session.run

    def run_and_ask(self: session.Session) -> None:
        run(self)
        ask()

    with monkeypatch.context() as patched:
        patched.setattr(session.Session, "run", run_and_ask)
        stopped = bptrain("fit", DIGITS, *SMALL, "--run-dir", "stopped")
    assert stopped.exit_code == 143
    assert not any("test/loss" in line for line in lines_of("stopped"))
    assert bptrain("fit", DIGITS, *SMALL, "--run-dir", "stopped", "--resume").exit_code == 0
    assert_same()


# --- what a resume reports


def test_a_finished_run_says_so_and_is_not_reported_twice(bptrain: Bptrain) -> None:
    train_whole(bptrain, DIGITS, SMALL)
    shutil.copytree("whole", "again")
    for _ in range(2):
        result = bptrain("fit", DIGITS, *SMALL, "--run-dir", "again", "--resume")
        assert result.exit_code == 0
        assert "the run is finished: no steps remain" in result.stdout
        assert "test accuracy" in result.stdout
    assert_same("whole", "again")
    assert sum("test/loss" in line for line in lines_of("again")) == 1


def test_a_run_that_stopped_early_resumes_with_more_patience(bptrain: Bptrain) -> None:
    # by more than 9 no loss is ever smaller
    words = ["model.hidden=[16]", "data.batch_size=700", "train.epochs=6"]
    early = "train.early_stopping={{patience: {}, min_delta: 9}}".format
    result = bptrain("fit", DIGITS, *words, early(2), "--run-dir", "run")
    assert "stopped early" in result.stdout
    again = bptrain("fit", DIGITS, *words, early(2), "--run-dir", "run", "--resume")
    assert "the run is finished" in again.stdout
    assert lines_of("run")[-1]["step"] == 6
    on = bptrain("fit", DIGITS, *words, early(4), "--run-dir", "run", "--resume")
    assert "results may differ: train.early_stopping.patience was 2, is 4" in on.stdout
    assert "no smaller validation loss by more than 9 for 4 evaluations" in on.stdout
    assert lines_of("run")[-1]["step"] == 10


def test_more_epochs_are_said_not_to_be_bit_for_bit(bptrain: Bptrain) -> None:
    words = ["model.hidden=[16]", "data.batch_size=256"]
    assert bptrain("fit", DIGITS, *words, "train.epochs=2").exit_code == 0
    result = bptrain("fit", DIGITS, *words, "train.epochs=3", "--resume")
    assert result.exit_code == 0
    assert "resuming runs/digits-mlp from step-000012: step 12 of 18" in result.stdout
    assert "results may differ: train.epochs was 2, is 3" in result.stdout
    assert [line["step"] for line in lines_of("runs/digits-mlp") if "val/loss" in line] == [
        6,
        12,
        18,
    ]


@pytest.mark.parametrize(
    ("word", "key"),
    [
        ("model.hidden=[17]", "model.hidden"),
        ("data.batch_size=128", "data.batch_size"),
        ("seed=1", "seed"),
        ("precision=bf16", "precision"),
        ("optimizer={kind: adam}", "optimizer.kind"),
        ("train.grad_accum_steps=2", "train.grad_accum_steps"),
        ("train.ema_decay=0.9", "train.ema_decay"),
    ],
)
def test_another_experiment_does_not_resume_a_run(bptrain: Bptrain, word: str, key: str) -> None:
    assert bptrain("fit", DIGITS, *SMALL, "--run-dir", "run").exit_code == 0
    before = Path("run/metrics.jsonl").read_text()
    result = bptrain("fit", DIGITS, *SMALL, word, "--run-dir", "run", "--resume")
    assert result.exit_code == 2
    assert "the run has another" in result.stderr
    assert key in result.stderr
    assert Path("run/metrics.jsonl").read_text() == before


@pytest.mark.parametrize("words", [[], ["--run-dir", "nowhere"]])
def test_there_must_be_a_run_to_resume(bptrain: Bptrain, words: list[str]) -> None:
    result = bptrain("fit", DIGITS, *SMALL, *words, "--resume")
    assert result.exit_code == 4
    assert "no run to resume" in result.stderr
    assert not list(Path().iterdir())


def test_the_newest_of_several_runs_is_resumed(bptrain: Bptrain) -> None:
    for _ in range(2):
        assert bptrain("fit", DIGITS, *SMALL).exit_code == 0
    assert "resuming runs/digits-mlp-2 from" in bptrain("fit", DIGITS, *SMALL, "--resume").stdout


def test_damaged_checkpoints_are_skipped_until_none_is_left(bptrain: Bptrain) -> None:
    words = [*SMALL, "checkpoint.every_steps=5"]
    train_whole(bptrain, DIGITS, words)
    shutil.copytree("whole", "stopped")
    checkpoints = list_checkpoints(Path("stopped/checkpoints"))
    assert [path.name for path in checkpoints][-2:] == ["step-000010", "step-000012"]
    (checkpoints[-1] / "optimizer.safetensors").write_bytes(b"no tensors")
    result = bptrain("fit", DIGITS, *words, "--run-dir", "stopped", "--resume")
    assert result.exit_code == 0, result.stderr
    assert "skipped: stopped/checkpoints/step-000012/optimizer" in result.stdout
    assert "from step-000010: step 10 of 12" in result.stdout
    assert_same()
    for path in list_checkpoints(Path("stopped/checkpoints")):
        (path / "state.json").write_text("{}")
    result = bptrain("fit", DIGITS, *words, "--run-dir", "stopped", "--resume")
    assert result.exit_code == 4
    assert "checkpoints can be used" in result.stderr


def test_another_number_of_threads_is_said(bptrain: Bptrain) -> None:
    assert bptrain("fit", DIGITS, *SMALL, "--run-dir", "run").exit_code == 0
    described = Path("run/environment.json")
    held = json.loads(described.read_text())
    described.write_text(json.dumps(held | {"threads": 99}))
    result = bptrain("fit", DIGITS, *SMALL, "--run-dir", "run", "--resume")
    assert f"results may differ: threads was 99, is {torch.get_num_threads()}" in result.stdout


@pytest.mark.parametrize("harm", ["cut", "gone"])
def test_lines_that_metrics_jsonl_has_lost_are_said(
    bptrain: Bptrain, stopping: Callable[[int, Stop], None], harm: str
) -> None:
    words = [*SMALL, "checkpoint.every_steps=1", "--run-dir", "run"]
    stopping(10, ask)
    assert bptrain("fit", DIGITS, *words).exit_code == 143
    metrics = Path("run/metrics.jsonl")
    assert [line["step"] for line in lines_of("run")] == [4, 6, 8]
    if harm == "gone":
        metrics.unlink()
    else:
        os.truncate(metrics, metrics.stat().st_size - 5)
    result = bptrain("fit", DIGITS, *words, "--resume")
    assert result.exit_code == 0
    assert "bytes shorter than at the checkpoint" in result.stdout
    assert "lines are lost" in result.stdout
    before = [] if harm == "gone" else [4, 6]
    assert [line["step"] for line in lines_of("run")] == [*before, 12, 12]


def test_a_run_whose_loss_diverged_resumes_with_a_smaller_rate(bptrain: Bptrain) -> None:
    words = [*SMALL, "schedule={kind: constant, warmup_steps: 0}", "--run-dir", "run"]
    assert bptrain("fit", DIGITS, *words, "optimizer.lr=1e30").exit_code == 6
    again = bptrain("fit", DIGITS, *words, "optimizer.lr=1e30", "--resume")
    assert again.exit_code == 6
    result = bptrain("fit", DIGITS, *words, "--resume")
    assert result.exit_code == 0, result.stderr
    assert "results may differ: optimizer.lr was 1e+30, is 0.1" in result.stdout
    assert lines_of("run")[-1]["test/accuracy"] > 0.5


# --- verify-resume


@pytest.mark.usefixtures("verify_resume_in_this_process")
def test_verify_resume_finds_a_complete_config_exact(bptrain: Bptrain) -> None:
    result = bptrain("verify-resume", digits()(), "--steps", "8")
    assert result.exit_code == 0, result.output
    assert result.stdout.count("same") == 5
    assert list(Path().iterdir()) == [Path("c.yaml")]


@pytest.mark.usefixtures("verify_resume_in_this_process")
@pytest.mark.parametrize(
    ("lost", "what"),
    [
        ("Generators", "weights and buffers"),  # dropout then draws other numbers
        ("OptimizerState", "weights and buffers"),
    ],
)
def test_verify_resume_finds_a_part_of_the_state_that_is_lost(
    bptrain: Bptrain, monkeypatch: pytest.MonkeyPatch, lost: str, what: str
) -> None:
    monkeypatch.setattr(f"bptrain.train.states.{lost}.restore", lambda *_: None)
    result = bptrain("verify-resume", digits()(), "--json", "--steps", "8")
    assert result.exit_code == 4
    assert f"resume is not exact: {what}" in result.stderr
    compared = {each["what"]: each for each in json.loads(result.stdout)}
    assert "differs by up to" in compared[what]["difference"]
    assert compared["metrics.jsonl"]["difference"]


@pytest.mark.slow
def test_verify_resume_kills_and_resumes_separate_processes(bptrain: Bptrain) -> None:
    result = bptrain("verify-resume", digits()(), "--steps", "40", "--kills", "1")
    assert result.exit_code == 0, result.output
    assert result.stdout.count("same") == 5


def run_by_shell(monkeypatch: pytest.MonkeyPatch, script: str) -> None:
    """Have verify-resume start a script in place of Python, which takes seconds to import torch."""
    python = Path("python")
    python.write_text(f"#!/bin/sh\n{script}\n")
    python.chmod(0o755)
    monkeypatch.setattr("bptrain.commands.verify_resume.sys.executable", str(python.absolute()))


def test_verify_resume_kills_a_process_at_its_checkpoint_and_resumes_it_in_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    # its words: -m bptrain fit CONFIG --run-dir RUN, and --resume
    save = "mkdir -p $6/checkpoints/step-000004; exec sleep 100"
    run_by_shell(monkeypatch, f"echo $$ $7 >> pids; [ $7 ] || {{ {save}; }}")
    verify_resume.kill_after(Path("c.yaml"), Path("run"), 4)
    verify_resume.finish(Path("c.yaml"), Path("run"))
    (killed, *no_word), (finished, word) = map(str.split, Path("pids").read_text().splitlines())
    assert (no_word, word) == ([], "--resume")
    assert killed != finished
    assert not Path("/proc", killed).exists()


def test_verify_resume_reports_why_a_run_failed(
    bptrain: Bptrain, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_by_shell(monkeypatch, "echo error: the loss is nan at step 3 >&2; exit 6")
    result = bptrain("verify-resume", DIGITS)
    assert result.exit_code == 4
    assert "the run ended with exit code 6" in result.stderr
    assert "the loss is nan at step 3" in result.stderr


def test_a_run_does_not_resume_with_other_data(bptrain: Bptrain, tmp_path: Path) -> None:
    config = write(
        "data: {kind: table, path: rows.csv, target: c}\n"
        "model: {kind: mlp, hidden: [4]}\ntrain: {steps: 4}\n"
    )

    def go(scale: int, *words: str) -> Result:
        rows = [f"{number * scale},{number % 7},{number % 2}" for number in range(60)]
        Path("rows.csv").write_text("\n".join(["a,b,c", *rows]) + "\n")
        return bptrain("fit", config, "--run-dir", "run", *words)

    assert go(1).exit_code == 0
    assert go(1, "--resume").exit_code == 0
    result = go(2, "--resume")
    assert result.exit_code == 3
    assert "not what it was when the run began" in result.stderr


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16"])
def test_a_run_on_a_gpu_resumes_where_it_stopped(
    bptrain: Bptrain, stopping: Callable[[int, Stop], None], precision: str
) -> None:
    words = ["device=cuda", f"precision={precision}", "model.dropout=0.2", *SMALL]
    train_whole(bptrain, DIGITS, words)
    stopping(7, ask)
    assert bptrain("fit", DIGITS, *words, "--run-dir", "stopped").exit_code == 143
    resumed = bptrain("fit", DIGITS, *words, "--run-dir", "stopped", "--resume")
    assert resumed.exit_code == 0, resumed.stderr
    assert "no fixed order" in resumed.stdout or "not fixed" in resumed.stdout
    whole, stopped = lines_of("whole"), lines_of("stopped")
    assert [line["step"] for line in whole] == [line["step"] for line in stopped]
    # a GPU may add up in another order, and twelve steps amplify that little
    losses = [
        [line["train/loss"] for line in lines if "train/loss" in line] for lines in (whole, stopped)
    ]
    assert losses[0] == pytest.approx(losses[1], rel=1e-3)
