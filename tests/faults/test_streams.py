"""Terminals that are closed, full or without letters; names that would command them; Ctrl-C twice.

Each command must end with its documented exit code and without a traceback, and nothing that comes
from a file may reach a terminal as a command to it.
"""

import json
import os
import shutil
from pathlib import Path
from signal import SIGINT
from typing import NamedTuple

import pytest
from launcher import Launcher
from reference_runs import message_problem

CLEAR, RIGHT_TO_LEFT, BELL = "\x1b[2J", "\u202e", "\x07"
HOSTILE = f"k\u00e4se{CLEAR}{RIGHT_TO_LEFT}{BELL}"
ROWS = [f"{number % 7},{number % 5},{(HOSTILE, '$x_{')[number % 2]}" for number in range(60)]
CONFIG = """\
data: {kind: table, path: d.csv, target: y, batch_size: 16}
model: {kind: mlp, hidden: [4]}
train: {steps: 3}
"""
FIT = ["fit", "c.yaml", "--run-dir", "new"]
RESUME = ["fit", "c.yaml", "train.steps=5", "--run-dir", "run", "--resume"]
EVALUATE, PREDICT = ["evaluate", "run"], ["predict", "run", "d.csv"]
LONG = "x" * 300
NOT_UTF8 = os.fsdecode(b"r\xff")


class Ended(NamedTuple):
    """How a command ended, and what it printed."""

    code: int
    stdout: str
    stderr: str


class Commands:
    """Runs commands, each in a copy of a folder with a finished run."""

    def __init__(self, launcher: Launcher, finished: Path, work_dir: Path) -> None:
        self.launcher, self.folder = launcher, work_dir / "copy"
        shutil.copytree(finished, self.folder)

    def run(
        self, words: list[str], fault: str = "", *arguments: object, draws: bool = False
    ) -> Ended:
        """Run a command to its end."""
        process = self.launcher.start(
            words, self.folder, fault and f"stream_faults:{fault}", arguments, draws
        )
        code = process.wait()
        return Ended(code, process.stdout, process.stderr)


