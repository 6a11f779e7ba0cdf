"""The command line as a user sees it: help, exit codes, messages."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from small_files import CONFIGS
from typer.testing import CliRunner

from bptrain.cli import app

DIGITS = CONFIGS / "digits_mlp.yaml"
QUICK = ["train.epochs=1"]

HELP = """\
Usage: bptrain [OPTIONS] COMMAND [ARGS]...

  Train networks whose backpropagation is written out by hand.

Options:
  --version             print the version
  --install-completion  Install completion for the current shell.
  --show-completion     Show completion for the current shell, to copy it or
                        customize the installation.
  -h, --help            Show this message and exit.

Commands:
  fit            Train the experiment of CONFIG and test it.
  board          Show RUNS in TensorBoard, each by its own name.
  evaluate       Print a run's loss and metrics on the test split, or on...
  predict        Print what a run's model says of each INPUT, or writes on...
  export         Write RUN's model into FILE, for programs without bptrain.
  import         Begin a run of CONFIG with the weights in FILE.
  serve          Answer HTTP requests by RUN's model, with a page to try it.
  diagnose       Say why RUN does not learn, and what to change.
  report         Write an HTML page about RUN, or about two side by side.
  compare        Print a table of many runs: how their configs differ,...
  check          Prove every hand-written gradient of CONFIG's model.
  bench          Compare CONFIG's training step with torch.nn's in time and...
  lr             Suggest a learning rate for CONFIG, by a short run that...
  sweep          Search for the best values of CONFIG's keys, by many runs.
  verify-resume  Kill CONFIG's run, resume it, and compare it bit for bit...
  replay         Repeat the step of a RUN that was not finite, and name the...
  tape           Print the training step of CONFIG as it runs, as Python,...
  explain        Show a training step of CONFIG as the chain rule, with the...
  validate       Check CONFIG and report every error in it; run nothing.
  init           Print a commented config for a KIND or for the data at PATH.
  doctor         Show the torch build, devices, threads, shared memory and...
"""


COMPLETE = """
import contextlib, io, json, os, sys
from bptrain.cli import app
sys.argv[0] = "bptrain"  # the name that a shell completes
answers = {}
for words, asked in json.load(sys.stdin).items():
    os.environ.update(asked)
    with contextlib.redirect_stdout(io.StringIO()) as shown, contextlib.suppress(SystemExit):
        app()
    answers[words] = shown.getvalue()
