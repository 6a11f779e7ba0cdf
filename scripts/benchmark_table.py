"""Measure the training steps of docs/benchmarks.md, and write their table there.

python scripts/benchmark_table.py                           all of them, in fp32 and bf16
python scripts/benchmark_table.py --only LSTM --precision fp32 --no-compile
python scripts/benchmark_table.py --json table.json --within 2400
python scripts/benchmark_table.py --only classes --precision fp32       the head with 32,000 classes
python scripts/benchmark_table.py --only MLP conv ResNet --precision fp32 --formulas
python scripts/benchmark_table.py --only MLP --precision fp32 --peers --mnist DATA   in .venv-peers

Every workload is measured in one process before the first is measured in a second one, and the
table is written after each, so that a run that is broken off leaves what it has. What a file given
by --json holds is not measured again: several commands, with the most important one first, fill one
table. Where the machine, the threads or the code have changed, take another file.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from importlib.metadata import version
from math import inf
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

import torch

from bptrain import tags
from bptrain.bench.paired import machine
from bptrain.bench.processor import processor_name
from bptrain.bench.step import measure_step
from bptrain.bench.workload_table import (
    Row,
    formulas_table,
    rows_of,
    table_of,
    write_section,
)
from bptrain.bench.workloads import WORKLOADS
from bptrain.train.precision import Precision

BENCHMARKS = Path(__file__).parent.parent / "docs" / "benchmarks.md"

HEAD = """\
`scripts/benchmark`: each step on drawn data in {processes}, in each the alternatives in
turns. A ratio is the worst of the processes' medians of the ratio within a turn; below 1 bptrain
is faster, or takes less memory. [bench.md](bench.md) says how a step is measured and what the
columns mean; *its fastest form* is the fastest of torch.nn eager, channels_last and torch.compile.
*goal* is what is aimed at over torch.nn: the time where oneDNN's float32 product is twice as fast
as MKL's, the time where both are the same, and the memory."""

FORMULAS_HEAD = """\
`kernels: formula` compiled, whose kernels are made of the lines of the derivations, over `kernels:
fused`: the medians of one process, the worst of the processes. Recurrent layers are left out: by
the formulas they are a loop, too long for one graph."""

PEERS = ("jax", "keras", "lightning")
PEERS_SCRIPT = Path(__file__).with_name("benchmark_peers.py")
PEERS_FOLDER = Path(__file__).parent.parent / ".venv-peers"
PEERS_HEAD = """\
Other frameworks on the same MLP and batch, data in memory, in processes of their own that
alternate with bptrain's (engine {engine}, {step:.3g} ms): a jitted step of JAX with Adam, Keras's
`train_on_batch` on JAX, an epoch of Lightning's `Trainer` with a `DataLoader`. The ratio is the
worst of the pairs.

| framework | step, ms | bptrain / it |
|---|---|---|"""
FIT_LINE = """\
A step of a whole `fit` of that network on MNIST, with its log and the norms of the gradients, takes
{step:.3g} ms, {over:.2f} of Lightning's."""


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument(
        "--only", nargs="+", default=[""], help="workloads whose name contains one of these"
    )
    parser.add_argument(
        "--precision", nargs="+", choices=["fp32", "bf16"], default=["fp32", "bf16"]
    )
    parser.add_argument("--processes", type=int, default=3)
    parser.add_argument("--turns", type=int, help="in place of each workload's own")
    parser.add_argument("--no-compile", action="store_true", help="leave torch.compile out")
    parser.add_argument(
        "--formulas", action="store_true", help="compile the formulas too: minutes a workload"
    )
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument(
        "--within", type=float, default=inf, help="seconds, after which nothing more is measured"
    )
    parser.add_argument(
        "--each-within", type=float, default=inf, help="seconds that one process may take"
    )
    parser.add_argument("--json", type=Path, help="keep all results here, and take those it has")
    parser.add_argument("--print", action="store_true", help="leave docs/benchmarks.md as it is")
    parser.add_argument("--peers", action="store_true", help="time Lightning, Keras and JAX too")
    parser.add_argument(
        "--mnist", type=Path, help="with --peers: time `fit` too; a folder that has MNIST/raw"
    )
    parser.add_argument("--one", help=argparse.SUPPRESS)  # a process of its own: this workload
    given = parser.parse_args()
    if given.one:
        print(measured(given))
        return
    table = Table(given)
    for precision, name in chosen(given):
        table.measure(precision, name)
        table.write()
    if given.peers:
        table.add_peers()
    table.write()
    print(table.section())


def chosen(given: argparse.Namespace) -> list[tuple[str, str]]:
    """Return precision and workload of each process, the first process of each workload first."""
    names = [name for name in WORKLOADS if any(each in name for each in given.only)]
    once = [(str(each), name) for each in given.precision for name in names]
    return once * int(given.processes)


