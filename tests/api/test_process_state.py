"""What a program finds of its process after `bptrain.fit`, and what has an effect on a run."""

import asyncio
import decimal
import gc
import io
import json
import logging
import multiprocessing
import os
import random
import signal
import subprocess
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import image_sets
import numpy as np
import pytest
import torch
from fingerprints import draw_fingerprints

import bptrain
from bptrain.api.run import Run
from bptrain.errors import NonFiniteError
from bptrain.ops.kernels import chosen_kernels, use_kernels

MLP: dict[str, Any] = {
    "name": "mlp",
    "data": {"kind": "spirals", "samples": 60, "batch_size": 16},
    "model": {"kind": "mlp", "hidden": [8], "dropout": 0.2},
    "train": {"epochs": 2},
    "monitor": {"level": "full", "log_every": 2, "max_overhead": None},
}
TINY: dict[str, Any] = {
    "name": "tiny",
    "data": {"kind": "xor", "samples": 20},
    "model": {"kind": "mlp", "hidden": [2]},
    "train": {"steps": 2},
}
RNN: dict[str, Any] = {
    "name": "rnn",
    "data": {"kind": "adding", "samples": 40, "length": 6, "batch_size": 16},
    "model": {"kind": "rnn", "hidden": 6},
    "train": {"steps": 3},
}
IMAGES: dict[str, Any] = {
    "name": "images",
    "data": {"kind": "image_folder", "root": "data", "size": 8, "workers": 1, "memory_bytes": 0},
    "model": {"kind": "mlp", "hidden": [4]},
    "train": {"steps": 2},
}


@pytest.fixture(autouse=True)
def _in_an_empty_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    monkeypatch.chdir(tmp_path)
    if "real_pictures" not in request.fixturenames:
        draw_fingerprints(monkeypatch.setattr)


@pytest.fixture(autouse=True, scope="module")
def _nothing_frozen() -> Iterator[None]:
    """Unfreeze objects, or fewer would be frozen with each that ends."""
    gc.unfreeze()
    yield
    gc.freeze()


def process_state() -> dict[str, object]:
    """Return what is global in this process, besides what was imported."""
    backends = torch.backends
    return {
        "dtype": torch.get_default_dtype(),
        "device": torch.get_default_device(),
        "threads": (torch.get_num_threads(), torch.get_num_interop_threads()),
        "deterministic": (
            torch.are_deterministic_algorithms_enabled(),
            torch.is_deterministic_algorithms_warn_only_enabled(),
            torch.utils.deterministic.fill_uninitialized_memory,
        ),
        "cudnn": (backends.cudnn.enabled, backends.cudnn.benchmark, backends.cudnn.deterministic),
        "tf32": (backends.cuda.matmul.allow_tf32, torch.get_float32_matmul_precision()),
        "mkldnn": backends.mkldnn.enabled,
        "gradients": (torch.is_grad_enabled(), torch.is_inference_mode_enabled()),
        "autocast": [torch.is_autocast_enabled(each) for each in ("cpu", "cuda")],
        "autocast dtype": torch.get_autocast_dtype("cpu"),
        "anomaly": torch.is_anomaly_enabled(),
        "flush denormal": float(torch.tensor([1e-40]) * 1) != 0,
        "kernels": chosen_kernels(),
        "torch generator": torch.get_rng_state().tolist(),
        "numpy generator": repr(np.random.get_state()),
        "random": random.getstate(),
        "numpy errors": np.geterr(),
        "numpy printing": repr(np.get_printoptions()),
        "torch printing": repr(vars(torch._tensor_str.PRINT_OPTS)),
        "warnings": list(warnings.filters),
        "show warning": warnings.showwarning,
        "signals": [signal.getsignal(each) for each in sorted(signal.valid_signals())],
        "blocked": signal.pthread_sigmask(signal.SIG_BLOCK, []),
        "alarm": signal.getitimer(signal.ITIMER_REAL),
        "wakeup": os.get_blocking(0) if sys.stdin and not sys.stdin.closed else None,
        "environment": dict(os.environ),
        "folder": Path.cwd(),
        "umask": os.umask(os.umask(0o022) or 0o022),
        "priority": os.getpriority(os.PRIO_PROCESS, 0),
        "streams": (sys.stdout, sys.stderr, sys.stdin),
        "hooks": (sys.excepthook, sys.unraisablehook, threading.excepthook, sys.displayhook),
        "profiler": (sys.gettrace(), sys.getprofile()),
        "recursion": sys.getrecursionlimit(),
        "garbage": (gc.isenabled(), gc.get_threshold(), gc.get_freeze_count()),
        "logging": (
            logging.root.level,
            list(logging.root.handlers),
            {name: logging.getLogger(name).level for name in ("matplotlib", "bptrain", "torch")},
        ),
        "threads alive": {each for each in threading.enumerate() if not each.daemon},
        "children": multiprocessing.active_children(),
        "start method": multiprocessing.get_start_method(allow_none=True),
        "decimal": repr(decimal.getcontext()),
        "path": list(sys.path),
    }


