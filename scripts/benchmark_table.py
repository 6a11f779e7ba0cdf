"""Measure the training steps of docs/benchmarks.md, and write their table there.

python scripts/benchmark_table.py                           all of them, in fp32 and bf16
python scripts/benchmark_table.py --only LSTM --precision fp32 --no-compile
"""

import argparse
import json
import os
import platform
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from bptrain.bench.paired import machine
from bptrain.bench.step import measure_step
from bptrain.bench.workload_table import Row, rows_of, table_of, write_section
from bptrain.bench.workloads import WORKLOADS
from bptrain.train.precision import Precision

BENCHMARKS = Path(__file__).parent.parent / "docs" / "benchmarks.md"
CPUINFO = Path("/proc/cpuinfo")

HEAD = """\
`scripts/benchmark`: each step on drawn data in {processes} processes, in each the alternatives in
turns. A ratio is the worst of the processes' medians of the ratio within a turn; below 1 bptrain
is faster, or takes less memory. [bench.md](bench.md) says how a step is measured and what the
columns mean; *its fastest form* is the fastest of torch.nn eager, channels_last and torch.compile.
*goal* is what is aimed at over torch.nn: the time where oneDNN's float32 product is twice as fast
as MKL's, the time where both are the same, and the memory."""


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--only", default="", help="workloads whose name contains this")
    parser.add_argument(
        "--precision", nargs="+", choices=["fp32", "bf16"], default=["fp32", "bf16"]
    )
    parser.add_argument("--processes", type=int, default=3)
    parser.add_argument("--turns", type=int, help="in place of each workload's own")
    parser.add_argument("--no-compile", action="store_true", help="leave torch.compile out")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--json", type=Path, help="write all results here")
    parser.add_argument("--print", action="store_true", help="leave docs/benchmarks.md as it is")
    parser.add_argument("--one", help=argparse.SUPPRESS)  # a process of its own: this workload
    given = parser.parse_args()
    if given.one:
        print(measured(given))
        return
    names = [name for name in WORKLOADS if given.only in name]
    results = {
        f"{name}, {precision}": [process(name, precision, given) for _ in range(given.processes)]
        for precision in given.precision
        for name in names
    }
    rows = [row for processes in results.values() for row in rows_of(processes)]
    section = section_of(rows, results, given)
    print(section)
    if given.json:
        given.json.write_text(json.dumps(results, indent=2), encoding="utf-8")
    if not given.print:
        write_section(BENCHMARKS, section)


def measured(given: argparse.Namespace) -> str:
    """Return the results of one workload as JSON."""
    workload = WORKLOADS[given.one]
    precision = Precision.of(given.precision[0], torch.device(given.device))
    turns = given.turns or workload.turns
    return measure_step(workload.subject(precision), turns, not given.no_compile).as_json()


def process(name: str, precision: str, given: argparse.Namespace) -> dict[str, Any]:
    """Return the results of one workload, measured in a process of its own."""
    words = [sys.executable, __file__, "--one", name, "--precision", precision]
    words += ["--device", given.device]
    words += ["--turns", str(given.turns)] if given.turns else []
    words += ["--no-compile"] if given.no_compile else []
    print(f"{name}, {precision}", file=sys.stderr, flush=True)
    done = subprocess.run(words, stdout=subprocess.PIPE, text=True, check=True)  # noqa: S603
    results: dict[str, Any] = json.loads(done.stdout)
    return results


def section_of(
    rows: list[Row], results: dict[str, list[dict[str, Any]]], given: argparse.Namespace
) -> str:
    """Return the table under its heading, with what it was measured on."""
    goals = {name: workload.goal for name, workload in WORKLOADS.items()}
    left_out = {
        f"{what}: {name}, {why}"
        for what, processes in results.items()
        for each in processes
        for name, why in each["left_out"].items()
    }
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


def processor() -> str:
    """Return the name of the CPU or the GPU."""
    if torch.cuda.is_available():
        return torch.cuda.get_device_name()
    if CPUINFO.is_file():
        for line in CPUINFO.read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


if __name__ == "__main__":
    main()
