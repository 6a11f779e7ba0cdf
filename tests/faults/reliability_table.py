"""The outcomes of faults, kept in `docs/reliability.json`, and the page of them beside it.

A complete run takes more than an hour. A run of some test files replaces the rows of the kinds of
faults that it tried: each row says on which day, and the page on what machine that was.
"""

import json
import os
import platform
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch

import bptrain

MOST_NAMED = 20  # failures of a kind that are listed
OPENING = """\
# Reliability

What happens to a run when its process is killed, its disk fills up, its files are damaged or its
numbers are not finite, tried by `scripts/faults`, which writes this page. A fault passes if the
exit code and the message are those of [exit-codes.md](exit-codes.md), a valid checkpoint exists
afterwards, and the run, resumed by `--resume`, ends bit for bit as the *reference run*, the same
run without a fault: weights, optimizer, generators, `metrics.jsonl`, TensorBoard.
"""
COLUMNS = "| what was done | tried | passed | failed | on |\n|---|---:|---:|---:|---|"


@dataclass
class Outcomes:
    """The outcomes of the faults of one kind, and the run of scripts/faults that tried them."""

    tried: int = 0
    failures: list[str] = field(default_factory=list)
    run: str = ""  # the day first


@dataclass
class Tally:
    """Counts faults by test file and by kind.

    titles   of the test files, from their docstrings, with what follows the first line
    minutes  that each run took in which one of the kinds was tried
    """

    titles: dict[str, str] = field(default_factory=dict)
    kinds: dict[str, dict[str, Outcomes]] = field(default_factory=dict)
    minutes: dict[str, float] = field(default_factory=dict)

    def add(self, file: str, title: str, kind: str, tried: int, failures: list[str]) -> None:
        """Add faults that were tried, and what happened in those that failed."""
        self.titles[file] = title
        outcomes = self.kinds.setdefault(file, {}).setdefault(kind, Outcomes())
        outcomes.tried += tried
        outcomes.failures += failures

    def rows(self) -> list[tuple[str, str, str, int, list[str]]]:
        """Return the arguments of `add` that make this tally."""
        return [
            (file, self.titles[file], kind, each.tried, each.failures)
            for file, kinds in self.kinds.items()
            for kind, each in kinds.items()
        ]

    def outcomes(self) -> Iterator[Outcomes]:
        """Yield the outcomes of all kinds."""
        for kinds in self.kinds.values():
            yield from kinds.values()

    def end(self, run: str, minutes: float) -> None:
        """Note the run that tried these faults, and how long it took."""
        for each in self.outcomes():
            each.run = run
        self.minutes[run] = round(minutes, 1)

    def joined(self, other: "Tally") -> "Tally":
        """Return this tally with the kinds that only another one has, and the runs of both."""
        kinds = {
            file: other.kinds.get(file, {}) | self.kinds.get(file, {})
            for file in (*other.kinds, *self.kinds)
        }
        both = Tally(other.titles | self.titles, kinds)
        for run in {each.run for each in both.outcomes()}:
            both.minutes[run] = other.minutes.get(run, 0) + self.minutes.get(run, 0)
        return both


def read(path: Path) -> Tally:
    """Return the tally that `write` stored."""
    stored: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    kinds = {
        file: {kind: Outcomes(**each) for kind, each in found.items()}
        for file, found in stored["kinds"].items()
    }
    return Tally(stored["titles"], kinds, stored["minutes"])


def write(tally: Tally, page: Path) -> None:
    """Write a page, and the tally beside it."""
    text = json.dumps(asdict(tally), indent=1, ensure_ascii=False)
    page.with_suffix(".json").write_text(text + "\n", encoding="utf-8")
    page.write_text(markdown(tally), encoding="utf-8")


def markdown(tally: Tally) -> str:
    """Return the page."""
    tried = sum(each.tried for each in tally.outcomes())
    failed = sum(len(each.failures) for each in tally.outcomes())
    lines = [OPENING, f"{tried:,} faults were tried, {failed:,} failed:", ""]
    for run, minutes in sorted(tally.minutes.items()):
        count = sum(each.tried for each in tally.outcomes() if each.run == run)
        lines.append(f"- {run}; {count:,} faults in {minutes:.0f} minutes")
    lines.append("")
    for file, kinds in sorted(tally.kinds.items()):
        title, _, prose = tally.titles[file].strip().partition("\n")
        lines += [f"## {title.rstrip('.')}", "", *([prose.strip(), ""] if prose.strip() else [])]
        lines += [COLUMNS, *(row(kind, each) for kind, each in kinds.items())]
        lines += ["", *failures(kinds)]
    return "\n".join(lines).rstrip("\n") + "\n"


def row(kind: str, outcomes: Outcomes) -> str:
    """Return a line of the table."""
    failed, day = len(outcomes.failures), outcomes.run.partition(":")[0]
    return f"| {kind} | {outcomes.tried:,} | {outcomes.tried - failed:,} | {failed:,} | {day} |"


def failures(kinds: dict[str, Outcomes]) -> list[str]:
    """Return what happened in the failures, a line each."""
    lines = []
    for kind, outcomes in kinds.items():
        shown = outcomes.failures[:MOST_NAMED]
        lines += [f"- failed: {kind}: {' '.join(each.split())}" for each in shown]
        if more := len(outcomes.failures) - len(shown):
            lines.append(f"- failed: {kind}: {more:,} more")
    return [*lines, ""] if lines else []


def this_run() -> str:
    """Return the day, the versions and the machine."""
    return (
        f"{datetime.now(UTC):%Y-%m-%d}: bptrain {bptrain.__version__}{commit()}, {processor()} "
        f"({os.cpu_count()} cores), Linux {platform.release()}, "
        f"Python {platform.python_version()}, torch {torch.__version__}"
    )


def commit() -> str:
    """Return the commit that the source is of, where it lies in a repository."""
    if shutil.which("git") is None:
        return ""
    command = ["git", "describe", "--always", "--dirty", "--exclude=*"]
    found = subprocess.run(
        command, cwd=Path(__file__).parent, capture_output=True, text=True, check=False
    )
    return f" ({found.stdout.strip()})" if found.returncode == 0 else ""


def processor() -> str:
    """Return the processor's name from /proc."""
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()
