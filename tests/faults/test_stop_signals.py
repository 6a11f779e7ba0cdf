"""SIGTERM and SIGINT at any moment, and two processes in one folder.

The signals come from inside in each phase of a run, from the reading of the data to the last
picture, and from outside at random moments, also while the process still imports. The exit code
must be 143 or 130, the message a short error, a valid checkpoint must exist if the run's folder
does, and the resumed run must end as the reference run. A second signal ends the process at once;
what was saved before must be valid. If two processes are started in one folder, the second must end
with exit code 9 and name the first, or with 2 if the folder must be new; after the first is killed,
the run can be resumed.
"""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from random import Random
from signal import SIGHUP, SIGINT, SIGKILL, SIGTERM, SIGUSR1, Signals
from time import monotonic, sleep

import pytest
import torch
from kill_faults import GO, REACHED
from launcher import TIMEOUT_S, Launcher, Process
from reference_runs import ReferenceRuns, Run, difference, message_problem, stop_problem
from typer.testing import Result

from bptrain.rundir.checkpoint import list_checkpoints

EVERY = pytest.mark.faults  # not by default
ONCE = (SIGTERM,)
SIGNALS = (ONCE, (SIGINT,), (SIGTERM, SIGTERM), (SIGTERM, SIGINT), (SIGINT, SIGTERM))
BEFORE_THE_FOLDER = {
    "data are read": ("bptrain.data.images.digits:read_digits", 1),
    "the model is inspected": ("bptrain.experiment.plan:summarize", 1),
    "the model is built": ("bptrain.experiment.build:update_of", 1),
}
STARTING = {
    "the folder is made": ("bptrain.experiment.training:create_run_directory", 1, True),
    "the folder is locked": ("bptrain.rundir.run_lock:_acquire", 1, True),
    "the config is written": ("bptrain.experiment.training:write_description", 1, True),
    "prepared.json is written": ("bptrain.experiment.training:write_prepared", 1, True),
    "TensorBoard is opened": ("bptrain.monitor.tensorboard:Board.__init__", 1, True),
    "the first checkpoint is written": ("bptrain.rundir.checkpoint:seal", 1),
    "the first checkpoint is there": ("bptrain.experiment.session:write_checkpoint", 1, True),
}
TRAINING = {
    "the first step begins": ("bptrain.train.loop:shares", 1),
    "gradients are computed": ("bptrain.tape.program:backpropagate", 8),
    "weights are changed": ("bptrain.train.update:Update.__call__", 9, True),
    "a line is logged": ("bptrain.monitor.run_log:RunLog.write", 3),
    "the validation split is evaluated": ("bptrain.experiment.evaluation:totals_of", 2),
    "a checkpoint is written": ("bptrain.rundir.checkpoint:seal", 3),
    "a checkpoint gets its name": ("bptrain.rundir.checkpoint:sync_directory", 4),
    "older checkpoints are removed": ("bptrain.rundir.checkpoint:remove", 2),
    "the last step is done": ("bptrain.train.update:Update.__call__", 18, True),
    "the last checkpoint is written": ("bptrain.rundir.checkpoint:seal", 7),
}
FINISHING = {
    "nothing is left to train": ("bptrain.experiment.session:Session.run", 1, True),
    "the best state is searched": ("bptrain.experiment.training:best_checkpoint", 1),
    "the test split is evaluated": ("bptrain.experiment.training:evaluate_state", 1),
    "the test is logged": ("bptrain.monitor.tensorboard:Board.write_figures", 1),
    "pictures are written": ("bptrain.experiment.training:save_pictures", 1),
    "the report is written": ("bptrain.experiment.reporting:write_page", 1),
    "all is done": ("bptrain.experiment.training:conclude", 1, True),
}
RESUMING = {
    "data are read": ("bptrain.data.images.digits:read_digits", 1),
    "the newest checkpoint is read": ("bptrain.experiment.resuming:newest_valid", 1),
    "the config is written": ("bptrain.experiment.training:write_description", 1),
    "metrics.jsonl is truncated": ("bptrain.rundir.metrics_file:truncate", 1),
    "TensorBoard is truncated": ("bptrain.monitor.tensorboard:truncate_events", 1, True),
    "the state is restored": ("bptrain.experiment.session:Session.restore", 1),
    "the next step begins": ("bptrain.train.loop:shares", 1),
}