class Table:
    """The results so far, by workload and precision, those of each process in a list."""

    def __init__(self, given: argparse.Namespace) -> None:
        self.given, self.ends_s = given, time.monotonic() + given.within
        self.results: dict[str, list[dict[str, Any]]] = {}
        self.failures: dict[str, str] = {}
        self.peers = ""
        if given.json and given.json.exists():
            kept = json.loads(given.json.read_text(encoding="utf-8"))
            self.results, self.peers = kept["workloads"], kept["peers"]
        self.known = {what: len(processes) for what, processes in self.results.items()}

    def measure(self, precision: str, name: str) -> None:
        """Measure a workload in one process more, unless the file had that one already."""
        what = f"{name}, {precision}"
        if self.known.get(what, 0) > 0:
            self.known[what] -= 1
            return
        if what in self.failures:
            return
        try:
            found = process(name, precision, self.given, self.ends_s)
        except subprocess.TimeoutExpired as stopped:
            self.failures[what] = f"not within {stopped.timeout:.0f} s"
        except subprocess.CalledProcessError as error:
            self.failures[what] = last_line(error.stderr)
        else:
            self.results.setdefault(what, []).append(found)

    def add_peers(self) -> None:
        """Add the table of other frameworks, or why there is none."""
        try:
            self.peers = peers_section(self.given, self.ends_s)
        except subprocess.TimeoutExpired as stopped:
            self.failures["peers"] = f"not within {stopped.timeout:.0f} s"
        except subprocess.CalledProcessError as error:
            self.failures["peers"] = last_line(error.stderr)

    def write(self) -> None:
        """Write the results and the section of the docs, where they are wanted."""
        if self.given.json:
            kept = {"workloads": self.results, "peers": self.peers}
            whole = self.given.json.with_suffix(".part")  # so that none is broken off within
            whole.write_text(json.dumps(kept, indent=2), encoding="utf-8")
            whole.replace(self.given.json)
        if self.results and not self.given.print:
            write_section(BENCHMARKS, self.section())

    def section(self) -> str:
        """Return the section of the docs."""
        formulas = formulas_table([*self.results.values()])
        parts = [section_of(self.results, self.failures, self.given)]
        parts += [FORMULAS_HEAD, formulas] * bool(formulas) + [self.peers]
        return "\n\n".join(filter(None, parts))


def measured(given: argparse.Namespace) -> str:
    """Return the results of one workload as JSON."""
    workload = WORKLOADS[given.one]
    precision = Precision.of(given.precision[0], torch.device(given.device))
    turns = given.turns or workload.turns
    subject = workload.subject(precision)
    with_formulas = given.formulas and not given.no_compile
    return measure_step(subject, turns, not given.no_compile, with_formulas=with_formulas).as_json()


def process(name: str, precision: str, given: argparse.Namespace, ends_s: float) -> dict[str, Any]:
    """Return the results of one workload, measured in a process of its own.

    Raises TimeoutExpired at `ends_s`, by the monotonic clock, or after `--each-within`.
    """
    words = [sys.executable, __file__, "--one", name, "--precision", precision]
    words += ["--device", given.device]
    words += ["--turns", str(given.turns)] if given.turns else []
    words += ["--no-compile"] if given.no_compile else []
    words += ["--formulas"] if given.formulas else []
    print(f"{time.strftime('%H:%M:%S')} {name}, {precision}", file=sys.stderr, flush=True)
    left_s = min(ends_s - time.monotonic(), given.each_within)
    results: dict[str, Any] = json.loads(output_of(words, left_s))
    return results


def output_of(words: list[str], timeout_s: float = inf) -> str:
    """Return what a program prints. Raises CalledProcessError if it fails, or TimeoutExpired."""
    if timeout_s <= 0:
        raise subprocess.TimeoutExpired(words, 0)
    done = subprocess.run(  # noqa: S603
        words,
        capture_output=True,
        text=True,
        check=True,
        timeout=None if timeout_s == inf else timeout_s,
    )
    return done.stdout


def last_line(stderr: str) -> str:
    """Return the line of a traceback that names the error."""
    named = [line for line in stderr.splitlines() if "Error" in line]
    return (named or ["it ended without a word"])[-1]


