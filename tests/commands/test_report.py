"""`report`: of runs that are finished, killed, sick or damaged; and as `fit` leaves it."""

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from html_pages import read
from small_files import CONFIGS
from typer.testing import CliRunner, Result

from bptrain.cli import app
from bptrain.rundir.run_lock import locked

Bptrain = Callable[..., Result]
MLP = ("fit", CONFIGS / "digits_mlp.yaml", "model.hidden=[8]", "train.epochs=2")
HOSTILE = "<script>alert(1)</script>"


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a finished run, which tests copy."""
    run = tmp_path_factory.mktemp("finished") / "run"
    result = CliRunner().invoke(app, [*map(str, MLP), "--run-dir", str(run)])
    assert result.exit_code == 0, result.stderr
    assert f"report {run}/report.html" in result.stdout.replace("\n", "")
    return run


@pytest.fixture
def run(finished: Path, tmp_path: Path, bptrain: Bptrain) -> Path:
    """Return a copy of the finished run, in the current folder."""
    shutil.copytree(finished, tmp_path / "run")
    return Path("run")


def words_of(path: Path) -> str:
    return " ".join(" ".join(read(path.read_text(encoding="utf-8")).text).split())


def written(bptrain: Bptrain, *words: object) -> str:
    """Write the report of `run` anew, and return its words."""
    Path("run/report.html").unlink(missing_ok=True)
    result = bptrain("report", "run", *words)
    assert result.exit_code == 0, result.stderr
    assert "run/report.html" in result.stdout
    return words_of(Path("run/report.html"))


def test_fit_leaves_the_report_that_the_command_writes(run: Path, bptrain: Bptrain) -> None:
    left = words_of(run / "report.html")
    for said in ("status finished", "classification, 10 classes", "steps 42 of 42", "loss"):
        assert said in left, said
    assert "The 12 samples with the largest loss" in left
    assert "data:image/png" in (run / "report.html").read_text()
    before = sorted(path.name for path in run.iterdir())
    again = written(bptrain)
    assert sorted(path.name for path in run.iterdir()) == before

    def without_folder(words: str) -> str:  # which is another one here
        return words.partition("status")[2].partition("bptrain report")[0]

    assert without_folder(again) == without_folder(left)


def test_a_report_without_an_evaluation_says_so(run: Path, bptrain: Bptrain) -> None:
    words = written(bptrain, "--no-evaluate")
    assert "The best state was not evaluated: it was not asked for" in words
    assert "Gradient norm by depth" in words


def test_the_page_can_be_written_elsewhere(run: Path, bptrain: Bptrain) -> None:
    before = (run / "report.html").read_bytes()
    assert bptrain("report", "run", "--no-evaluate", "--output", "page.html").exit_code == 0
    assert "digits" in words_of(Path("page.html"))
    assert (run / "report.html").read_bytes() == before


def test_a_run_that_was_killed_while_it_wrote_a_line_has_a_report(
    run: Path, bptrain: Bptrain
) -> None:
    lines = (run / "metrics.jsonl").read_bytes().splitlines(keepends=True)
    (run / "metrics.jsonl").write_bytes(b"".join(lines[:-1]) + lines[-1][:20])
    words = written(bptrain, "--no-evaluate")
    assert "status ended after step 42" in words
    assert "metrics.jsonl:" not in words


def test_a_run_in_progress_has_a_report(run: Path, bptrain: Bptrain) -> None:
    with locked(run):
        assert "status in progress: process " in written(bptrain, "--no-evaluate")
    assert "in progress" not in written(bptrain, "--no-evaluate")


@pytest.mark.parametrize("content", [b"", None])
def test_a_run_without_a_line_has_a_report(
    run: Path, bptrain: Bptrain, content: bytes | None
) -> None:
    (run / "metrics.jsonl").unlink()
    if content is not None:
        (run / "metrics.jsonl").write_bytes(content)
    words = written(bptrain)
    assert "status ended before its first line" in words
    assert "No curves: no number was logged yet" in words
    assert "The 12 samples with the largest loss" in words


def test_lines_that_cannot_be_read_are_left_out_and_counted(run: Path, bptrain: Bptrain) -> None:
    with (run / "metrics.jsonl").open("ab") as file:
        file.write(b'{"step": 50, "train/loss": \n' + HOSTILE.encode() + b"\n\xff\n[1]\n")
        file.write(json.dumps({"step": 60, f"val/{HOSTILE}": 1.5, "train/loss": None}).encode())
        file.write(b"\n")
    words = written(bptrain, "--no-evaluate")
    assert "metrics.jsonl: 4 lines cannot be read and are left out" in words
    assert "a cross marks a step whose number was not finite" in words
    assert HOSTILE not in (run / "report.html").read_text()
    assert HOSTILE in words  # as a metric's name, escaped


def test_a_damaged_environment_or_failed_step_is_said(run: Path, bptrain: Bptrain) -> None:
    (run / "environment.json").write_text("[" * 100_000)
    (run / "failed").mkdir()
    words = written(bptrain, "--no-evaluate")
    assert "environment.json cannot be read" in words
    assert "the step that failed cannot be read" in words


@pytest.mark.parametrize("name", ["checkpoints", "checkpoints/step-000042/model.safetensors"])
def test_checkpoints_that_cannot_be_used_leave_the_rest(
    run: Path, bptrain: Bptrain, name: str
) -> None:
    for path in [run / name] if name == "checkpoints" else run.glob("*/*/model.safetensors"):
        shutil.rmtree(path) if path.is_dir() else path.write_bytes(b"\0" * path.stat().st_size)
    words = written(bptrain)
    assert "The best state was not evaluated: " in words
    assert "checkpoint" in words
    assert "Gradient norm by depth" in words


def test_a_column_that_is_named_like_a_script_is_only_a_name(bptrain: Bptrain) -> None:
    rows = "".join(f"{n % 7},{'ab'[n % 2]},{n % 5}\n" for n in range(100))
    Path("t.csv").write_text(f"{HOSTILE},</style>,y\n{rows}")
    Path("t.yaml").write_text(
        "name: t\ndata: {kind: table, path: t.csv, target: y, task: regression}\n"
        "model: {kind: mlp, hidden: [4]}\ntrain: {epochs: 2}\n"
    )
    fit = bptrain("fit", "t.yaml", "--run-dir", "run")
    assert fit.exit_code == 0, fit.stderr
    for words in (words_of(Path("run/report.html")), written(bptrain)):
        assert HOSTILE in words
        assert "</style>" in words
    assert "<script" not in Path("run/report.html").read_text()
    assert "regression, 1 number" in words
    Path("t.csv").unlink()
    assert "The best state was not evaluated: t.csv: not found" in written(bptrain)


def test_a_language_models_report_shows_texts_and_time_steps(bptrain: Bptrain) -> None:
    Path("t.txt").write_text("round and round the rugged rock the ragged rascal ran\n" * 20)
    Path("t.yaml").write_text(
        "name: t\ndata: {kind: text, path: t.txt, window: 16, batch_size: 4}\n"
        "model: {kind: rnn, cell: lstm, hidden: 8}\ntrain: {epochs: 2}\nmonitor: {log_every: 1}\n"
    )
    fit = bptrain("fit", "t.yaml", "--run-dir", "run")
    assert fit.exit_code == 0, fit.stderr
    words = words_of(Path("run/report.html"))
    assert "rugged rock" in words
    assert "Gradient norm by time step: lstm" in words
    assert "This task has no pictures of its predictions" in words


def test_a_run_that_is_not_finite_leaves_a_report_of_what_led_to_it(bptrain: Bptrain) -> None:
    sick = ("loss={kind: mse}", "optimizer={kind: sgd, lr: 1.0e+10}", "schedule={kind: constant}")
    failed = bptrain(*MLP, *sick, "--run-dir", "run")
    assert failed.exit_code == 6
    for words in (words_of(Path("run/report.html")), written(bptrain)):
        assert re.search(r"status failed: the (loss|gradient).* at step \d", words)
        assert "divergence" in words


@pytest.mark.parametrize(
    "broken",
    [
        "bptrain.experiment.reporting.write_page",
        "bptrain.experiment.reporting.evaluated",
        "bptrain.tasks.worst_samples.WorstSamples.add",
    ],
)
def test_a_report_that_fails_is_no_failure_of_the_run(
    bptrain: Bptrain, monkeypatch: pytest.MonkeyPatch, broken: str
) -> None:
    def fail(*words: object, **named: object) -> None:
        raise MemoryError("planted")

    monkeypatch.setattr(broken, fail)
    result = bptrain(*MLP, "--run-dir", "run")
    assert result.exit_code == 0, result.stderr
    assert "test accuracy" in result.stdout
    if broken.endswith("add"):
        assert "No worst samples: MemoryError: planted" in words_of(Path("run/report.html"))
    else:
        assert "no report.html: MemoryError: planted" in result.stdout
        assert not Path("run/report.html").exists()
    assert "test/loss" in Path("run/metrics.jsonl").read_text()


def test_two_runs_stand_side_by_side(run: Path, bptrain: Bptrain) -> None:
    shutil.copytree("run", "other")
    result = bptrain("report", "run", "other", "--no-evaluate")
    assert result.exit_code == 0, result.stderr
    words = words_of(Path("run/report-other.html"))
    assert "run and other" in words
    assert "Both runs have the same config" in words


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["."], 2, "not a run directory"),
        (["missing"], 2, "not a run directory"),
        (["run", "run", "run"], 2, "a report is of one or two"),
        (["run", "--output", "missing/page.html"], 5, "missing/page.html: cannot be written"),
        ([], 2, "Missing argument"),
    ],
)
def test_wrong_words_have_the_documented_exit_codes(
    run: Path, bptrain: Bptrain, words: list[str], code: int, said: str
) -> None:
    result = bptrain("report", *words, "--no-evaluate")
    assert (result.exit_code, said in result.stderr) == (code, True), result.stderr
    assert len(result.stderr.splitlines()) <= 6


def test_an_edited_config_is_refused(run: Path, bptrain: Bptrain) -> None:
    config = run / "config.yaml"
    config.write_text(config.read_text().replace("seed: 0", "seed: 1"))
    result = bptrain("report", "run")
    assert result.exit_code == 4
    assert "edited since" in result.stderr
