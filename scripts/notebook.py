"""Run the cells of scripts/notebook_source.py, and write them and their outputs as a notebook.

python scripts/notebook.py      writes docs/notebook.ipynb

Cells run as in a notebook: the value of a last line is shown, and the figures of pyplot behind it.
Times and paths of this machine do not appear in what they show.
"""

import ast
import base64
import io
import json
import os
import re
import sys
import tempfile
from collections.abc import Iterator
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).parents[1]
SOURCE = ROOT / "scripts" / "notebook_source.py"
NOTEBOOK = ROOT / "docs" / "notebook.ipynb"
MARK = re.compile(r"^# %%( \[markdown\])?\n", re.MULTILINE)


class Cell(NamedTuple):
    """A cell: its kind, code or markdown, and its text."""

    kind: str
    text: str


def cells_of(source: str) -> list[Cell]:
    """Return the cells of a source, what stands before the first mark left out."""
    _, *parts = MARK.split(source)
    cells = []
    for mark, body in zip(parts[::2], parts[1::2], strict=True):
        text = body.strip("\n")
        if mark:
            text = "\n".join(line.removeprefix("#").removeprefix(" ") for line in text.split("\n"))
        cells.append(Cell("markdown" if mark else "code", text))
    return cells


def outputs_of(code: str, names: dict[str, Any], number: int) -> Iterator[dict[str, Any]]:
    """Run a cell, and yield what a notebook shows of it."""
    body = ast.parse(code).body
    shown = None
    last = body[-1] if isinstance(body[-1], ast.Expr) else None
    with redirect_stdout(io.StringIO()) as printed:
        before = ast.Module(body[:-1] if last else body, [])
        exec(compile(before, "cell", "exec"), names)  # noqa: S102  our own cells
        if last:
            shown = eval(compile(ast.Expression(last.value), "cell", "eval"), names)  # noqa: S307
    if printed.getvalue():
        yield {"output_type": "stream", "name": "stdout", "text": lines(printed.getvalue())}
    if shown is not None:
        result = {"output_type": "execute_result", "execution_count": number, "metadata": {}}
        yield {**result, "data": representations(shown)}
    for picture in figures():
        data = {"image/png": base64.b64encode(picture).decode(), "text/plain": ["a figure"]}
        yield {"output_type": "display_data", "metadata": {}, "data": data}


def representations(value: object) -> dict[str, Any]:
    """Return a value as text, and as HTML where it has some."""
    found: dict[str, Any] = {"text/plain": lines(repr(value))}
    if hasattr(value, "_repr_html_"):
        found["text/html"] = lines(value._repr_html_())
    return found


def figures() -> Iterator[bytes]:
    """Yield the figures of pyplot as PNG, and close them."""
    if "matplotlib.pyplot" not in sys.modules:
        return
    from matplotlib import pyplot

    for number in pyplot.get_fignums():
        file = io.BytesIO()
        pyplot.figure(number).savefig(
            file, format="png", dpi=80, bbox_inches="tight", metadata={"Software": None}
        )
        yield file.getvalue()
    pyplot.close("all")


def lines(text: str) -> list[str]:
    """Return a text as notebooks store it: its lines with their ends."""
    return text.splitlines(keepends=True)


def notebook(cells: list[Cell]) -> dict[str, Any]:
    """Run the cells and return the notebook, in nbformat 4.5."""
    names: dict[str, Any] = {"__name__": "__main__"}
    made, number = [], 0
    for place, cell in enumerate(cells):
        common: dict[str, Any] = {"cell_type": cell.kind, "id": f"cell-{place}", "metadata": {}}
        common["source"] = lines(cell.text)
        if cell.kind == "code":
            number += 1
            outputs = list(outputs_of(cell.text, names, number))
            common |= {"execution_count": number, "outputs": outputs}
        made.append(common)
    kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
    metadata = {"kernelspec": kernel, "language_info": {"name": "python"}}
    return {"cells": made, "metadata": metadata, "nbformat": 4, "nbformat_minor": 5}


def main() -> None:
    """Run the cells in an empty folder, where the configs are at hand."""
    import matplotlib

    matplotlib.use("Agg")
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        Path("configs").symlink_to(ROOT / "configs")
        made = notebook(cells_of(SOURCE.read_text(encoding="utf-8")))
        os.chdir(ROOT)
    NOTEBOOK.write_text(json.dumps(made, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