def phases(table: dict[str, tuple], *by_default: tuple[str, tuple]) -> list[object]:
    """Return each phase of a table with each way of signalling; some are tried by default."""
    return [
        pytest.param(
            phase,
            signals,
            marks=[] if (phase, signals) in by_default else EVERY,
            id=", ".join([phase, *(each.name for each in signals)]),
        )
        for phase in table
        for signals in SIGNALS
    ]


def problem_with_stop(ended: tuple[int, str], signals: tuple[int, ...]) -> str:
    """Return what is wrong with how a run ended after signals that it sent to itself."""
    code, stderr = ended
    if code != 128 + signals[-1]:
        return f"it ended with {code}: {stderr}"
    if len(signals) == 2:  # it ends at once, without a message
        return f"it said {stderr}" if stderr else ""
    return stop_problem(stderr)


@pytest.mark.parametrize(("phase", "signals"), phases(BEFORE_THE_FOLDER, ("data are read", ONCE)))
def test_a_run_stopped_before_it_has_a_folder_leaves_none(
    launcher: Launcher,
    work_dir: Path,
    tally: Callable[..., None],
    phase: str,
    signals: tuple[int, ...],
) -> None:
    run = Run(launcher, work_dir / "stopped", "mlp")
    ended = run.go("kill_faults:signal_at", *BEFORE_THE_FOLDER[phase], signals)
    wrong = problem_with_stop(ended, signals)
    wrong = wrong or ("a folder is left" if run.run_dir.exists() else "")
    tally("stopped before there is a folder", wrong)
    assert not wrong


@pytest.mark.parametrize(
    ("phase", "signals"),
    phases(
        STARTING | TRAINING | FINISHING,
        ("the folder is made", ONCE),
        ("the first checkpoint is written", ONCE),
        ("gradients are computed", (SIGINT,)),
        ("the validation split is evaluated", ONCE),
        ("a checkpoint is written", (SIGINT,)),
        ("a checkpoint is written", (SIGTERM, SIGTERM)),
        ("the test split is evaluated", ONCE),
    ),
)
def test_a_run_stopped_in_any_phase_ends_as_the_reference_run(
    launcher: Launcher,
    reference_runs: ReferenceRuns,
    work_dir: Path,
    tally: Callable[..., None],
    phase: str,
    signals: tuple[int, ...],
) -> None:
    run = Run(launcher, work_dir / "stopped", "mlp")
    target, number, *after = (STARTING | TRAINING | FINISHING)[phase]
    ended = run.go("kill_faults:signal_at", target, number, signals, *after)
    wrong = problem_with_stop(ended, signals)
    if len(signals) == 1 and not run.has_checkpoint:
        wrong = wrong or "no checkpoint is left"
    wrong = wrong or run.problem_after_resume(
        reference_runs.of("mlp").run_dir, same_checkpoints=False
    )
    tally("stopped in a phase, " + ("once" if len(signals) == 1 else "and again at once"), wrong)
    assert not wrong


