"""Measure what `watch` costs a loop in torch.nn, and write the table of docs/benchmarks.md.

python scripts/watch_overhead.py [--turns 40] [--print]
"""

import argparse
import os
import tempfile
from collections.abc import Callable
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path
from statistics import median

import torch
from torch import Tensor, nn

from bptrain.bench.paired import machine, median_and_quartiles, time_in_turns
from bptrain.bench.workload_table import write_section
from bptrain.monitor import watch
from bptrain.monitor.step_monitor import Level

DOCS = Path(__file__).parent.parent / "docs"
BEGIN, END = "<!-- written by scripts/watch_overhead.py -->", "<!-- end of watch_overhead -->"
LINES = 50  # steps from one line of the log to the next, the default
LEVELS: tuple[Level, ...] = ("basic", "standard", "full")
SECTION = """\
## What watch costs

`python scripts/watch_overhead.py`: a training loop in torch.nn with [`watch`](watch.md) and one
without, in turns of {steps} steps in one process, with torch.optim's fused Adam. *Time* is the
watched loop's over the other's, with every line that it writes.

{machine}; median and quartiles of {turns} turns; load average at the end
{load} on {processors} processors.

| network | level | step without, ms | time |
|---|---|---|---|
{rows}"""


class LastOutput(nn.Module):
    """An LSTM, and a linear layer on its last output."""

    def __init__(self) -> None:
        super().__init__()
        self.lstm, self.head = nn.LSTM(2, 64, batch_first=True), nn.Linear(64, 10)

    def forward(self, x: Tensor) -> Tensor:
        """Return the logits [N, 10] of x [N, T, 2]."""
        outputs: Tensor = self.lstm(x)[0]
        logits: Tensor = self.head(outputs[:, -1])
        return logits


def perceptron(width: int) -> nn.Module:
    """Return a perceptron of two hidden layers."""
    hidden = (nn.Linear(784, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU())
    return nn.Sequential(*hidden, nn.Linear(width, 10))


def convolutional() -> nn.Module:
    """Return a network of two convolutions for images [1, 28, 28]."""
    first = (nn.Conv2d(1, 32, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2))
    second = (nn.Conv2d(32, 64, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten())
    return nn.Sequential(*first, *second, nn.Linear(64 * 7 * 7, 10))


NETWORKS: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...], int]] = {
    "MLP 784-512-512-10, batch 128": (lambda: perceptron(512), (128, 784), 50),
    "MLP 784-64-64-10, batch 32": (lambda: perceptron(64), (32, 784), 200),
    "two convolutions, batch 64": (convolutional, (64, 1, 28, 28), 50),
    "LSTM 64, T 100, batch 64": (LastOutput, (64, 100, 2), 50),
}


class Loop:
    """A training loop on one batch, watched or not."""

    def __init__(self, model: nn.Module, shape: tuple[int, ...], steps: int) -> None:
        self.model, self.steps = model, steps
        self.x, self.y = torch.randn(shape), torch.randint(10, shape[:1])
        self.optimizer = torch.optim.Adam(model.parameters(), fused=True)
        self.loss_function = nn.CrossEntropyLoss()
        self.see: Callable[[Tensor], object] = lambda loss: None

    def train(self) -> None:
        """Train for some steps."""
        for _ in range(self.steps):
            self.optimizer.zero_grad()
            loss = self.loss_function(self.model(self.x), self.y)
            loss.backward()
            self.see(loss)
            self.optimizer.step()


def measure(name: str, level: Level, turns: int, folder: Path) -> str:
    """Return the row of a network."""
    build, shape, steps = NETWORKS[name]
    plain, watched = (Loop(build(), shape, steps) for _ in range(2))
    with (
        redirect_stdout(StringIO()),
        watch(watched.model, folder / "run", level=level, every=LINES) as watcher,
    ):
        watched.see = watcher.step
        timings = time_in_turns({"plain": plain.train, "watched": watched.train}, turns)
    step_ms = 1e3 * median(timings.seconds["plain"]) / steps
    ratios = median_and_quartiles(timings.ratios("plain", to="watched"))
    return f"| {name} | {level} | {step_ms:.2f} | {ratios} |"


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--turns", type=int, default=40)
    parser.add_argument("--print", action="store_true", help="leave docs/ as it is")
    given = parser.parse_args()
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for name in NETWORKS:
            for level in LEVELS:
                rows.append(measure(name, level, given.turns, Path(folder)))
                print(rows[-1], flush=True)
    section = SECTION.format(
        machine=machine(),
        steps=" or ".join(map(str, sorted({steps for *_, steps in NETWORKS.values()}))),
        turns=given.turns,
        load=f"{os.getloadavg()[0]:.1f}",
        processors=os.cpu_count(),
        rows="\n".join(rows),
    )
    if not given.print:
        write_section(DOCS / "benchmarks.md", section, BEGIN, END)


if __name__ == "__main__":
    main()
