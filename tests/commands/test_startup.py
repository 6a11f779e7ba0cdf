"""A command imports only what it uses: startup takes hardly longer than torch's import."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
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
try:
    main()
finally:
    print("IMPORTED" + json.dumps([name for name in {heavy} if name in sys.modules]))
"""
DIGITS = str(CONFIGS / "digits_mlp.yaml")


def imported_by(folder: Path, *words: str) -> set[str]:
    """Return the heavy packages that a command imports in a process of its own."""
    code = RUN.format(heavy=HEAVY)
    ended = subprocess.run(
        [sys.executable, "-c", code, *words], cwd=folder, capture_output=True, text=True
    )
    assert ended.returncode == 0, ended.stderr
    return set(json.loads(ended.stdout.rpartition("IMPORTED")[2]))


@pytest.mark.parametrize(
    "words",
    [("validate", DIGITS), ("validate", "--schema"), ("init", "mlp"), ("check", "--help")],
    ids=" ".join,
)
def test_what_needs_no_data_imports_nothing_heavy(tmp_path: Path, words: tuple[str, ...]) -> None:
    assert imported_by(tmp_path, *words) == set()


def test_training_a_perceptron_imports_only_its_logs_and_plots(tmp_path: Path) -> None:
    found = imported_by(tmp_path, "fit", DIGITS, "train.steps=2", "--run-dir", "run")
    assert found <= {"tensorboard", "matplotlib", "PIL"}


def test_predicting_rows_of_a_table_imports_no_plots_logs_or_compiler(tmp_path: Path) -> None:
    rows = "".join(f"{i},{i % 7},{'ab'[i % 2]}\n" for i in range(100))
    (tmp_path / "table.csv").write_text("x,y,class\n" + rows, encoding="utf-8")
    (tmp_path / "two.csv").write_text("x,y\n1,2\n3,4\n", encoding="utf-8")
    config = "name: t\ndata: {kind: table, path: table.csv, target: class}\nmodel: {kind: mlp}\n"
    (tmp_path / "t.yaml").write_text(config, encoding="utf-8")
    imported_by(tmp_path, "fit", "t.yaml", "train.epochs=1", "--run-dir", "run")
    found = imported_by(tmp_path, "predict", "run", "two.csv")
    assert found <= {"polars"}