@pytest.fixture(scope="session")
def killed_run(launcher: Launcher, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a run that was killed after some checkpoints."""
    run = Run(launcher, tmp_path_factory.mktemp("killed") / "run", "mlp")
    assert run.go("kill_faults:kill_after_step", 11)[0] == -SIGKILL
    return run.folder


@pytest.mark.parametrize(
    ("phase", "signals"), phases(RESUMING, ("metrics.jsonl is truncated", ONCE))
)
def test_a_resumed_run_stopped_in_any_phase_ends_as_the_reference_run(
    launcher: Launcher,
    reference_runs: ReferenceRuns,
    killed_run: Path,
    work_dir: Path,
    tally: Callable[..., None],
    phase: str,
    signals: tuple[int, ...],
) -> None:
    shutil.copytree(killed_run, work_dir / "stopped")
    run = Run(launcher, work_dir / "stopped", "mlp")
    target, number, *after = RESUMING[phase]
    ended = run.go("kill_faults:signal_at", target, number, signals, *after, resume=True)
    wrong = problem_with_stop(ended, signals)
    wrong = wrong or run.problem_after_resume(
        reference_runs.of("mlp").run_dir, same_checkpoints=False
    )
    tally("a resumed run stopped in a phase", wrong)
    assert not wrong


@pytest.mark.faults
@pytest.mark.parametrize("phase", ["a text is written", "TensorBoard gets it"])
def test_a_language_model_stopped_while_it_writes_ends_as_the_reference_run(
    launcher: Launcher,
    reference_runs: ReferenceRuns,
    work_dir: Path,
    tally: Callable[..., None],
    phase: str,
) -> None:
    target = {
        "a text is written": "bptrain.tasks.text_sampling:continue_tokens",
        "TensorBoard gets it": "bptrain.monitor.tensorboard:Board.write_text",
    }[phase]
    run = Run(launcher, work_dir / "stopped", "lstm")
    wrong = problem_with_stop(run.go("kill_faults:signal_at", target, 1, ONCE), ONCE)
    wrong = wrong or run.problem_after_resume(
        reference_runs.of("lstm").run_dir, same_checkpoints=False
    )
    tally("stopped in a phase, once", wrong)
    assert not wrong


def problem_after_signal(
    run: Run, code: int, stderr: str, number: int, reference: Path, is_single: bool = True
) -> str:
    """Return what is wrong with a run after a signal from outside, which may have come too late."""
    if code == 0:
        return difference(reference, run.run_dir)
    if code not in (128 + number, -number):  # a shell reports both the same
        return f"it ended with {code}: {stderr}"
    if is_single and run.run_dir.exists() and not run.has_checkpoint:
        return "a folder and no checkpoint is left"
    wrong = stop_problem(stderr) if code > 0 and is_single else ""
    return wrong or run.problem_after_resume(reference, same_checkpoints=False)


@pytest.mark.parametrize(
    "seed", [pytest.param(seed, marks=[] if seed < 2 else EVERY) for seed in range(60)]
)
def test_a_run_stopped_at_a_random_moment_ends_as_the_reference_run(
    launcher: Launcher,
    reference_runs: ReferenceRuns,
    work_dir: Path,
    tally: Callable[..., None],
    seed: int,
) -> None:
    random, reference = Random(seed), reference_runs.of("mlp", draws=True)
    run = Run(launcher, work_dir / "stopped", "mlp", draws=True)
    number = (SIGTERM, SIGINT)[seed % 2]
    is_single = seed % 4 < 2
    process = run.start()
    sleep(random.uniform(0, reference.duration_s))
    process.send(number)
    if not is_single:
        sleep(random.choice([0.0, 0.0005, 0.005]))
        process.send(number)
    code = process.wait()
    wrong = problem_after_signal(run, code, process.stderr, number, reference.run_dir, is_single)
    tally(f"stopped at a random moment{'' if is_single else ', and again at once'}", wrong)
    assert not wrong


@pytest.mark.parametrize(
    "number", [SIGHUP, SIGUSR1, *(pytest.param(each, marks=EVERY) for each in (SIGINT, SIGTERM))]
)
def test_a_signal_from_outside_saves_and_gives_its_exit_code(
    launcher: Launcher, work_dir: Path, tally: Callable[..., None], number: Signals
) -> None:
    run = Run(launcher, work_dir / "stopped", "mlp", ["train.epochs=100000"])
    process = run.start()
    deadline_s = monotonic() + TIMEOUT_S
    while not list_checkpoints(run.checkpoints) and monotonic() < deadline_s:
        sleep(0.02)
    process.send(number)
    wrong = problem_with_stop((process.wait(), process.stderr), (number,))
    wrong = wrong or ("" if "--resume continues" in process.stderr else process.stderr)
    evaluate = ["evaluate", "run", "--checkpoint", "last"]
    wrong = wrong or launcher.run(evaluate, run.folder, draws=False)[1]
    tally("stopped by a signal from outside", wrong)
    assert not wrong


@pytest.mark.faults
@pytest.mark.parametrize("number", [SIGTERM, SIGINT])
def test_a_process_stopped_while_it_starts_ends_as_asked(
    launcher: Launcher,
    reference_runs: ReferenceRuns,
    work_dir: Path,
    tally: Callable[..., None],
    number: int,
) -> None:
    reference, failures = reference_runs.of("mlp", draws=True).run_dir, []
    for tenths in range(1, 30, 3):
        run = Run(launcher, work_dir / f"stopped-{tenths}", "mlp", draws=True)
        with subprocess.Popen(
            [sys.executable, "-m", "bptrain", *run.words()],
            cwd=run.folder,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(sys.path)},
            text=True,
        ) as process:
            sleep(tenths / 10)
            process.send_signal(number)
            stderr = process.communicate()[1]
        wrong = problem_after_signal(run, process.returncode, stderr, number, reference)
        tally("a process stopped in its first seconds, while it imports", wrong)
        failures += [f"{tenths}: {wrong}"] * bool(wrong)
    assert not failures


@contextmanager
def stalled(run: Run, target: str, number: int = 1) -> Iterator[Process]:
    """Hold a run at a call inside the block."""
    process = run.start("kill_faults:stall_at", target, number)
    while not (run.folder / REACHED).exists():
        sleep(0.01)
    yield process


@pytest.fixture
def second_starter(bptrain: Callable[..., Result]) -> Iterator[Callable[..., tuple[int, str]]]:
    """Start the run of another process from this one, and return how that ended."""

    def start(run: Run, *options: str) -> tuple[int, str]:
        ended = bptrain("fit", run.folder / "config.yaml", "--run-dir", run.run_dir, *options)
        return ended.exit_code, ended.stderr

    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # as in the other process: else sums may be rounded otherwise
    yield start
    torch.set_num_threads(threads)


def test_a_second_starter_is_pointed_to_the_first_and_not_locked_out_once_that_is_killed(
    launcher: Launcher,
    reference_runs: ReferenceRuns,
    work_dir: Path,
    tally: Callable[..., None],
    second_starter: Callable[..., tuple[int, str]],
) -> None:
    run = Run(launcher, work_dir / "first", "mlp")
    with stalled(run, "bptrain.train.loop:shares", 6) as process:
        code, stderr = second_starter(run, "--resume")
        wrong = "" if code == 9 and f"process {process.pid} on" in stderr else f"{code}: {stderr}"
        tally(
            "a second process resumes a run that is still running", wrong or message_problem(stderr)
        )
        process.send(SIGKILL)
        assert process.wait() == -SIGKILL
    wrong = (
        wrong
        or message_problem(stderr)
        or run.problem_after_resume(reference_runs.of("mlp").run_dir)
    )
    assert not wrong


def test_a_second_starter_of_a_new_run_leaves_the_firsts_folder_alone(
    launcher: Launcher,
    reference_runs: ReferenceRuns,
    work_dir: Path,
    tally: Callable[..., None],
    second_starter: Callable[..., tuple[int, str]],
) -> None:
    run = Run(launcher, work_dir / "first", "mlp")
    with stalled(run, "bptrain.experiment.training:write_description") as process:
        code, stderr = second_starter(run)
        wrong = message_problem(stderr) if code == 2 else f"{code}: {stderr}"
        (run.folder / GO).touch()
        assert process.wait() == 0
    wrong = wrong or difference(reference_runs.of("mlp").run_dir, run.run_dir)
    tally("a second process begins a run in the same folder", wrong)
    assert not wrong


def test_a_starter_that_was_overtaken_leaves_the_others_folder_alone(
    launcher: Launcher,
    reference_runs: ReferenceRuns,
    work_dir: Path,
    tally: Callable[..., None],
    second_starter: Callable[..., tuple[int, str]],
) -> None:
    run = Run(launcher, work_dir / "first", "mlp")
    with stalled(run, "bptrain.experiment.training:locked") as process:
        assert second_starter(run)[0] == 0
        (run.folder / GO).touch()
        code = process.wait()
    wrong = message_problem(process.stderr) if code == 2 else f"{code}: {process.stderr}"
    wrong = wrong or difference(reference_runs.of("mlp").run_dir, run.run_dir)
    tally("a second process begins a run between the first's folder and its lock", wrong)
    assert not wrong
