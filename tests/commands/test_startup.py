"""A command imports only what it uses: startup takes hardly longer than torch's import."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from small_files import CONFIGS

HEAVY = (
    "matplotlib",
    "PIL",
    "polars",
    "pyarrow",
    "scipy",
    "sklearn",
    "soundfile",
    "sympy",
    "tensorboard",
    "torch._dynamo",
    "torch._inductor",
    "torchvision",
)
RUN = """
import json, sys
from bptrain.cli import main
for words in {commands}:
    sys.argv[1:] = words
    try:
        main()
    except SystemExit as ended:
        assert not ended.code, words
    finally:
        print("IMPORTED" + json.dumps([name for name in {heavy} if name in sys.modules]))
"""
DIGITS, CNN = str(CONFIGS / "digits_mlp.yaml"), str(CONFIGS / "digits_cnn.yaml")


def imported_by(folder: Path, *commands: list[str]) -> list[set[str]]:
    """Return the heavy packages imported after each of the commands in one process of their own."""
    code = RUN.format(heavy=HEAVY, commands=commands)
    ended = subprocess.run([sys.executable, "-c", code], cwd=folder, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr
    lines = [line for line in ended.stdout.splitlines() if line.startswith("IMPORTED")]
    return [set(json.loads(line.removeprefix("IMPORTED"))) for line in lines]


def test_a_command_imports_nothing_heavy_that_it_does_not_need(tmp_path: Path) -> None:
    without_data = [
        *(["init", kind] for kind in ("mlp", "table", "audio_folder")),
        ["check", "--help"],
        ["validate", "--schema"],
        ["validate", DIGITS],
        ["validate", CNN],
    ]
    (tmp_path / "verse.txt").write_text("round and round the rugged rock\n" * 20, encoding="utf-8")
    (tmp_path / "text.yaml").write_text(
        "name: t\ndata: {kind: text, path: verse.txt, window: 16, batch_size: 4}\n"
        "model: {kind: rnn, cell: lstm, hidden: 8}\n",
        encoding="utf-8",
    )
    training = [
        ["fit", config, "train.steps=2", "--run-dir", f"run-{number}"]
        for number, config in enumerate((DIGITS, CNN, "text.yaml"))
    ]
    commands = [*without_data, *training]
    allowed: set[str] = set()
    for words, found in zip(commands, imported_by(tmp_path, *commands), strict=True):
        if words[0] == "fit":
            allowed = {"tensorboard", "matplotlib", "PIL"}
        assert found <= allowed, words


def test_predicting_rows_of_a_table_imports_no_plots_logs_or_compiler(
    bptrain: Callable, tmp_path: Path
) -> None:
    rows = "".join(f"{i},{i % 7},{'ab'[i % 2]}\n" for i in range(100))
    (tmp_path / "table.csv").write_text("x,y,class\n" + rows, encoding="utf-8")
    (tmp_path / "two.csv").write_text("x,y\n1,2\n3,4\n", encoding="utf-8")
    config = "name: t\ndata: {kind: table, path: table.csv, target: class}\nmodel: {kind: mlp}\n"
    (tmp_path / "t.yaml").write_text(config, encoding="utf-8")
    assert bptrain("fit", "t.yaml", "train.epochs=1", "--run-dir", "run").exit_code == 0
    (found,) = imported_by(tmp_path, ["predict", "run", "two.csv"])
    assert found <= {"polars"}