@pytest.fixture(scope="module")
def finished(launcher: Launcher, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with a run on a table whose classes have hostile names."""
    folder = tmp_path_factory.mktemp("finished")
    (folder / "d.csv").write_text("\n".join(["a,b,y", *ROWS]), encoding="utf-8")
    (folder / "c.yaml").write_text(CONFIG)
    code, stderr = launcher.run([*FIT[:3], "run"], folder, draws=False)
    assert code == 0, stderr
    return folder


@pytest.fixture
def commands(launcher: Launcher, finished: Path, work_dir: Path) -> Commands:
    """Return what runs commands in a copy of the finished run's folder."""
    return Commands(launcher, finished, work_dir)


@pytest.mark.parametrize("words", [FIT, EVALUATE, PREDICT, [*PREDICT, "--json"]], ids=" ".join)
def test_names_from_files_cannot_command_a_terminal(commands: Commands, words: list[str]) -> None:
    ended = commands.run(words, draws=words == FIT)  # the names stand in pictures too
    assert ended.code == 0, ended.stderr
    assert not any(each in ended.stdout + ended.stderr for each in (CLEAR, RIGHT_TO_LEFT, BELL))
    if words == PREDICT:
        assert r"käse\x1b[2J\u202e\x07" in ended.stdout
    if "--json" in words:
        assert json.loads(ended.stdout)[0]["class"] in (HOSTILE, "$x_{")


def test_a_file_gets_csv_with_the_names_as_they_are(commands: Commands) -> None:
    assert HOSTILE in commands.run([*PREDICT, "--csv"]).stdout


@pytest.mark.parametrize(
    "words",
    [["evaluate", CLEAR], ["validate", CLEAR], ["predict", "run", f"{CLEAR}.csv"], [CLEAR]],
    ids=lambda words: words[0] if words[0] != CLEAR else "no command",
)
def test_an_error_shows_a_hostile_name_escaped(commands: Commands, words: list[str]) -> None:
    ended = commands.run(words)
    assert ended.code in (2, 3)
    assert CLEAR not in ended.stderr
    assert r"\x1b[2J" in ended.stderr


def test_an_error_log_shows_a_hostile_name_escaped(commands: Commands) -> None:
    (commands.folder / "run" / "metrics.jsonl").unlink()
    (commands.folder / "run" / "metrics.jsonl").mkdir()
    (commands.folder / "run").rename(commands.folder / CLEAR)
    assert commands.run([*RESUME[:4], CLEAR, "--resume"]).code == 5
    log = (commands.folder / CLEAR / "error.log").read_text()
    assert CLEAR not in log
    assert r"\x1b[2J" in log


@pytest.mark.parametrize("fault", ["only_ascii", "close"])
@pytest.mark.parametrize(
    "words", [FIT, EVALUATE, PREDICT, [*PREDICT, "--csv"], ["validate", "c.yaml"]], ids=" ".join
)
def test_a_terminal_may_lack_letters_or_be_closed(
    commands: Commands, words: list[str], fault: str
) -> None:
    ended = commands.run(words, fault, *((1,) if fault == "close" else ()))
    assert (ended.code, ended.stderr) == (0, "")
    if fault == "only_ascii" and words == PREDICT:
        assert r"k\xe4se" in ended.stdout


@pytest.mark.parametrize(
    "words", [FIT, RESUME, EVALUATE, PREDICT, ["--help"], ["fit", "--help"]], ids=" ".join
)
def test_a_reader_that_closes_the_pipe_is_no_bug(commands: Commands, words: list[str]) -> None:
    ended = commands.run(words, "close_reader", 1)
    assert (ended.code, ended.stderr) == (141, "")


@pytest.mark.parametrize("fault", [("fill", 2), ("close", 2), ("close", 0, 1, 2)])
def test_where_errors_cannot_be_printed_the_exit_code_tells(
    commands: Commands, fault: tuple
) -> None:
    assert commands.run(["validate", "gone.yaml"], *fault).code == 2
    assert commands.run(["evaluate", "run", "--checkpoint", "last"], *fault).code == 0


@pytest.mark.parametrize("name", [LONG, NOT_UTF8, "[/b]", ":cat:"], ids=ascii)
def test_a_run_may_have_any_name_that_the_system_allows(commands: Commands, name: str) -> None:
    made, evaluated = commands.run([*FIT[:3], name]), commands.run(["evaluate", name])
    expected = 5 if name == LONG else 0
    assert (made.code, evaluated.code) == (expected, expected), made.stderr + evaluated.stderr
    if name == LONG:
        assert not message_problem(made.stderr)
        assert "File name too long" in made.stderr
    elif name != NOT_UTF8:
        assert f"run directory {name}" in made.stdout


@pytest.mark.parametrize("kind", ["table, target: y", "sequence", "text", "audio_folder"])
@pytest.mark.parametrize("path", [LONG, "locked/x"], ids=["long", "locked"])
def test_a_path_of_data_that_cannot_be_opened_is_exit_3(
    commands: Commands, kind: str, path: str
) -> None:
    (commands.folder / "locked").mkdir(0)
    data = f"data={{kind: {kind}, path: {path}}}"
    ended = commands.run(["fit", "c.yaml", data], "obey_permissions")
    assert ended.code == 3, ended.stderr
    assert "cannot be read" in ended.stderr
    assert not message_problem(ended.stderr)


@pytest.mark.parametrize("kind", ["image_folder", "mnist", "emnist", "cifar10", "cifar100"])
@pytest.mark.parametrize("root", [LONG, "locked/x"], ids=["long", "locked"])
def test_a_root_of_images_that_cannot_be_opened_is_exit_3(
    commands: Commands, kind: str, root: str
) -> None:
    (commands.folder / "locked").mkdir(0)
    data = f"data={{kind: {kind}, root: {root}}}"
    ended = commands.run(["fit", "c.yaml", data], "obey_permissions")
    assert ended.code == 3, ended.stderr
    assert "cannot be read" in ended.stderr


@pytest.mark.parametrize(
    ("place", "mode", "words", "expected"),
    [
        ("run", 0o000, EVALUATE, 5),
        ("run", 0o000, RESUME, 5),
        ("run", 0o555, RESUME, 5),
        ("run", 0o555, [*FIT[:3], "run/below"], 5),
        ("run/checkpoints", 0o000, EVALUATE, 4),
        ("run/checkpoints", 0o555, RESUME, 5),
        ("run/config.yaml", 0o000, PREDICT, 2),
        ("run/lock", 0o000, RESUME, 5),
        ("run/metrics.jsonl", 0o000, RESUME, 5),
        ("run/prepared.json", 0o000, PREDICT, 4),
        ("run/tensorboard", 0o000, RESUME, 5),
        ("c.yaml", 0o000, RESUME, 2),
        ("d.csv", 0o000, EVALUATE, 3),
        ("run/pictures/step-000003", 0o555, EVALUATE, 0),
        ("run/pictures", 0o000, EVALUATE, 0),
    ],
)
def test_a_permission_that_is_missing_is_named(
    commands: Commands, place: str, mode: int, words: list[str], expected: int
) -> None:
    path = commands.folder / place
    path.chmod(mode)
    ended = commands.run(words, "obey_permissions")
    path.chmod(0o755)
    assert ended.code == expected, ended.stderr
    assert "Permission denied" in ended.stderr
    if expected:
        assert not message_problem(ended.stderr)
    else:
        assert "test/accuracy" in ended.stdout
        assert "no pictures" in ended.stderr


@pytest.mark.parametrize(
    ("words", "target"),
    [
        (RESUME, "bptrain.experiment.session:Session.settle"),
        (RESUME, "bptrain.experiment.training:save_pictures"),
        (EVALUATE, "bptrain.experiment.evaluation:load_model"),
        (["validate", "c.yaml"], "bptrain.commands.validate:load_config"),
    ],
    ids=lambda words: words if isinstance(words, str) else words[0],
)
def test_a_second_ctrl_c_ends_at_once(commands: Commands, words: list[str], target: str) -> None:
    ended = commands.run(words, "interrupt_twice", target)
    assert (ended.code, ended.stderr) == (128 + SIGINT, "")
    assert commands.run(RESUME).code == 0


@pytest.mark.parametrize("words", [RESUME, EVALUATE, ["validate", "c.yaml"]], ids=" ".join)
def test_a_ctrl_c_during_the_clean_up_leaves_no_traceback(
    commands: Commands, words: list[str]
) -> None:
    ended = commands.run(words, "interrupt_at_exit")
    assert (ended.code, ended.stderr) == (128 + SIGINT, "")
