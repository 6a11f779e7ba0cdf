"""A command imports only what it uses: startup takes hardly longer than torch's import.

All is done in one process, one after another, as importing torch takes seconds: nothing may import
what a later one must not.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from small_files import CONFIGS

pytestmark = pytest.mark.skipif(os.name == "nt", reason="a process is forked")

TAPE = "bptrain.tape.step"
HEAVY = (
    TAPE,
    "matplotlib",
    "pandas",
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
SETS_WITHOUT_FILES = (
    "from bptrain.data.images.digits import DigitsConfig; DigitsConfig().build(0)",
    "from bptrain.data.generated.points import XorConfig; XorConfig().build(0)",
)
OPTIMIZER = """
import torch
from bptrain.optim.eager import eager

weight = torch.nn.Parameter(torch.ones(3, 3))
optimizer = eager(torch.optim.SGD)([weight], lr=0.1, momentum=0.9, fused=True)
weight.grad = torch.ones(3, 3)
optimizer.step()
optimizer.zero_grad()
optimizer.load_state_dict(optimizer.state_dict())
"""
CONFIG = "import bptrain.config"
BOARD = "import bptrain.commands.board, tensorboard.program"
HTTP = "import bptrain.commands.serve, bptrain.commands.serving.app"
DATA = "import bptrain.data"
CODES = (CONFIG, HTTP, DATA, *SETS_WITHOUT_FILES, OPTIMIZER)
RUN = '''
import json, os, sys

def apart(act, what):
    """Act in a process of its own: what it imports, others must not."""
    if child := os.fork():
        assert os.waitpid(child, 0)[1] == 0
    else:
        act(what)
        sys.exit()

def show(what):
    found = [name for name in {heavy} if name in sys.modules]
    print("IMPORTED" + json.dumps([what, found]), flush=True)

def execute(code):
    exec(code, {{}})
    show(code)

def run(commands):
    from bptrain.cli import main
    for words in commands:
        sys.argv[1:] = words
        try:
            main()
        except SystemExit as ended:
            assert not ended.code, words
        show(" ".join(words))

apart(execute, {board})
for code in {codes}:
    execute(code)
run({without_data})
apart(run, {predicting})
run({training})
'''
WITHOUT_DATA = [
    *(["init", kind] for kind in ("mlp", "table", "audio_folder")),
    ["check", "--help"],
    ["validate", "--schema"],
    *(["validate", str(CONFIGS / f"{name}.yaml")] for name in ("digits_mlp", "digits_cnn")),
]
TRAINED = (CONFIGS / "digits_mlp.yaml", CONFIGS / "digits_cnn.yaml", "text.yaml")
TRAINING = [
    ["fit", str(config), "train.steps=2", "--run-dir", f"run-{number}"]
    for number, config in enumerate(TRAINED)
]


@pytest.fixture(scope="module")
def imported(served_runs: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, set[str]]:
    """Return the heavy packages that were imported after each of the codes and commands."""
    folder = tmp_path_factory.mktemp("startup")
    (folder / "verse.txt").write_text("round and round the rugged rock\n" * 20, encoding="utf-8")
    (folder / "text.yaml").write_text(
        "name: t\ndata: {kind: text, path: verse.txt, window: 16, batch_size: 4}\n"
        "model: {kind: rnn, cell: lstm, hidden: 8}\n",
        encoding="utf-8",
    )
    (folder / "two.csv").write_text("x,c\n1,a\n3,b\n", encoding="utf-8")
    code = RUN.format(
        heavy=("torch", *HEAVY),
        board=repr(BOARD),
        codes=CODES,
        without_data=WITHOUT_DATA,
        training=TRAINING,
        predicting=[["predict", str(served_runs / "rows"), "two.csv"]],
    )
    ended = subprocess.run(
        [sys.executable, "-c", code],
        cwd=folder,
        env=os.environ | {"OMP_NUM_THREADS": "1"},  # as threads do not live on in a forked process
        capture_output=True,
        text=True,
    )
    assert ended.returncode == 0, ended.stderr
    lines = [line for line in ended.stdout.splitlines() if line.startswith("IMPORTED")]
    return {what: set(found) for what, found in (json.loads(line[8:]) for line in lines)}


@pytest.mark.parametrize("code", [CONFIG, HTTP])
def test_reading_a_config_and_talking_http_import_no_torch(imported: dict, code: str) -> None:
    assert imported[code] == set()


@pytest.mark.parametrize("code", [DATA, *SETS_WITHOUT_FILES])
def test_data_sets_without_files_need_none_of_the_packages_that_read_them(
    imported: dict, code: str
) -> None:
    assert imported[code] == {"torch"}


def test_showing_runs_imports_no_torch(imported: dict) -> None:
    assert imported[BOARD] == {"tensorboard"}


def test_a_step_of_an_optimizer_does_not_import_the_compiler(imported: dict) -> None:
    assert imported[OPTIMIZER] == {"torch"}


@pytest.mark.parametrize("words", WITHOUT_DATA, ids=" ".join)
def test_a_command_without_data_imports_nothing_heavy(imported: dict, words: list[str]) -> None:
    assert imported[" ".join(words)] == {"torch"}


@pytest.mark.parametrize("words", TRAINING, ids=" ".join)
def test_training_imports_but_what_draws_and_logs(imported: dict, words: list[str]) -> None:
    assert imported[" ".join(words)] <= {"torch", "tensorboard", "matplotlib", "PIL", TAPE}


def test_predicting_rows_of_a_table_imports_no_plots_logs_or_compiler(imported: dict) -> None:
    (words,) = (words for words in imported if words.startswith("predict"))
    assert imported[words] == {"torch", "polars"}
