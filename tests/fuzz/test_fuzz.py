"""A selection of what `scripts/fuzz` tries: no exit code 1, no traceback, nothing slow or large."""

import subprocess
import sys
from pathlib import Path

FUZZING = Path(__file__).with_name("fuzzing.py")
KINDS = "table of classes,image_folder,digits by transformer"
CASES = ("--configs", "6", "--data", "4", "--checkpoints", "4", "--words", "4", "--logs", "2")


def test_mutated_files_and_command_lines_end_as_documented() -> None:
    words = [sys.executable, str(FUZZING), *CASES, "--kinds", KINDS, "--seed", "1"]
    ended = subprocess.run(words, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stdout + ended.stderr