assert "torch" not in sys.modules, "completion must answer while somebody types"
print(json.dumps(answers))
"""
COMPLETED = {
    "bptrain va": ["validate"],
    "bptrain fit --dr": ["--dry-run"],
    "bptrain init s": ["sequential", "sequence", "spirals"],
    "bptrain init exp": [],  # a path
    "bptrain evaluate --checkpoint l": ["last"],
    "bptrain fit exp": [],  # the shell completes file names itself
}


@pytest.fixture(scope="module")
def answers() -> dict[str, str]:
    """Return what is printed to a shell that asks for its script, or to complete words."""
    asked = {
        words: {"_BPTRAIN_COMPLETE": "complete_bash", "COMP_WORDS": words}
        | {"COMP_CWORD": str(len(words.split()) - 1)}
        for words in COMPLETED
    }
    asked["script"] = {"_BPTRAIN_COMPLETE": "source_bash"}
    shown = subprocess.run(
        [sys.executable, "-c", COMPLETE], input=json.dumps(asked), capture_output=True, text=True
    )
    assert (shown.returncode, shown.stderr) == (0, "")
    found: dict[str, str] = json.loads(shown.stdout)
    return found


def test_help_reads_as_documented(bptrain: Callable) -> None:
    shown = bptrain("--help")
    assert shown.exit_code == 0
    assert shown.stdout.strip() == HELP.strip()


def test_importing_the_commands_leaves_torch_out() -> None:
    code = "import bptrain.cli, sys; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize(("words", "completed"), COMPLETED.items())
def test_the_shell_completes_commands_options_and_choices(
    answers: dict[str, str], words: str, completed: list[str]
) -> None:
    assert answers[words].split() == completed


def test_the_completion_script_names_bptrain(answers: dict[str, str]) -> None:
    assert "complete -o default -F _bptrain_completion bptrain" in answers["script"]


def test_fit_leaves_the_documented_run_directory(bptrain: Callable, tmp_path: Path) -> None:
    result = bptrain("fit", DIGITS, *QUICK)
    assert result.exit_code == 0, result.stderr
    run = tmp_path / "runs" / "digits-mlp"
    assert {path.name for path in run.iterdir()} == {
        "baselines.json",
        "config.yaml",
        "environment.json",
        "lock",
        "prepared.json",
        "metrics.jsonl",
        "pictures",
        "report.html",
        "tensorboard",
        "checkpoints",
    }
    checkpoints = sorted(path.name for path in (run / "checkpoints").iterdir())
    assert checkpoints == ["step-000000", "step-000021"]
    assert json.loads((run / "environment.json").read_text())["packages"]["torch"]
    assert "step 20/21" in result.stdout
    assert "test accuracy" in result.stdout


def test_a_second_run_gets_a_folder_of_its_own(bptrain: Callable, tmp_path: Path) -> None:
    for _ in range(2):
        assert bptrain("fit", DIGITS, *QUICK).exit_code == 0
    assert {path.name for path in (tmp_path / "runs").iterdir()} == {"digits-mlp", "digits-mlp-2"}


def test_the_resolved_config_can_be_run_again(bptrain: Callable, tmp_path: Path) -> None:
    assert bptrain("fit", DIGITS, *QUICK, "optimizer.lr=1e-3").exit_code == 0
    config = tmp_path / "runs" / "digits-mlp" / "config.yaml"
    assert bptrain("fit", config, "--run-dir", "again").exit_code == 0
    assert (tmp_path / "again" / "config.yaml").read_text() == config.read_text()
    first, second = (losses_of(run) for run in (config.parent, tmp_path / "again"))
    assert first == second
    assert len(first) == 2  # step 20 and the epoch's end


def test_a_chosen_run_directory_is_never_overwritten(bptrain: Callable, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("precious")
    result = bptrain("fit", DIGITS, *QUICK, "--run-dir", "mine")
    assert result.exit_code == 2
    assert "never overwritten" in result.stderr
    assert [path.name for path in (tmp_path / "mine").iterdir()] == ["notes.txt"]


def test_dry_run_shows_the_model_and_leaves_nothing(bptrain: Callable, tmp_path: Path) -> None:
    result = bptrain("fit", DIGITS, "--dry-run")
    assert result.exit_code == 0
    for shown in ("linear1", "64 x 256", "16,640", "50,826", "1,294 train", "saved for backward"):
        assert shown in result.stdout
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("words", [["--dry-run"], []])
def test_a_model_larger_than_memory_is_refused_before_it_is_built(
    bptrain: Callable, tmp_path: Path, words: list[str]
) -> None:
    result = bptrain("fit", DIGITS, "model.hidden=[1000000, 1000000]", *words)
    assert result.exit_code == 2
    assert "free" in result.stderr
    assert len(result.stderr.strip().splitlines()) <= 6
    assert not (tmp_path / "runs").exists()


def test_evaluate_repeats_the_test_result_of_the_run(bptrain: Callable, tmp_path: Path) -> None:
    assert bptrain("fit", DIGITS, "train.epochs=3", "--run-dir", "run").exit_code == 0
    lines = metrics_of(tmp_path / "run")
    printed = json.loads(bptrain("evaluate", "run", "--json").stdout)
    assert printed["test/loss"] == lines[-1]["test/loss"]
    assert printed["test/accuracy"] == lines[-1]["test/accuracy"]
    last = bptrain("evaluate", "run", "--checkpoint", "last")
    assert last.exit_code == 0
    assert "step-000063" in last.stdout


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a run of one epoch, to be copied."""
    folder = tmp_path_factory.mktemp("trained") / "run"
    words = ["fit", str(DIGITS), *QUICK, "--run-dir", str(folder)]
    assert CliRunner().invoke(app, words).exit_code == 0
    return folder


@pytest.mark.parametrize(
    "harm",
    [
        lambda run: (run / "checkpoints" / "step-000021" / "model.safetensors").write_bytes(b"x"),
        lambda run: (run / "checkpoints" / "step-000021" / "manifest.json").unlink(),
        lambda run: (run / "checkpoints" / "step-000021" / "manifest.json").write_text("[1]"),
        lambda run: (run / "checkpoints").rename(run / "moved"),
        lambda run: (run / "config.yaml").write_text(
            (run / "config.yaml").read_text().replace("256", "255")
        ),
    ],
    ids=["damaged file", "no manifest", "wrong manifest", "no checkpoint", "another model"],
)
def test_a_checkpoint_that_cannot_be_used_is_exit_4(
    bptrain: Callable, trained: Path, tmp_path: Path, harm: Callable[[Path], object]
) -> None:
    shutil.copytree(trained, tmp_path / "run")
    harm(tmp_path / "run")
    result = bptrain("evaluate", "run")
    assert result.exit_code == 4, result.output
    assert 1 <= len(result.stderr.strip().splitlines()) <= 6
    assert "Traceback" not in result.stderr


def test_evaluate_of_something_else_is_exit_2(bptrain: Callable) -> None:
    assert bptrain("evaluate", "nowhere").exit_code == 2


def test_a_loss_that_diverges_is_exit_6_and_names_the_step(
    bptrain: Callable, tmp_path: Path
) -> None:
    result = bptrain("fit", DIGITS, "optimizer.lr=1e30", "schedule.warmup_steps=0")
    assert result.exit_code == 6
    assert "at step" in result.stderr
    assert len(result.stderr.strip().splitlines()) <= 6
    run = tmp_path / "runs" / "digits-mlp"
    assert "Traceback" in (run / "error.log").read_text()
    # the one from before the first step: never a checkpoint of NaN weights
    assert [path.name for path in (run / "checkpoints").iterdir()] == ["step-000000"]


