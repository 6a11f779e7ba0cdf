"""SIGTERM and SIGINT: the run is asked to stop, at any moment.

The signals come from inside in each phase of a run, from the reading of the data to the last
picture, and from outside at random moments, the first seconds of a process that still imports
among them. The exit code must be 143 or 130, the message an error's few lines, a sound checkpoint
must be there if the run's folder is, and the resumed run must end as the golden one. A second
signal ends the process at once; what was saved before must be sound. Two processes that are started
in one folder: the second must end with exit code 9 and name the first, or 2 where the folder must
be new; once the first is killed, nobody is locked out.
"""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from random import Random
from signal import SIGINT, SIGKILL, SIGTERM
from time import sleep

import pytest
from golden_runs import Goldens, Run, difference, wrong_words
from kill_plants import GO, REACHED
from launcher import Launcher, Process

EVERY = pytest.mark.faults  # not by default
ONCE = (SIGTERM,)
SIGNALS = (ONCE, (SIGINT,), (SIGTERM, SIGTERM), (SIGTERM, SIGINT), (SIGINT, SIGTERM))
BEFORE_THE_FOLDER = {
    "data are read": ("bptrain.data.images.digits:read_digits", 1),
    "the model is inspected": ("bptrain.experiment.plan:summarize", 1),
    "the model is built": ("bptrain.experiment.build:update_of", 1),
}
BEGINNING = {
    "the folder is made": ("bptrain.experiment.training:create_run_directory", 1, True),
    "the folder is locked": ("bptrain.rundir.run_lock:_acquire", 1, True),
    "the config is written": ("bptrain.experiment.training:write_description", 1, True),
    "prepared.json is written": ("bptrain.experiment.training:write_prepared", 1, True),
    "the board is opened": ("bptrain.monitor.tensorboard:Board.__init__", 1, True),
    "the first checkpoint is written": ("bptrain.rundir.checkpoint:seal", 1),
    "the first checkpoint is there": ("bptrain.experiment.session:write_checkpoint", 1, True),
}
TRAINING = {
    "the first step begins": ("bptrain.train.loop:shares", 1),
    "gradients are computed": ("torch:Tensor.backward", 7),
    "weights are changed": ("bptrain.train.update:Update.__call__", 9, True),
    "a line is logged": ("bptrain.monitor.run_log:RunLog.write", 3),
    "the validation split is evaluated": ("bptrain.experiment.evaluation:evaluate", 2),
    "a checkpoint is written": ("bptrain.rundir.checkpoint:seal", 3),
    "a checkpoint gets its name": ("bptrain.rundir.checkpoint:sync_directory", 4),
    "older checkpoints are removed": ("bptrain.rundir.checkpoint:remove", 2),
    "the last step is done": ("bptrain.train.update:Update.__call__", 18, True),
    "the last checkpoint is written": ("bptrain.rundir.checkpoint:seal", 7),
}
CONCLUDING = {
    "nothing is left to train": ("bptrain.experiment.session:Session.run", 1, True),
    "the best state is looked for": ("bptrain.experiment.training:best_checkpoint", 1),
    "the test split is evaluated": ("bptrain.experiment.training:evaluate_state", 1),
    "the test is logged": ("bptrain.monitor.tensorboard:Board.show", 1),
    "pictures are written": ("bptrain.experiment.training:save_pictures", 1),
    "all is done": ("bptrain.experiment.training:conclude", 1, True),
}
RESUMING = {
    "data are read": ("bptrain.data.images.digits:read_digits", 1),
    "the newest checkpoint is read": ("bptrain.experiment.resuming:newest_sound", 1),
    "the config is written": ("bptrain.experiment.training:write_description", 1),
    "metrics.jsonl is cut back": ("bptrain.rundir.metrics_file:truncate", 1),
    "the board is cut back": ("bptrain.monitor.tensorboard:truncate_events", 1, True),
    "the state is put back": ("bptrain.experiment.session:Session.restore", 1),
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


def wrong_stop(ended: tuple[int, str], signals: tuple[int, ...]) -> str:
    """Return what is wrong with how a run ended after signals that it sent to itself."""
    code, said = ended
    if code != 128 + signals[-1]:
        return f"it ended with {code}: {said}"
    if len(signals) == 2:  # it leaves at once, without a word
        return f"it said {said}" if said else ""
    return wrong_words(said) or ("" if "stopped" in said else f"unclear: {said}")


@pytest.mark.parametrize(("phase", "signals"), phases(BEFORE_THE_FOLDER, ("data are read", ONCE)))
def test_a_run_stopped_before_it_has_a_folder_leaves_none(
    launcher: Launcher, room: Path, tally: Callable[..., None], phase: str, signals: tuple[int, ...]
) -> None:
    run = Run(launcher, room / "stopped", "mlp")
    ended = run.go("kill_plants:signal_at", *BEFORE_THE_FOLDER[phase], signals)
    wrong = wrong_stop(ended, signals)
    wrong = wrong or ("a folder is left" if run.run_dir.exists() else "")
    tally("stopped before there is a folder", wrong)
    assert not wrong


@pytest.mark.parametrize(
    ("phase", "signals"),
    phases(
        BEGINNING | TRAINING | CONCLUDING,
        ("the folder is made", ONCE),
        ("the first checkpoint is written", ONCE),
        ("gradients are computed", (SIGINT,)),
        ("the validation split is evaluated", ONCE),
        ("a checkpoint is written", (SIGINT,)),
        ("a checkpoint is written", (SIGTERM, SIGTERM)),
        ("the test split is evaluated", ONCE),
    ),
)
def test_a_run_stopped_in_any_phase_ends_as_the_golden_run(
    launcher: Launcher,
    goldens: Goldens,
    room: Path,
    tally: Callable[..., None],
    phase: str,
    signals: tuple[int, ...],
) -> None:
    run = Run(launcher, room / "stopped", "mlp")
    target, number, *after = (BEGINNING | TRAINING | CONCLUDING)[phase]
    ended = run.go("kill_plants:signal_at", target, number, signals, *after)
    wrong = wrong_stop(ended, signals)
    if len(signals) == 1 and not run.has_begun:
        wrong = wrong or "no checkpoint is left"
    wrong = wrong or run.wrong_end(goldens.of("mlp").run_dir, kept_as_golden=False)
    tally("stopped in a phase, " + ("once" if len(signals) == 1 else "and again at once"), wrong)
    assert not wrong


@pytest.fixture(scope="session")
def begun(launcher: Launcher, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a run that was killed after some checkpoints."""
    run = Run(launcher, tmp_path_factory.mktemp("begun") / "run", "mlp")
    assert run.go("kill_plants:kill_after_step", 11)[0] == -SIGKILL
    return run.folder


@pytest.mark.parametrize(
    ("phase", "signals"), phases(RESUMING, ("metrics.jsonl is cut back", ONCE))
)
def test_a_resumed_run_stopped_in_any_phase_ends_as_the_golden_run(
    launcher: Launcher,
    goldens: Goldens,
    begun: Path,
    room: Path,
    tally: Callable[..., None],
    phase: str,
    signals: tuple[int, ...],
) -> None:
    shutil.copytree(begun, room / "stopped")
    run = Run(launcher, room / "stopped", "mlp")
    target, number, *after = RESUMING[phase]
    ended = run.go("kill_plants:signal_at", target, number, signals, *after, resume=True)
    wrong = wrong_stop(ended, signals)
    wrong = wrong or run.wrong_end(goldens.of("mlp").run_dir, kept_as_golden=False)
    tally("a resumed run stopped in a phase", wrong)
    assert not wrong


@pytest.mark.faults
@pytest.mark.parametrize("phase", ["a text is written", "the board gets it"])
def test_a_language_model_stopped_while_it_writes_ends_as_the_golden_run(
    launcher: Launcher, goldens: Goldens, room: Path, tally: Callable[..., None], phase: str
) -> None:
    target = {
        "a text is written": "bptrain.tasks.text_sampling:continue_tokens",
        "the board gets it": "bptrain.monitor.tensorboard:Board.write_text",
    }[phase]
    run = Run(launcher, room / "stopped", "lstm")
    wrong = wrong_stop(run.go("kill_plants:signal_at", target, 1, ONCE), ONCE)
    wrong = wrong or run.wrong_end(goldens.of("lstm").run_dir, kept_as_golden=False)
    tally("stopped in a phase, once", wrong)
    assert not wrong


def wrong_end_after(
    run: Run, code: int, said: str, number: int, golden: Path, is_single: bool = True
) -> str:
    """Return what is wrong with a run after a signal from outside, which may have come too late."""
    if code == 0:
        return difference(golden, run.run_dir)
    if code not in (128 + number, -number):  # to a shell they are the same
        return f"it ended with {code}: {said}"
    if is_single and run.run_dir.exists() and not run.has_begun:
        return "a folder and no checkpoint is left"
    wrong = wrong_words(said) if code > 0 and is_single else ""
    return wrong or run.wrong_end(golden, kept_as_golden=False)


@pytest.mark.parametrize(
    "seed", [pytest.param(seed, marks=[] if seed < 4 else EVERY) for seed in range(60)]
)
def test_a_run_stopped_at_a_random_moment_ends_as_the_golden_run(
    launcher: Launcher, goldens: Goldens, room: Path, tally: Callable[..., None], seed: int
) -> None:
    random, golden = Random(seed), goldens.of("mlp")
    run, number = Run(launcher, room / "stopped", "mlp"), (SIGTERM, SIGINT)[seed % 2]
    is_single = seed % 4 < 2
    process = launcher.start(run.words(), run.folder)
    sleep(random.uniform(0, golden.duration_s))
    process.send(number)
    if not is_single:
        sleep(random.choice([0.0, 0.0005, 0.005]))
        process.send(number)
    code = process.wait()
    wrong = wrong_end_after(run, code, process.stderr, number, golden.run_dir, is_single)
    tally(f"stopped at a random moment{'' if is_single else ', and again at once'}", wrong)
    assert not wrong


@pytest.mark.faults
@pytest.mark.parametrize("number", [SIGTERM, SIGINT])
def test_a_process_stopped_while_it_starts_ends_as_asked(
    launcher: Launcher, goldens: Goldens, room: Path, tally: Callable[..., None], number: int
) -> None:
    golden, failures = goldens.of("mlp").run_dir, []
    for tenths in range(1, 30, 3):
        run = Run(launcher, room / f"stopped-{tenths}", "mlp")
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
            said = process.communicate()[1]
        wrong = wrong_end_after(run, process.returncode, said, number, golden)
        tally("a process stopped in its first seconds, while it imports", wrong)
        failures += [f"{tenths}: {wrong}"] * bool(wrong)
    assert not failures


@contextmanager
def stalled(run: Run, target: str, number: int = 1) -> Iterator[Process]:
    """Hold a run at a call inside the block."""
    process = run.launcher.start(run.words(), run.folder, "kill_plants:stall_at", [target, number])
    while not (run.folder / REACHED).exists():
        sleep(0.01)
    yield process


@pytest.fixture(scope="module")
def second_starter() -> Iterator[Callable[..., tuple[int, str]]]:
    """Start a second process in a run's folder, and return how it ended."""
    with Launcher() as another:

        def start(run: Run, *options: str) -> tuple[int, str]:
            beside = Run(another, run.folder.parent / "second", run.kind)
            words = ["fit", "config.yaml", "--run-dir", run.run_dir, *options]
            return another.run(words, beside.folder)

        yield start


def test_a_second_starter_is_told_of_the_first_and_not_locked_out_once_that_is_killed(
    launcher: Launcher,
    goldens: Goldens,
    room: Path,
    tally: Callable[..., None],
    second_starter: Callable[..., tuple[int, str]],
) -> None:
    run = Run(launcher, room / "first", "mlp")
    with stalled(run, "bptrain.train.loop:shares", 6) as process:
        code, said = second_starter(run, "--resume")
        wrong = "" if code == 9 and f"process {process.pid} on" in said else f"{code}: {said}"
        tally("a second process resumes a run that is going on", wrong or wrong_words(said))
        process.send(SIGKILL)
        assert process.wait() == -SIGKILL
    wrong = wrong or wrong_words(said) or run.wrong_end(goldens.of("mlp").run_dir)
    assert not wrong


def test_a_second_starter_of_a_new_run_leaves_the_firsts_folder_alone(
    launcher: Launcher,
    goldens: Goldens,
    room: Path,
    tally: Callable[..., None],
    second_starter: Callable[..., tuple[int, str]],
) -> None:
    run = Run(launcher, room / "first", "mlp")
    with stalled(run, "bptrain.experiment.training:write_description") as process:
        code, said = second_starter(run)
        wrong = wrong_words(said) if code == 2 else f"{code}: {said}"
        (run.folder / GO).touch()
        assert process.wait() == 0
    wrong = wrong or difference(goldens.of("mlp").run_dir, run.run_dir)
    tally("a second process begins a run in the same folder", wrong)
    assert not wrong


def test_a_starter_that_was_overtaken_leaves_the_others_folder_alone(
    launcher: Launcher,
    goldens: Goldens,
    room: Path,
    tally: Callable[..., None],
    second_starter: Callable[..., tuple[int, str]],
) -> None:
    run = Run(launcher, room / "first", "mlp")
    with stalled(run, "bptrain.experiment.training:locked") as process:
        assert second_starter(run)[0] == 0
        (run.folder / GO).touch()
        code = process.wait()
    wrong = wrong_words(process.stderr) if code == 2 else f"{code}: {process.stderr}"
    wrong = wrong or difference(goldens.of("mlp").run_dir, run.run_dir)
    tally("a second process begins a run between the first's folder and its lock", wrong)
    assert not wrong
