"""`diagnose`: why a run does not learn, and what to change."""

import json
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from bptrain.errors import UsageError, VerdictError
from bptrain.experiment.diagnosis import verdicts_of
from bptrain.monitor.verdicts import KINDS, Verdict


def diagnose(run_dir: Path, as_json: bool, fail_on: Sequence[str], console: Console) -> None:
    """Print the verdicts on a run; raise VerdictError if one is of a kind in `fail_on`."""
    if unknown := [kind for kind in fail_on if kind not in KINDS]:
        raise UsageError(f"--fail-on {unknown[0]}: no kind of verdict", hint=", ".join(KINDS))
    verdicts = verdicts_of(run_dir)
    if as_json:
        print(json.dumps({"verdicts": [each.as_json() for each in verdicts]}))
    else:
        show(verdicts, console)
    if found := [each.kind for each in verdicts if each.kind in fail_on]:
        raise VerdictError(f"{run_dir}: {', '.join(found)}", hint="`bptrain diagnose` says more")


def show(verdicts: Sequence[Verdict], console: Console) -> None:
    """Print verdicts in words."""
    if not verdicts:
        console.print("nothing was found to be wrong")
    for each in verdicts:
        for line in each.lines:
            console.print(line, highlight=False, soft_wrap=True)
        console.print(f"  why: {each.reason}", highlight=False, soft_wrap=True)
