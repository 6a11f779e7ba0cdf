"""What a check found: rows, and the forms in which people and machines read them."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from io import StringIO
from math import isfinite
from typing import Literal
from xml.etree import ElementTree as XML

from rich.box import SIMPLE
from rich.console import Console
from rich.table import Table

from bptrain.errors import printable
from bptrain.ops.kernels import Kernels
from bptrain.verify.comparison import Comparison
from bptrain.verify.named_tensors import PARAMETER
from bptrain.verify.parity import GRADIENT

Oracle = Literal[
    "finite differences",
    "torch autograd",
    "the second time",
    "autograd's engine",
    "its definition",
    "float32",
    "bfloat16",
    "float16",
]
EXACT = (
    "finite differences", "torch autograd", "the second time", "autograd's engine", "its definition"
)  # fmt: skip
SHORT: dict[Oracle, str] = {
    "finite differences": "numeric",
    "torch autograd": "torch",
    "the second time": "again",
    "autograd's engine": "engine",
    "its definition": "rule",
    "float32": "float32",
    "bfloat16": "bfloat16",
    "float16": "float16",
}


@dataclass(frozen=True)
class Row:
    """One tensor's gradient, or an output, against one oracle.

    kernels    what computed it: fused kernels, or the formulas alone
    kinks      elements skipped, at a kink, where no derivative exists
    note       what is to be said of it; an error with a note, at kinks alone, does not fail
    is_judged  False where nothing could be compared; `note` says why
    """

    layer: str
    kind: str  # the layer's class
    kernels: Kernels
    oracle: Oracle
    found: Comparison
    tolerance: float
    kinks: int = 0
    note: str = ""
    is_judged: bool = True

    @property
    def heading(self) -> str:
        """The layer and its class."""
        return f"{self.layer} ({self.kind})" if self.kind else self.layer

    @property
    def tensor(self) -> str:
        """The tensor whose gradient this is, or the output."""
        return self.found.tensor.replace(GRADIENT, "").replace(PARAMETER, "")

    @property
    def share(self) -> float:
        """The error as a share of the tolerance; 0 where nothing could be compared."""
        if not self.is_judged:
            return 0.0
        return self.found.relative_error / self.tolerance

    @property
    def rank(self) -> tuple[bool, bool, float]:
        """What the table shows first: what is wrong, what has a note, the largest error."""
        return not self.is_right, bool(self.note), self.share

    @property
    def is_right(self) -> bool:
        """Whether the error is within the tolerance, or there is none to judge."""
        return bool(self.note) or self.found.relative_error <= self.tolerance

    @property
    def verdict(self) -> str:
        """The outcome in a word."""
        if not self.is_judged:
            return "not judged"
        if self.note:
            return "at kinks"
        if not isfinite(self.tolerance):
            return "-"  # an error that there is nothing to compare with
        return "ok" if self.is_right else "WRONG"

    def as_json(self) -> dict[str, object]:
        """Return the row as plain values; JSON has no infinity and no NaN, they are text."""
        found = self.found
        return {
            "layer": self.layer,
            "kind": self.kind,
            "tensor": self.tensor,
            "kernels": self.kernels,
            "against": self.oracle,
            "index": None if found.index is None else list(found.index),
            "ours": _plain(found.ours),
            "reference": _plain(found.reference),
            "relative_error": _plain(found.relative_error),
            "tolerance": _plain(self.tolerance),
            "kinks": self.kinks,
            "note": self.note,
            "verdict": self.verdict.lower(),
        }


@dataclass(frozen=True)
class Report:
    """Everything that a check found; `assert report.ok, report` is its use in a test."""

    rows: Sequence[Row]
    notes: Sequence[str] = ()

    @property
    def ok(self) -> bool:
        """Whether every gradient is right."""
        return all(row.is_right for row in self.rows)

    @property
    def wrong(self) -> list[Row]:
        """The rows whose gradient is wrong."""
        return [row for row in self.rows if not row.is_right]

    @property
    def wrong_layers(self) -> list[str]:
        """The layers whose gradient is wrong, each once."""
        return list(dict.fromkeys(row.layer for row in self.wrong))

    @property
    def at_kinks(self) -> list[str]:
        """The layers whose gradient is wrong, or another than torch's, at kinks alone."""
        noted = [row.layer for row in self.rows if row.is_judged and row.note]
        return list(dict.fromkeys(noted))

    @property
    def kinks(self) -> int:
        """The elements skipped, in all rows."""
        return sum(row.kinks for row in self.rows)

    @property
    def summary(self) -> str:
        """The outcome in a sentence."""
        judged = sum(row.is_judged for row in self.rows)
        compared = f"{judged} comparisons"
        if judged < len(self.rows):
            compared += f", {len(self.rows) - judged} not judged"
        if self.ok:
            but = f" except at kinks in {', '.join(self.at_kinks)}" if self.at_kinks else ""
            return f"every gradient is right{but} ({compared})"
        return f"wrong: {', '.join(self.wrong_layers)} ({len(self.wrong)} of {compared})"

    @property
    def worst(self) -> list[Row]:
        """Of each tensor's rows the one nearest to its tolerance, or furthest beyond it."""
        nearest: dict[tuple[str, str, Kernels, bool], Row] = {}
        for row in self.rows:
            key = (row.layer, row.tensor, row.kernels, row.oracle in EXACT)
            if key not in nearest or row.rank > nearest[key].rank:
                nearest[key] = row
        return list(nearest.values())

    def table(self) -> Table:
        """Return the worst rows as a table, each with its worst element, under their layers."""
        made = Table(box=SIMPLE, padding=(0, 1, 0, 0))
        made.add_column("layer and tensor", overflow="fold")  # the one that gives way
        made.add_column("against", no_wrap=True)
        for name, width in (("index", 5), ("ours", 8), ("reference", 9), ("error", 7)):
            made.add_column(name, justify="right", no_wrap=True, min_width=width)
        made.add_column("verdict", justify="right", no_wrap=True)
        both = {row.layer for row in self.rows if row.kernels == "fused"}
        last = ("", "")
        for row in self.worst:
            # the kernels are named where a layer has them beside its formulas
            heading = (row.heading, row.kernels if row.layer in both else "")
            if heading != last:
                made.add_row(*heading, style="bold")
            last = heading
            found = row.found
            numbers = [f"{found.ours:.3g}", f"{found.reference:.3g}", f"{found.relative_error:.1e}"]
            verdict = row.verdict + (f", {row.kinks} skipped" if row.kinks else "")
            if not row.is_judged:
                numbers = ["", "", ""]
            cells = [f"  {row.tensor}", SHORT[row.oracle], _index(found)]
            made.add_row(*cells, *numbers, verdict, style=None if row.is_right else "bold red")
        return made

    def as_json(self) -> str:
        """Return the report as one JSON object."""
        rows = [row.as_json() for row in self.rows]
        whole = {"ok": self.ok, "wrong_layers": self.wrong_layers, "notes": list(self.notes)}
        whole |= {"skipped_at_kinks": self.kinks, "wrong_at_kinks": self.at_kinks}
        return json.dumps({**whole, "rows": rows}, indent=2, allow_nan=False)

    def as_junit(self) -> str:
        """Return the report as JUnit XML, a test case for each row."""
        suite = XML.Element(
            "testsuite", name="bptrain check", tests=str(len(self.rows)),
            failures=str(len(self.wrong)), errors="0",
            skipped=str(sum(not row.is_judged for row in self.rows)),
        )  # fmt: skip
        for row in self.rows:
            name = f"{row.tensor} by {row.kernels} against {row.oracle}"
            case = XML.SubElement(suite, "testcase", classname=row.layer, name=name)
            if not row.is_judged:
                XML.SubElement(case, "skipped", message=row.note)
            elif not row.is_right:
                XML.SubElement(case, "failure", message=_described(row.found))
            lines = [row.note] * bool(row.note)
            lines += [f"elements skipped at kinks: {row.kinks}"] * bool(row.kinks)
            if lines:
                XML.SubElement(case, "system-out").text = "\n".join(lines)
        XML.SubElement(suite, "system-out").text = "\n".join([*self.notes, self.summary])
        # XML has no control characters, not even escaped, and a layer may have any name
        return printable(XML.tostring(suite, encoding="unicode", xml_declaration=True)) + "\n"

    def __str__(self) -> str:
        out = StringIO()
        console = Console(file=out, width=140)
        if self.wrong:
            console.print(Report(self.wrong).table())
        return out.getvalue() + "\n".join([*self.notes, self.summary])


def _described(found: Comparison) -> str:
    return (
        f"{found.tensor} [{_index(found)}]: ours {found.ours:.9g}, reference "
        f"{found.reference:.9g}, relative error {found.relative_error:.3g}"
    )


def _index(found: Comparison) -> str:
    return "all" if found.index is None else ", ".join(map(str, found.index))


def _plain(number: float) -> float | str:
    return number if isfinite(number) else str(number)
