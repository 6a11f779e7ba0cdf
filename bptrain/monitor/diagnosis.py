"""The verdicts on a run while it trains."""

from collections.abc import Sequence

from bptrain import tags
from bptrain.monitor.verdicts import History, Setup, Verdict, verdicts_on
from bptrain.monitor.verdicts.history import Line

FIRST_LINES = 40  # that are all judged; of the others those with a validation: each costs more


class Diagnosis:
    """Judges a run line by line, and tells each kind of verdict once.

    lines  those that the run has logged before, if it is resumed
    """

    def __init__(self, setup: Setup, lines: Sequence[Line] = ()) -> None:
        self.setup, self.lines = setup, list(lines)

    def add(self, step: int, values: Line) -> list[Verdict]:
        """Add a line of the log, and return the verdicts that are new."""
        self.return_to(step - 1)
        return self.add_more(step, values)

    def add_more(self, step: int, values: Line) -> list[Verdict]:
        """Add a line of a step that may have one already, and return the verdicts that are new."""
        self.lines.append({"step": step, **values})
        if len(self.lines) > FIRST_LINES and tags.VAL_LOSS not in values:
            return []
        known = {tag for line in self.lines for tag in line if tag.startswith(tags.VERDICT)}
        new = [each for each in self.verdicts() if tags.verdict(each.kind) not in known]
        self.lines += [{"step": step, tags.verdict(each.kind): each.text} for each in new]
        return new

    def is_first(self, step: int) -> bool:
        """Tell whether no line of an earlier step was added."""
        return not any(line["step"] < step for line in self.lines[:1])

    def return_to(self, step: int) -> None:
        """Forget the lines of later steps: the run has returned to a checkpoint."""
        while self.lines and self.lines[-1]["step"] > step:
            self.lines.pop()

    def verdicts(self) -> list[Verdict]:
        """Return the verdicts on the run as it is, the cause to begin with first."""
        return verdicts_on(History(self.lines), self.setup)