def differences(before: dict[str, object]) -> list[str]:
    now = process_state()
    return [key for key in before if before[key] != now[key]]


@pytest.mark.usefixtures("real_pictures")  # matplotlib has settings too
def test_fit_and_the_methods_of_a_run_leave_the_process_as_it_was() -> None:
    image_sets.write_folder(Path("data"))
    use(bptrain.fit(TINY))  # imports, which load libraries that set themselves up
    before = process_state()
    for config in (MLP, RNN, IMAGES):
        run = bptrain.fit(config)
        assert differences(before) == [], config["name"]
    assert run.predict("data/**/*.png").height > 2
    use(run)
    assert differences(before) == []


def use(run: Run) -> None:
    """Call what every run has."""
    run.metrics()
    run.evaluate()
    run.export(f"{run.folder.name}.pt")
    run.report()
    assert bptrain.check(TINY).ok


def test_a_run_that_fails_leaves_the_process_as_it_was() -> None:
    torch.set_default_dtype(torch.float64)
    try:
        before = process_state()
        with pytest.raises(NonFiniteError):
            bptrain.fit(TINY, train__steps=20, optimizer__lr=1e30, monitor__log_every=1)
        assert differences(before) == []
    finally:
        torch.set_default_dtype(torch.float32)


@contextmanager
def in_a_program_of_other_settings() -> Iterator[None]:
    torch.set_default_dtype(torch.float64)
    torch.set_default_device("meta")
    try:
        with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16), use_kernels("formula"):
            yield
    finally:
        torch.set_default_device(None)
        torch.set_default_dtype(torch.float32)


def numbers_of(run: Run) -> tuple[str, bytes]:
    """Return every number that a run logged, but those of a clock, and its last checkpoint."""
    logged = run.metrics()
    kept = [name for name in logged.columns if name != "time_s" and not name.startswith("perf/")]
    last = max((run.folder / "checkpoints").iterdir())
    return logged.select(kept).write_ndjson(), (last / "model.safetensors").read_bytes()


OTHER_PROCESS = """
import json, sys, bptrain
print(bptrain.fit(json.loads(sys.argv[1]), run_dir=sys.argv[2]).folder)
"""


@pytest.mark.slow
def test_runs_one_after_another_equal_runs_in_processes_of_their_own() -> None:
    def in_a_process(config: dict[str, Any], folder: str) -> Run:
        words = [sys.executable, "-c", OTHER_PROCESS, json.dumps(config), folder]
        ended = subprocess.run(words, capture_output=True, text=True, env=env)
        assert (ended.returncode, ended.stderr) == (0, "")
        return bptrain.load(ended.stdout.strip())

    env = os.environ | {"OMP_NUM_THREADS": str(torch.get_num_threads())}
    bptrain.fit(RNN)
    torch.manual_seed(3)
    second = bptrain.fit(MLP, run_dir="second")
    assert numbers_of(second) == numbers_of(in_a_process(MLP, "alone"))
    with in_a_program_of_other_settings():
        third = bptrain.fit(MLP, run_dir="third")
    assert numbers_of(third) == numbers_of(second)


def test_settings_of_the_program_have_no_effect_on_what_a_run_tells() -> None:
    run = bptrain.fit(TINY)
    points = np.array([[0.5, -0.25], [0.0, 1.0]])
    expected = (run.predict(points), run.evaluate(), bptrain.suggest_lr(TINY, steps=20).losses)
    with in_a_program_of_other_settings():
        again = bptrain.load(run)
        found = (again.predict(points), again.evaluate(), bptrain.suggest_lr(TINY, steps=20).losses)
        assert next(again.model.parameters()).dtype == torch.float32
    assert found[0].equals(expected[0])
    assert found[1:] == expected[1:]


class NotebookStream(io.TextIOBase):
    """A stream as a Jupyter kernel has it: no terminal, and no file behind it."""

    def __init__(self) -> None:
        self.text = ""

    def write(self, text: str) -> int:
        self.text += text
        return len(text)


def test_it_works_inside_of_a_running_event_loop_without_a_terminal(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    stream = NotebookStream()
    for name in ("stdout", "stderr"):
        monkeypatch.setattr(sys, name, stream)
    monkeypatch.setattr(sys, "stdin", None)

    async def cell() -> Run:
        assert asyncio.get_running_loop().is_running()
        return bptrain.fit(TINY, progress=True)

    run = asyncio.run(cell())
    assert "step 2/2" in stream.text
    assert "\x1b" not in stream.text
    assert run.predict([[0.1, 0.2]]).height == 1


def test_warnings_as_errors_do_not_end_a_run() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        bptrain.fit(RNN)


def called_in_a_thread(call: Callable[[], object]) -> None:
    thread = threading.Thread(target=call)
    thread.start()
    thread.join()


def test_a_run_in_a_thread_leaves_the_process_as_it_was() -> None:
    before = process_state()
    called_in_a_thread(lambda: bptrain.fit(TINY))
    assert differences(before) == []
    assert bptrain.load("runs/tiny").metrics()["step"].max() == 2
