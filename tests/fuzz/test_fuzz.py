"""A selection of what `scripts/fuzz` tries: no exit code 1, no traceback, nothing slow or large."""

from pathlib import Path

from launcher import Launcher

KINDS = "table of classes,image_folder,digits by transformer"
CASES = ("--configs", "6", "--data", "4", "--checkpoints", "4", "--words", "4", "--logs", "2")


def test_mutated_files_and_command_lines_end_as_documented(
    launcher: Launcher, tmp_path: Path
) -> None:
    words = [*CASES, "--kinds", KINDS, "--seed", "1"]
    process = launcher.start([], tmp_path, "fuzzing:main", [words])  # from where all is imported
    assert process.wait() == 0, process.stdout + process.stderr
