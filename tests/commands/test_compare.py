"""`compare`: a table of runs, of one task or several, named or found in a folder."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from small_files import CONFIGS
from typer.testing import CliRunner, Result

from bptrain.cli import app

Bptrain = Callable[..., Result]
SMALL = ["train.epochs=1", "model.hidden=[4]"]
RUNS = {
    "slow": [CONFIGS / "digits_mlp.yaml", *SMALL, "optimizer.lr=0.001"],
    "fast": [CONFIGS / "digits_mlp.yaml", *SMALL, "optimizer.lr=0.1"],
    "xor": [CONFIGS / "xor_mlp.yaml", *SMALL, "data.task=regression", "data.samples=50"],
}


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder of runs, which tests copy."""
    folder = tmp_path_factory.mktemp("trained")
    for name, words in RUNS.items():
        fit = ["fit", *map(str, words), "--run-dir", str(folder / name)]
        result = CliRunner().invoke(app, fit)
        assert result.exit_code == 0, result.stderr
    return folder


@pytest.fixture
def runs(trained: Path, tmp_path: Path, bptrain: Bptrain, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a copy of the folder of runs, beside the current folder's other files."""
    monkeypatch.setenv("COLUMNS", "200")
    shutil.copytree(trained, tmp_path / "runs")
    (tmp_path / "runs" / "notes").mkdir()
    (tmp_path / "runs" / "readme.txt").write_text("no run")
    return Path("runs")


def listed(bptrain: Bptrain, *words: object) -> list[dict]:
    result = bptrain("compare", *words, "--json")
    assert result.exit_code == 0, result.stderr
    found: list[dict] = json.loads(result.stdout)["runs"]
    return found


def test_runs_are_listed_with_what_differs(runs: Path, bptrain: Bptrain) -> None:
    shown = bptrain("compare", runs / "slow", runs / "fast")
    assert shown.exit_code == 0, shown.stderr
    for said in ("optimizer.lr", "0.001", "0.1", "best val/accuracy", "test/loss", "verdicts"):
        assert said in shown.stdout, said
    for same in ("model.hidden", "seed", "task", "status"):
        assert same not in shown.stdout
    assert shown.stdout.index("optimizer.lr") < shown.stdout.index("best val/accuracy")
    slow, _ = listed(bptrain, runs / "slow", runs / "fast")
    assert slow["config"] == {"optimizer.lr": 0.001}
    last = json.loads((runs / "slow" / "metrics.jsonl").read_text().splitlines()[-1])
    assert slow["final"]["test/accuracy"] == last["test/accuracy"]
    assert slow["best_step"] == slow["step"] == 21
    assert slow["time_s"] == last["time_s"]
    assert (slow["ending"], slow["task"]) == ("finished", "classification")


def test_a_folder_of_runs_is_all_of_them_each_once(runs: Path, bptrain: Bptrain) -> None:
    found = listed(bptrain, runs, runs / "fast")
    assert [each["run"] for each in found] == ["runs/fast", "runs/slow", "runs/xor"]


def test_runs_of_other_tasks_have_blanks(runs: Path, bptrain: Bptrain) -> None:
    shown = bptrain("compare", runs)
    assert shown.exit_code == 0, shown.stderr
    assert "regression" in shown.stdout
    by_name = {each["run"]: each for each in listed(bptrain, runs)}
    assert "val/accuracy" in by_name["runs/fast"]["best"]
    assert "val/accuracy" not in by_name["runs/xor"]["best"]
    assert "val/rmse" in by_name["runs/xor"]["best"]


@pytest.mark.parametrize(("key", "sign"), [("val/accuracy", -1), ("val/loss", 1), ("val/rmse", 1)])
def test_the_best_metric_comes_first_and_runs_without_it_last(
    runs: Path, bptrain: Bptrain, key: str, sign: int
) -> None:
    values = [each["best"].get(key) for each in listed(bptrain, runs, "--sort", key)]
    there = [value for value in values if value is not None]
    assert there == sorted(there, key=lambda value: sign * value)
    assert values == there + [None] * (len(values) - len(there))


def test_keys_and_names_are_sorted_smallest_first(runs: Path, bptrain: Bptrain) -> None:
    by_lr = listed(bptrain, runs, "--sort", "optimizer.lr")
    assert [each["config"]["optimizer.lr"] for each in by_lr] == [0.001, 0.01, 0.1]
    by_name = listed(bptrain, runs, "--sort", "name")
    assert [each["run"] for each in by_name] == ["runs/fast", "runs/slow", "runs/xor"]


def test_a_wide_table_is_cut_into_several_that_all_name_the_runs(
    runs: Path, bptrain: Bptrain, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "60")
    shown = bptrain("compare", runs).stdout
    assert max(map(len, shown.splitlines())) <= 60
    assert "…" not in shown
    assert shown.count("runs/xor") == shown.count("┏") > 3


def test_a_run_in_a_folder_that_is_damaged_is_named_and_left_out(
    runs: Path, bptrain: Bptrain
) -> None:
    (runs / "slow" / "prepared.json").write_text("{}")
    shown = bptrain("compare", runs)
    assert shown.exit_code == 0
    assert "left out: runs/slow/prepared.json" in shown.stderr
    assert "runs/fast" in shown.stdout
    named = bptrain("compare", runs / "slow", runs / "fast")
    assert named.exit_code == 4
    for name in ("fast", "xor"):
        (runs / name / "prepared.json").write_text("{}")
    assert bptrain("compare", runs).exit_code == 2


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["missing"], "missing: not a run directory, and it holds none"),
        (["runs/notes"], "runs/notes: not a run directory"),
        (["runs/readme.txt"], "runs/readme.txt: not a run directory"),
        (["runs", "--sort", "val/beauty"], "--sort val/beauty: no run has it"),
        ([], "Missing argument"),
    ],
)
def test_wrong_words_are_usage_errors(
    runs: Path, bptrain: Bptrain, words: list[str], said: str
) -> None:
    result = bptrain("compare", *words)
    assert (result.exit_code, said in result.stderr) == (2, True), result.stderr


def test_a_run_without_a_line_is_a_row_too(runs: Path, bptrain: Bptrain) -> None:
    (runs / "slow" / "metrics.jsonl").write_bytes(b"")
    slow = next(each for each in listed(bptrain, runs) if each["run"] == "runs/slow")
    assert (slow["best"], slow["final"], slow["time_s"]) == ({}, {}, None)
    assert "ended before its first line" in bptrain("compare", runs).stdout
