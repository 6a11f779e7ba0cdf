"""Trains the bank of sick and healthy runs (tests/diagnosis) and judges the verdicts on them.

    PYTHONPATH=tests/diagnosis python scripts/verdict_bank.py [--cures] [--write]

The thresholds were set on the sick and healthy cases; those held out were written afterwards, in
two sets. Each set has a table. --cures trains each sick case again with the change that its first
verdict proposes. --write replaces the tables, of the sets that were run whole, in docs/verdicts.md.
"""

import argparse
import tempfile
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import torch
from bank import Case, write_files
from bank_runs import trained
from healthy import HEALTHY
from held_out import HELD_OUT
from held_out_again import HELD_OUT_AGAIN
from sick import SICK

from bptrain.experiment.diagnosis import read_lines, verdicts_of
from bptrain.monitor.verdicts import History, Verdict
from bptrain.monitor.verdicts.progress import progress_of

PAGE = Path("docs/verdicts.md")
SETS: dict[str, list[Case]] = {
    "The cases that the thresholds were set on": [*SICK, *HEALTHY],
    "Cases held out, written after the thresholds were set": HELD_OUT,
    "Cases combined by a fixed draw, written after the misses of the former were looked at": (
        HELD_OUT_AGAIN
    ),
}


@dataclass(frozen=True)
class Result:
    """The verdicts on a case, and whether the change they propose made it learn."""

    case: Case
    verdicts: list[Verdict]
    is_cured: bool | None = None

    @property
    def kind(self) -> str:
        """The first verdict's kind."""
        return self.verdicts[0].kind if self.verdicts else "healthy"

    @property
    def is_right(self) -> bool:
        """Whether the first verdict is of the right kind, and names the right layer."""
        if not self.case.kinds or not self.verdicts:
            return not self.case.kinds and not self.verdicts
        return self.kind in self.case.kinds and self.case.layer in (self.verdicts[0].layer or "")


def result_of(case: Case, folder: Path, with_cure: bool) -> Result:
    """Train a case and judge it; with its cure, if that is asked for and there is one."""
    verdicts = verdicts_of(trained(case, folder))
    cured = None
    if with_cure and verdicts and case.kinds and verdicts[0].advice:
        cured = learns(trained(case, folder, *verdicts[0].advice), verdicts[0].kind)
    return Result(case, verdicts, cured)


def learns(run: Path, kind: str) -> bool:
    """Tell whether a run learns, and nothing of this kind is wrong with it any more."""
    progress = progress_of(History(read_lines(run)))
    has_kind = any(each.kind == kind for each in verdicts_of(run))
    return progress is not None and progress.learns and not has_kind


def table(results: list[Result]) -> str:
    """Return the table of cases: what is wrong, and what was found."""
    kinds = list(
        dict.fromkeys(each.case.kinds[0] if each.case.kinds else "healthy" for each in results)
    )
    lines = [
        "| what is wrong | runs | right | found instead | proposed | learns with it |",
        "|---|---:|---:|---|---:|---:|",
    ]
    for kind in kinds:
        of_kind = [r for r in results if (r.case.kinds or ("healthy",))[0] == kind]
        wrong = Counter(r.kind for r in of_kind if not r.is_right)
        tried = [r.is_cured for r in of_kind if r.is_cured is not None]
        instead = ", ".join(f"{n} {name}" for name, n in wrong.items())
        right = sum(r.is_right for r in of_kind)
        lines.append(
            f"| {kind} | {len(of_kind)} | {right} | {instead} | {len(tried)} | {sum(tried)} |"
        )
    return "\n".join(lines) + "\n"


def printed(result: Result) -> Result:
    """Print a result in a line, and return it."""
    cure = {None: "", True: ", learns", False: ", DOES NOT LEARN"}[result.is_cured]
    found = [(each.kind, each.layer) for each in result.verdicts]
    wrong = "" if result.is_right else f"  WRONG: {found}"
    print(f"{result.case.name}: {result.kind}{cure}{wrong}", flush=True)
    return result


def write(title: str, rows: str) -> None:
    """Replace the table below a title."""
    before, found, rest = PAGE.read_text().partition(f"{title}:\n\n")
    assert found, f"{PAGE} has no table of this title: {title}"
    after = rest.partition("\n\n")[2]
    PAGE.write_text(f"{before}{found}{rows}\n{after}")


def main() -> None:
    """Run the bank."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cures", action="store_true", help="train with the proposed changes too")
    parser.add_argument("--write", action="store_true", help="write the tables into the docs")
    parser.add_argument("--only", default="", help="cases whose title and name hold this")
    options = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_files(folder)
        for title, cases in SETS.items():
            chosen = [case for case in cases if options.only in f"{title}: {case.name}"]
            results = [printed(result_of(case, folder, options.cures)) for case in chosen]
            if results:
                print(table(results))
            if options.write and len(chosen) == len(cases):
                write(title, table(results))


if __name__ == "__main__":
    main()