def test_a_device_the_machine_lacks_is_exit_2(bptrain: Callable) -> None:
    result = bptrain("fit", DIGITS, "device=cuda:99")
    assert result.exit_code == 2
    assert "CUDA devices" in result.stderr


def test_a_run_directory_that_cannot_be_made_is_exit_5(bptrain: Callable, tmp_path: Path) -> None:
    (tmp_path / "runs").write_text("a file where the folder should be")
    result = bptrain("fit", DIGITS, *QUICK)
    assert result.exit_code == 5
    assert "cannot be written" in result.stderr


def test_an_unforeseen_error_is_exit_1_with_its_traceback_in_a_file(
    bptrain: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(config: object) -> None:
        raise KeyError("a bug")

    monkeypatch.setattr("bptrain.commands.fit.plan_for_training", fail)
    result = bptrain("fit", DIGITS)
    assert result.exit_code == 1
    assert "Traceback" not in result.stderr
    log = Path(result.stderr.split()[-1])
    assert "KeyError: 'a bug'" in log.read_text()
    log.unlink()


def test_a_signal_saves_and_exits_with_its_code(bptrain: Callable, tmp_path: Path) -> None:
    """The other signals are in tests/faults/test_stop_signals.py."""
    words = ["fit", DIGITS, "train.epochs=100000", "--run-dir", tmp_path / "run"]
    process = start(words, tmp_path)
    wait_for(tmp_path / "run" / "checkpoints", process)
    process.send_signal(signal.SIGTERM)
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == 143
    assert stderr.startswith("stopped at step ")  # a requested stop is no error
    assert "--resume continues" in stderr
    assert len(stderr.strip().splitlines()) <= 6
    assert bptrain("evaluate", "run", "--checkpoint", "last").exit_code == 0


def metrics_of(run: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


def losses_of(run: Path) -> list[float]:
    return [line["train/loss"] for line in metrics_of(run) if "train/loss" in line]


def start(words: list[object], folder: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "bptrain", *map(str, words)],
        cwd=folder,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )


def wait_for(folder: Path, process: subprocess.Popen[str]) -> None:
    deadline_s = time.monotonic() + 60
    while not (folder.is_dir() and any(folder.glob("step-*"))):
        assert process.poll() is None, "the run ended before its first checkpoint"
        if time.monotonic() > deadline_s:
            process.kill()
            pytest.fail("no checkpoint within a minute")
        time.sleep(0.05)


@pytest.mark.parametrize("kind", ["mlp", "cnn", "transformer", "sequential"])
def test_init_prints_a_config_that_trains(bptrain: Callable, tmp_path: Path, kind: str) -> None:
    made = bptrain("init", kind)
    assert made.exit_code == 0
    assert "# " in made.stdout
    (tmp_path / "mine.yaml").write_text(made.stdout)
    assert bptrain("validate", "mine.yaml").exit_code == 0
    assert bptrain("fit", "mine.yaml", "train.steps=2").exit_code == 0


def test_schema_is_json_and_holds_every_section(bptrain: Callable) -> None:
    schema = json.loads(bptrain("validate", "--schema").stdout)
    assert {"data", "model", "optimizer", "train"} <= set(schema["properties"])


def test_doctor_names_what_decides_a_run(bptrain: Callable) -> None:
    shown = bptrain("doctor").stdout
    for word in ("torch", "CPU threads", "GPU", "cuDNN", "GFLOP/s", "allocator", "usable cores"):
        assert word in shown


def test_validate_without_a_config_says_what_it_needs(bptrain: Callable) -> None:
    result = bptrain("validate")
    assert result.exit_code == 2
    assert "CONFIG" in result.stderr


@pytest.mark.parametrize(
    "words",
    [
        ["init", "mlp"],
        pytest.param(
            ["fit", DIGITS, "train.epochs=3", "monitor.log_every=1"], marks=pytest.mark.slow
        ),
        pytest.param(["doctor"], marks=pytest.mark.slow),
    ],
)
def test_a_reader_that_closes_the_pipe_is_no_bug(tmp_path: Path, words: list[object]) -> None:
    """Runs, whose processes take seconds to start, are in tests/faults/test_streams.py."""
    reading, writing = os.pipe()
    os.close(reading)
    command = [sys.executable, "-m", "bptrain", *map(str, words)]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1"}
    ended = subprocess.run(
        command, cwd=tmp_path, stdout=writing, stderr=subprocess.PIPE, text=True, env=environment,
        check=False,
    )  # fmt: skip
    os.close(writing)
    assert (ended.returncode, ended.stderr) == (141, "")
