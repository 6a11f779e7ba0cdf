"""Times how long commands take to start, beside `import torch`, one after another in turns.

Prints a Markdown table: medians of the seconds, and their quartiles, each command in a process of
its own from an empty folder. `fit` is timed from its start to its first line of a step.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

CONFIG = Path(__file__).parents[1] / "configs/digits_mlp.yaml"
BPTRAIN = [sys.executable, "-m", "bptrain"]
FIT = ["fit", str(CONFIG), "monitor.log_every=1", "train.steps=3"]
COMMANDS = {
    "`import torch`": [sys.executable, "-c", "import torch"],
    "`bptrain --help`": [*BPTRAIN, "--help"],
    "`bptrain check --help`": [*BPTRAIN, "check", "--help"],
    "`bptrain validate digits_mlp.yaml`": [*BPTRAIN, "validate", str(CONFIG)],
    "`bptrain init mlp`": [*BPTRAIN, "init", "mlp"],
    "`bptrain fit digits_mlp.yaml`, to its first step": [*BPTRAIN, *FIT],
    "`bptrain fit digits_mlp.yaml train.steps=3`, to its end": [*BPTRAIN, *FIT],
}


def seconds(words: list[str], until: str | None) -> float:
    """Return how long a command takes to a line that begins with `until`, or to its end."""
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
    with tempfile.TemporaryDirectory() as folder:
        before = time.perf_counter()
        process = subprocess.Popen(  # noqa: S603
            words, cwd=folder, env=environment, stdout=subprocess.PIPE, text=True
        )
        assert process.stdout is not None
        reached = None
        for line in process.stdout:
            if reached is None and until is not None and line.startswith(until):
                reached = time.perf_counter()
        if process.wait() or (until is not None and reached is None):
            raise SystemExit(f"{' '.join(words)} failed")
        return (reached or time.perf_counter()) - before


def main() -> None:
    """Time the commands in turns, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=9)
    rounds = parser.parse_args().rounds
    found: dict[str, list[float]] = {name: [] for name in COMMANDS}
    for number in range(rounds + 1):
        for name, words in COMMANDS.items():
            taken = seconds(words, "step 1/" if name.endswith("first step") else None)
            if number:  # the first round fills the caches of files
                found[name].append(taken)
    print("| command | s | quartiles |\n|---|---:|---|")
    for name, times in found.items():
        low, median, high = statistics.quantiles(times, n=4)
        print(f"| {name} | {median:.2f} | {low:.2f} to {high:.2f} |")


if __name__ == "__main__":
    main()
