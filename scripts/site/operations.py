"""A page for each operation: the derivation in its docstring, typeset, above the code that runs."""

import ast
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from bptrain.monitor.explanation.derivations import Rule, parts_of, sections_of
from bptrain.monitor.explanation.mathml import inline, line

OPERATIONS = Path("bptrain/ops")
FOLDER = "reference/operations"
ROWS = {"Shapes", "Forward", "Backward"}  # whose lines are formulas; the others are sentences
COLUMNS = re.compile(r"\S {3,}\S")
WORD = re.compile(r"(?!log|exp|tanh|sum|max|min|mean|sigma)[a-z]{2,}[,;:.]?$")
EQUATION = re.compile(r"\s*\S+ +=\s")
WIDTH = 85  # of a full line below a heading

INDEX = """\
# Operations

Every operation has a file in [`bptrain/ops/`](../../../bptrain/ops/__init__.py). Its docstring
derives the backward pass, and its code computes the lines of that derivation. Both are on these
pages, which are made from the files.

| letter | meaning |
|---|---|
| N, T, K | samples of a batch, time steps, classes |
| C, H, W | channels, height, width |
| I, O | features in, features out |
| R, S | height and width of a kernel |
| D, Q | depth, and that of a kernel |
| G, E, A, V | groups, embedding size, attention heads, vocabulary |
| x, y, W, b | input, output, weight, bias |
| L | the loss, one number |
| x', y', ... | the gradient of the loss by x, by y, ...: `grad_x`, `grad_y` in the code |

The rule behind each of them is the chain rule. The backward pass is given y' = dL/dy and returns,
for each tensor x that the forward pass read,

{rule}

| operation | what it computes |
|---|---|
"""


class Operation(NamedTuple):
    """A file with a derivation."""

    name: str
    docstring: str
    code: str  # what follows the docstring


def operations(root: Path) -> list[Operation]:
    """Return the operations, by name."""
    found = map(_operation, sorted((root / OPERATIONS).glob("*.py")))
    return [each for each in found if "\nBackward" in each.docstring]


def _operation(path: Path) -> Operation:
    source = path.read_text(encoding="utf-8")
    first = ast.parse(source).body[0]
    docstring = ast.get_docstring(ast.parse(source)) or ""
    code = "".join(source.splitlines(keepends=True)[first.end_lineno :])
    return Operation(path.stem, docstring, code.strip("\n"))


def pages(root: Path) -> dict[str, str]:
    """Return the Markdown of the pages, by their path in the site: an index and the operations."""
    found = operations(root)
    rule = _block(_row("x'_i = sum_j y'_j dy_j/dx_i"))
    rows = [f"| [`{one.name}`]({one.name}.md) | {_title(one)} |" for one in found]
    index = INDEX.replace("{rule}", rule) + "\n".join(rows) + "\n"
    return {f"{FOLDER}/index.md": index} | {f"{FOLDER}/{one.name}.md": page(one) for one in found}


def _title(operation: Operation) -> str:
    return str(inline(operation.docstring.partition("\n")[0])).replace("|", "&#124;")


def page(operation: Operation) -> str:
    """Return the page of an operation."""
    title, sections = sections_of(operation.docstring)
    parts = [f"# {operation.name}", _block(f"<p class='lead'>{inline(title)}</p>")]
    for heading, lines in sections:
        if any(map(str.strip, lines)):
            parts += [f"## {heading}"] * bool(heading)
            parts.append(_block("\n".join(_section(heading, lines))))
    where = f"{OPERATIONS}/{operation.name}.py"
    return "\n\n".join([*parts, "## Code", f"`{where}`", f"```python\n{operation.code}\n```", ""])


def typeset(text: str) -> str:
    """Return lines of formulas as HTML that Markdown leaves alone."""
    return _block("\n".join(map(_row, text.strip().split("\n"))))


def _block(html: str) -> str:
    """Return HTML that Markdown leaves alone."""
    return f"<div class='derivation'>\n{html}\n</div>"


def _section(heading: str, lines: list[str]) -> Iterator[str]:
    if heading == "Backward":
        yield from _backward(lines)
    elif heading in ROWS:
        yield from map(_row, joined(lines))
    else:
        for paragraph in "\n".join(lines).split("\n\n"):
            yield f"<p>{inline(' '.join(paragraph.split()))}</p>"


def _backward(lines: list[str]) -> Iterator[str]:
    notes: list[str] = []
    for part in parts_of(lines):
        if isinstance(part, Rule):
            yield from map(_row, joined(notes))
            yield from _rule(part)
            notes = []
        else:
            notes.append(part)
    yield from map(_row, joined(notes))


def joined(lines: Iterable[str]) -> list[str]:
    """Return the lines of a section, a sentence that is broken over several of them as one.

    It continues in a line without columns, which begins with a word or where that before is full.
    """
    found: list[str] = []
    before = ""
    for text in filter(str.strip, lines):
        first = text.split()[0]
        is_full = len(before) + 1 + len(first) > WIDTH and not EQUATION.match(before)
        goes_on = WORD.match(first) and not before.rstrip().endswith((".", ":"))
        if found and _has_words(found[-1]) and not COLUMNS.search(text) and (is_full or goes_on):
            found[-1] = f"{found[-1]} {text.strip()}"
        else:
            found.append(text)
        before = text
    return found


def _has_words(text: str) -> bool:
    return any(map(WORD.match, text.split()))


def _row(text: str) -> str:
    columns = "".join(f"<span>{column}</span>" for column in line(text))
    return f"<div class='row'>{columns}</div>"


def _rule(rule: Rule) -> Iterator[str]:
    yield "<div class='rule'>"
    yield from map(_row, rule.formula)
    if rule.because:
        yield f"<p class='because'><i>because</i> {inline(rule.because)}</p>"
    yield "</div>"
