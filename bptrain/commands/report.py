"""`report`: a page about a run, or about two side by side."""

from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from bptrain.errors import UsageError
from bptrain.experiment.reporting import REPORT, report_of, write_page

MOST_RUNS = 2


def report(runs: Sequence[Path], output: Path | None, evaluates: bool, console: Console) -> None:
    """Write the page of a run, or of two, into the first one's folder or a file of one's choice.

    evaluates  whether the best state of each is evaluated
    """
    if len(runs) > MOST_RUNS:
        raise UsageError(
            f"{len(runs)} runs: a report is of one or two", hint="`bptrain compare` tables many"
        )
    path = output or default_path(runs)
    size = write_page([report_of(each, evaluates) for each in runs], path)
    console.print(f"{path}: {size / 1e6:.1f} MB, open it in a browser", soft_wrap=True)


def default_path(runs: Sequence[Path]) -> Path:
    """Return report.html in a run's folder; of two report-NAME.html, by the second one's name."""
    if len(runs) == 1:
        return runs[0] / REPORT
    return runs[0] / f"report-{runs[1].resolve().name}.html"
