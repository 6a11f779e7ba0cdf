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
        ["init", "mlp"],
        ["check", "--help"],
        ["validate", "--schema"],
        ["validate", DIGITS],
        ["validate", CNN],
    ]
    perceptron = ["fit", DIGITS, "train.steps=2", "--run-dir", "run"]
    *before, after = imported_by(tmp_path, *without_data, perceptron)
    imported = {" ".join(words): found for words, found in zip(without_data, before, strict=True)}
    assert {words: found for words, found in imported.items() if found} == {}
    assert after <= {"tensorboard", "matplotlib", "PIL"}


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
