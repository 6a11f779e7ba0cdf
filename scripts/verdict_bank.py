"""Trains the bank of sick and healthy runs (tests/diagnosis) and judges the verdicts on them.

    PYTHONPATH=tests:tests/diagnosis python scripts/verdict_bank.py [--cures] [--write] [--runs DIR]

The thresholds were set on the sick and healthy cases; the other sets were written afterwards.
Each set has a table. --cures trains each sick case again with the change that its first verdict
proposes. --write replaces the tables, of the sets that were run whole, in docs/verdicts.md.
--runs keeps the runs in DIR, and takes those that are there: other rules can be tried on them.
"""

import argparse
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from bank import Case, write_files
from bank_runs import trained
from control_files import write_control_files
from controls import CONTROLS
from faults import FAULTS
from healthy import HEALTHY
from held_out import HELD_OUT
from held_out_again import HELD_OUT_AGAIN
from reached import Reached
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
    "Runs that learn, and the same runs with one fault each": [*CONTROLS.values(), *FAULTS],
}
HEALTHY_ONES, NOT_LEARNED, NOT_SICK = (
    "healthy",
    "without a fault, but does not learn",
    "with a fault, but as good as without it",
)


@dataclass(frozen=True)
class Result:
    """The verdicts on a case, and whether the change they propose made it learn.

    group  what is wrong, or the reason why nothing is
    """

    case: Case
    group: str
    verdicts: list[Verdict]
    is_cured: bool | None = None

    @property
    def kind(self) -> str:
        """The first verdict's kind."""
        return self.verdicts[0].kind if self.verdicts else "healthy"

    @property
    def is_right(self) -> bool:
        """Whether the first verdict is of the right kind, and names the right layer."""
        if self.group in (HEALTHY_ONES, NOT_SICK) or not self.verdicts:
            return self.group in (HEALTHY_ONES, NOT_SICK) and not self.verdicts
        return self.kind in self.case.kinds and self.case.layer in (self.verdicts[0].layer or "")


def group_of(case: Case, run: Path, folder: Path) -> str:
    """Tell what is wrong with a run: of one that has a control, by what both reached."""
    if case in CONTROLS.values():
        return HEALTHY_ONES if Reached.by(run).has_learned else NOT_LEARNED
    if not case.control:
        return case.kinds[0] if case.kinds else HEALTHY_ONES
    control = Reached.by(trained(CONTROLS[case.control], folder))
    if not control.has_learned:
        return NOT_LEARNED
    return case.kinds[0] if Reached.by(run).is_less_than(control) else NOT_SICK


def result_of(case: Case, folder: Path, with_cure: bool) -> Result:
    """Train a case and judge it; with its cure, if that is asked for and there is one."""
    run = trained(case, folder)
    verdicts, group = verdicts_of(run), group_of(case, run, folder)
    cured = None
    is_sick = group not in (HEALTHY_ONES, NOT_LEARNED, NOT_SICK)
    if with_cure and verdicts and is_sick and verdicts[0].advice:
        cured = learns(trained(case, folder, *verdicts[0].advice), verdicts[0].kind)
    return Result(case, group, verdicts, cured)


def learns(run: Path, kind: str) -> bool:
    """Tell whether a run learns, and nothing of this kind is wrong with it any more."""
    progress = progress_of(History(read_lines(run)))
    has_kind = any(each.kind == kind for each in verdicts_of(run))
    return progress is not None and progress.learns and not has_kind


def table(results: Sequence[Result]) -> str:
    """Return the table of cases: what is wrong, and what was found."""
    lines = [
        "| what is wrong | runs | right | found instead | proposed | learns with it |",
        "|---|---:|---:|---|---:|---:|",
    ]
    groups = list(dict.fromkeys(each.group for each in results))
    for group in sorted(groups, key=[HEALTHY_ONES, NOT_SICK, NOT_LEARNED].count):
        of_group = [each for each in results if each.group == group]
        wrong = Counter(each.kind for each in of_group if not each.is_right)
        tried = [each.is_cured for each in of_group if each.is_cured is not None]
        instead = ", ".join(f"{n} {name}" for name, n in wrong.items())
        right = "" if group == NOT_LEARNED else sum(each.is_right for each in of_group)
        lines.append(
            f"| {group} | {len(of_group)} | {right} | {instead} | {len(tried)} | {sum(tried)} |"
        )
    return "\n".join(lines) + "\n"


def printed(result: Result) -> Result:
    """Print a result in a line, and return it."""
    cure = {None: "", True: ", learns", False: ", DOES NOT LEARN"}[result.is_cured]
    found = [(each.kind, each.layer) for each in result.verdicts]
    wrong = "" if result.is_right else f"  WRONG: {found}"
    print(f"{result.case.name} ({result.group}): {result.kind}{cure}{wrong}", flush=True)
    return result


def write(title: str, rows: str) -> None:
    """Replace the table below a title."""
    before, found, rest = PAGE.read_text().partition(f"{title}:\n\n")
    assert found, f"{PAGE} has no table of this title: {title}"
    after = rest.partition("\n\n")[2]
    PAGE.write_text(f"{before}{found}{rows}\n{after}")


def judged(folder: Path, options: argparse.Namespace) -> Iterator[tuple[str, list[Result], bool]]:
    """Yield the title of each set, its results, and whether it was run whole."""
    for title, cases in SETS.items():
        chosen = [case for case in cases if options.only in f"{title}: {case.name}"]
        results = [printed(result_of(case, folder, options.cures)) for case in chosen]
        yield title, results, len(chosen) == len(cases)


def main() -> None:
    """Run the bank."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cures", action="store_true", help="train with the proposed changes too")
    parser.add_argument("--write", action="store_true", help="write the tables into the docs")
    parser.add_argument("--only", default="", help="cases whose title and name hold this")
    parser.add_argument("--runs", type=Path, help="folder to keep the runs in")
    options = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as name:
        folder = options.runs or Path(name)
        if not (folder / "table.csv").exists():
            folder.mkdir(parents=True, exist_ok=True)
            write_files(folder)
            write_control_files(folder)
        for title, results, is_whole in judged(folder, options):
            if results:
                print(table(results))
            if options.write and is_whole:
                write(title, table(results))


if __name__ == "__main__":
    main()