def section_of(
    results: dict[str, list[dict[str, Any]]], failures: dict[str, str], given: argparse.Namespace
) -> str:
    """Return the table under its heading, with what it was measured on."""
    rows = [row for processes in results.values() for row in rows_of(processes)]
    goals = {name: workload.goal for name, workload in WORKLOADS.items()}
    left_out = {
        f"{what}: {name}, {why}"
        for what, processes in results.items()
        for each in processes
        for name, why in each["left_out"].items()
    } | {f"{what}: {why}" for what, why in failures.items()}
    routes = [
        each["matmul_routes"]
        for processes in results.values()
        for each in processes
        if each["precision"] == "float32"
    ]
    reached = ", ".join(
        f"{name} {max(each[name] for each in routes) / 1e9:.0f}" for name in (routes or [{}])[0]
    )
    load = f"{os.getloadavg()[0]:.1f}" if hasattr(os, "getloadavg") else "unknown"
    counts = sorted({len(processes) for processes in results.values()} or {0})
    spread = f"{counts[0]} to {counts[-1]}" if len(counts) > 1 else f"{counts[0]}"
    head = HEAD.format(processes=f"{spread} process" + "es" * (counts[-1] != 1))
    measured_on = (
        f"Machine: {processor()}, {given.device}, {machine()}, bptrain {version('bptrain')}. "
        f"A float32 product in GFLOP/s: {reached}. "
        f"Load average at the end: {load} on {os.cpu_count()} processors."
    )
    if given.no_compile:
        measured_on += " torch.compile was left out of this run."
    parts = ["## Training steps", head, measured_on, table_of(rows, goals)]
    parts += ["Left out:", "\n".join(f"- {each}" for each in sorted(left_out))] * bool(left_out)
    return "\n\n".join(parts)


def peers_section(given: argparse.Namespace, ends_s: float) -> str:
    """Return a table of other frameworks on the MLP, in processes that alternate with bptrain's."""
    python = peers_python()
    threads = str(torch.get_num_threads())
    times: dict[str, list[float]] = {name: [] for name in PEERS}
    ours: list[float] = []
    of_fit: list[float] = []
    for _ in range(given.processes):
        row = on_the_tape(rows_of([process(next(iter(WORKLOADS)), "fp32", given, ends_s)]))
        ours.append(row.step_ms)
        of_fit += [step_of_fit_ms(given.mnist)] if given.mnist else []
        for name, found in times.items():
            print(f"{time.strftime('%H:%M:%S')} {name}", file=sys.stderr, flush=True)
            words = [str(python), str(PEERS_SCRIPT), name, "--threads", threads]
            printed = output_of(words, ends_s - time.monotonic())
            found.append(json.loads(printed.splitlines()[-1])["step_ms"])
    lines = [
        f"| {name} {version_there(python, name)} | {median(found):.3g} | {worst(ours, found):.2f} |"
        for name, found in times.items()
    ]
    if of_fit:
        over = worst(of_fit, times["lightning"])
        lines += ["", FIT_LINE.format(step=median(of_fit), over=over)]
    return "\n".join([PEERS_HEAD.format(engine=row.engine, step=median(ours)), *lines])


def on_the_tape(rows: list[Row]) -> Row:
    """Return the row of the tape, not compiled."""
    return next(row for row in rows if row.engine == "tape")


def worst(ours: list[float], theirs: list[float]) -> float:
    """Return the largest ratio of ours over theirs within a pair."""
    return max(mine / other for mine, other in zip(ours, theirs, strict=True))


def step_of_fit_ms(mnist: Path) -> float:
    """Return how long a step of `fit` takes, its log included: the median over its log lines."""
    config = BENCHMARKS.parents[1] / "configs" / "mnist_mlp.yaml"
    with TemporaryDirectory() as folder:
        run_dir = Path(folder) / "run"
        words = [f"data.root={mnist.resolve()}", "optimizer={kind: adam}", "train.epochs=2"]
        words += ["loss.label_smoothing=0.0", "--run-dir", str(run_dir)]
        output_of([sys.executable, "-m", "bptrain", "fit", str(config), *words])
        lines = (run_dir / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    values: list[dict[str, float]] = [json.loads(line) for line in lines]
    return median(each[tags.STEP_MS] for each in values if tags.STEP_MS in each)


def peers_python() -> Path:
    """Return the Python of an environment of their own, which sees this one's torch."""
    python = PEERS_FOLDER / "bin" / "python"
    if not python.exists():
        print("installing Lightning, Keras and JAX into .venv-peers", file=sys.stderr, flush=True)
        output_of([sys.executable, "-m", "venv", str(PEERS_FOLDER)])
        for folder in PEERS_FOLDER.glob("lib/python*/site-packages"):
            (folder / "torch_of_bptrain.pth").write_text(str(Path(torch.__file__).parents[1]))
        pip = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        output_of([*pip, *PEERS])
    return python


def version_there(python: Path, name: str) -> str:
    """Return the version of a package in the peers' environment."""
    asked = f"from importlib.metadata import version; print(version({name!r}))"
    return output_of([str(python), "-c", asked]).strip()


def processor() -> str:
    """Return the name of the CPU or the GPU."""
    return torch.cuda.get_device_name() if torch.cuda.is_available() else processor_name()


if __name__ == "__main__":
    main()
