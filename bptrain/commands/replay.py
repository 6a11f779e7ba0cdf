"""`replay`: repeat the step of a run that was not finite, and say where it was so first."""

import json
from pathlib import Path

from rich.console import Console

from bptrain.errors import NonFiniteError
from bptrain.experiment.evaluation import HINT
from bptrain.experiment.replaying import replayed
from bptrain.train.memory import allocating


def replay(run_dir: Path, as_json: bool, console: Console) -> None:
    """Print what is found in the step; raise NonFiniteError if it is not finite again."""
    with allocating():
        failure, finding = replayed(run_dir)
    if as_json:
        found = None if finding is None else finding.plain()
        print(json.dumps({**failure._asdict(), "finding": found}))
    elif finding is None:
        console.print(f"step {failure.step} repeated: every number is finite", highlight=False)
    else:
        for line in finding.lines:
            console.print(line, highlight=False, soft_wrap=True)
    if finding is not None:
        raise NonFiniteError(failure.what, finding.sentence, HINT)
