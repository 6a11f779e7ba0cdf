"""Measure the training steps of docs/benchmarks.md, and write their table there.

python scripts/benchmark_table.py                           all of them, in fp32 and bf16
python scripts/benchmark_table.py --only LSTM --precision fp32 --no-compile
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
from typing import Any

import torch

from bptrain.bench.paired import machine
from bptrain.bench.processor import processor_name
from bptrain.bench.step import measure_step
from bptrain.bench.workload_table import rows_of, table_of, write_section
from bptrain.bench.workloads import WORKLOADS
from bptrain.train.precision import Precision

BENCHMARKS = Path(__file__).parent.parent / "docs" / "benchmarks.md"

HEAD = """\
`scripts/benchmark`: each step on drawn data in {processes} processes, in each the alternatives in
turns. A ratio is the worst of the processes' medians of the ratio within a turn; below 1 bptrain
is faster, or takes less memory. [bench.md](bench.md) says how a step is measured and what the
columns mean; *its fastest form* is the fastest of torch.nn eager, channels_last and torch.compile.
*goal* is what is aimed at over torch.nn: the time where oneDNN's float32 product is twice as fast
as MKL's, the time where both are the same, and the memory."""

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
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument(
        "--within", type=float, default=inf, help="seconds, after which nothing more is measured"
    )
    parser.add_argument("--json", type=Path, help="write all results here")
    parser.add_argument("--print", action="store_true", help="leave docs/benchmarks.md as it is")
    parser.add_argument("--peers", action="store_true", help="time Lightning, Keras and JAX too")
    parser.add_argument("--one", help=argparse.SUPPRESS)  # a process of its own: this workload
    given = parser.parse_args()
    if given.one:
        print(measured(given))
        return
    failures: dict[str, str] = {}
    results: dict[str, list[dict[str, Any]]] = {}
    ends_s = time.monotonic() + given.within
    for precision in given.precision:
        for name in (n for n in WORKLOADS if any(each in n for each in given.only)):
            what = f"{name}, {precision}"
            try:
                results[what] = [
                    process(name, precision, given, ends_s) for _ in range(given.processes)
                ]
            except subprocess.TimeoutExpired:
                failures[what] = f"not within {given.within:g} s"
            except subprocess.CalledProcessError as error:
                failures[what] = last_line(error.stderr)
            if given.json:  # what is measured is not lost if the rest is interrupted
                given.json.write_text(json.dumps(results, indent=2), encoding="utf-8")
    section = section_of(results, failures, given)
    if given.peers:
        section += "\n\n" + peers_section(given)
    print(section)
    if not given.print:
        write_section(BENCHMARKS, section)


def measured(given: argparse.Namespace) -> str:
    """Return the results of one workload as JSON."""
    workload = WORKLOADS[given.one]
    precision = Precision.of(given.precision[0], torch.device(given.device))
    turns = given.turns or workload.turns
    return measure_step(workload.subject(precision), turns, not given.no_compile).as_json()


def process(name: str, precision: str, given: argparse.Namespace, ends_s: float) -> dict[str, Any]:
    """Return the results of one workload, measured in a process of its own.

    Raises TimeoutExpired at `ends_s`, by the monotonic clock.
    """
    words = [sys.executable, __file__, "--one", name, "--precision", precision]
    words += ["--device", given.device]
    words += ["--turns", str(given.turns)] if given.turns else []
    words += ["--no-compile"] if given.no_compile else []
    left_s = ends_s - time.monotonic()
    if left_s <= 0:
        raise subprocess.TimeoutExpired(words, given.within)
    print(f"{name}, {precision}", file=sys.stderr, flush=True)
    results: dict[str, Any] = json.loads(output_of(words, None if left_s == inf else left_s))
    return results


def output_of(words: list[str], timeout_s: float | None = None) -> str:
    """Return what a program prints. Raises CalledProcessError if it fails, or TimeoutExpired."""
    done = subprocess.run(  # noqa: S603
        words, capture_output=True, text=True, check=True, timeout=timeout_s
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
    head = HEAD.format(processes=given.processes)
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


def peers_section(given: argparse.Namespace) -> str:
    """Return a table of other frameworks on the MLP, in processes that alternate with bptrain's."""
    python = peers_python()
    threads = str(torch.get_num_threads())
    times: dict[str, list[float]] = {name: [] for name in PEERS}
    ours: list[float] = []
    for _ in range(given.processes):
        (row, *_) = rows_of([process(next(iter(WORKLOADS)), "fp32", given)])[::-1]  # newest engine
        ours.append(row.step_ms)
        for name, found in times.items():
            words = [str(python), str(PEERS_SCRIPT), name, "--threads", threads]
            found.append(json.loads(output_of(words).splitlines()[-1])["step_ms"])
    lines = [
        f"| {name} {version_there(python, name)} | {median(found):.3g} "
        f"| {max(mine / other for mine, other in zip(ours, found, strict=True)):.2f} |"
        for name, found in times.items()
    ]
    return "\n".join([PEERS_HEAD.format(engine=row.engine, step=median(ours)), *lines])


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
