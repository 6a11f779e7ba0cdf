"""What was tried and what failed, as `docs/reliability.md` shows it."""

import os
import platform
from collections import defaultdict
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import torch

import bptrain

MOST_NAMED = 20  # failures of a kind that are written out
OPENING = """\
# Reliability

What happens to a run when its process is killed, its disk fills up, its files are damaged or its
numbers are not finite, tried by `scripts/faults`, which writes this page. A fault has passed if the
exit code and the message were those of [exit-codes.md](exit-codes.md), a sound checkpoint was
there after it, and the run then gone on with by `--resume` ended bit for bit as the *golden* run,
the same one left alone: weights, optimizer, generators, `metrics.jsonl`, TensorBoard.
"""


@dataclass
class Outcomes:
    """What became of the faults of one kind."""

    tried: int = 0
    failures: list[str] = field(default_factory=list)


class Tally:
    """Counts faults by room, the docstring of a file of tests, and kind."""

    def __init__(self) -> None:
        self.rooms: dict[str, dict[str, Outcomes]] = defaultdict(lambda: defaultdict(Outcomes))

    def count(self, room: str, kind: str, what_happened: str) -> None:
        """Count a fault; what happened is "" if all was as it should be."""
        outcomes = self.rooms[room][kind]
        outcomes.tried += 1
        if what_happened:
            outcomes.failures.append(what_happened)


def markdown(tally: Tally, minutes: float) -> str:
    """Return the page."""
    outcomes = [each for kinds in tally.rooms.values() for each in kinds.values()]
    tried, failed = (
        sum(each.tried for each in outcomes),
        sum(len(each.failures) for each in outcomes),
    )
    lines = [OPENING, f"{tried:,} faults were tried, {failed:,} failed. {measured(minutes)}", ""]
    for room, kinds in tally.rooms.items():
        title, _, prose = room.strip().partition("\n")
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


def measured(minutes: float) -> str:
    """Return where and when this was tried."""
    return (
        f"bptrain {bptrain.__version__}, {datetime.now(UTC):%Y-%m-%d}, "
        f"{minutes:.0f} minutes on {processor()} ({os.cpu_count()} cores), "
        f"Linux {platform.release()}, Python {platform.python_version()}, "
        f"torch {torch.__version__}."
    )


def processor() -> str:
    """Return the processor's name as /proc knows it."""
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()
