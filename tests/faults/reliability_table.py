"""The Markdown page `docs/reliability.md`: the faults that were tried, and the failures."""

import os
import platform
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

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


@dataclass
class Outcomes:
    """The outcomes of the faults of one kind."""

    tried: int = 0
    failures: list[str] = field(default_factory=list)


class Tally:
    """Counts faults by area (a test file and its docstring) and by kind."""

    def __init__(self) -> None:
        self.areas: dict[tuple[str, str], dict[str, Outcomes]] = {}

    def add(self, file: str, area: str, kind: str, tried: int, failures: list[str]) -> None:
        """Add faults that were tried, and what happened in those that failed."""
        outcomes = self.areas.setdefault((file, area), {}).setdefault(kind, Outcomes())
        outcomes.tried += tried
        outcomes.failures += failures

    def rows(self) -> list[tuple[str, str, str, int, list[str]]]:
        """Return the arguments of `add` that make this tally."""
        return [
            (*where, kind, each.tried, each.failures)
            for where, kinds in self.areas.items()
            for kind, each in kinds.items()
        ]


def markdown(tally: Tally, minutes: float) -> str:
    """Return the page."""
    outcomes = [each for kinds in tally.areas.values() for each in kinds.values()]
    tried, failed = (
        sum(each.tried for each in outcomes),
        sum(len(each.failures) for each in outcomes),
    )
    lines = [OPENING, f"{tried:,} faults were tried, {failed:,} failed. {conditions(minutes)}", ""]
    for (_, area), kinds in sorted(tally.areas.items(), key=lambda item: item[0]):
        title, _, prose = area.strip().partition("\n")
        lines += [f"## {title.rstrip('.')}", "", *([prose.strip(), ""] if prose.strip() else [])]
        lines += ["| what was done | tried | passed | failed |", "|---|---:|---:|---:|"]
        lines += [row(kind, each) for kind, each in kinds.items()]
        lines += ["", *failures(kinds)]
    return "\n".join(lines).rstrip("\n") + "\n"


def row(kind: str, outcomes: Outcomes) -> str:
    """Return a line of the table."""
    failed = len(outcomes.failures)
    return f"| {kind} | {outcomes.tried:,} | {outcomes.tried - failed:,} | {failed:,} |"


def failures(kinds: dict[str, Outcomes]) -> list[str]:
    """Return what happened in the failures, a line each."""
    lines = []
    for kind, outcomes in kinds.items():
        shown = outcomes.failures[:MOST_NAMED]
        lines += [f"- failed: {kind}: {' '.join(each.split())}" for each in shown]
        if more := len(outcomes.failures) - len(shown):
            lines.append(f"- failed: {kind}: {more:,} more")
    return [*lines, ""] if lines else []


def conditions(minutes: float) -> str:
    """Return the versions, the date and the machine of the tests."""
    return (
        f"bptrain {bptrain.__version__}, {datetime.now(UTC):%Y-%m-%d}, "
        f"{minutes:.0f} minutes on {processor()} ({os.cpu_count()} cores), "
        f"Linux {platform.release()}, Python {platform.python_version()}, "
        f"torch {torch.__version__}."
    )


def processor() -> str:
    """Return the processor's name from /proc."""
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()
