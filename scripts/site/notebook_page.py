"""docs/notebook.ipynb as a page: its cells, and the outputs that are stored in it."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

PAGE = "notebook.md"
NOTEBOOK = "notebook.ipynb"
HEAD = f"[Download the notebook]({NOTEBOOK}){{: .download }}\n"


def pages(docs: Path) -> dict[str, str]:
    """Return the Markdown of the page, by its path in the site."""
    notebook = json.loads((docs / NOTEBOOK).read_text(encoding="utf-8"))
    parts = [part for cell in notebook["cells"] for part in _cell(cell)]
    return {PAGE: "\n\n".join([*parts, HEAD])}


def _cell(cell: Mapping[str, Any]) -> Iterator[str]:
    text = "".join(cell["source"])
    if cell["cell_type"] == "markdown":
        yield text
        return
    yield f"```python\n{text}\n```"
    for output in cell["outputs"]:
        yield _output(output)


def _output(output: Mapping[str, Any]) -> str:
    """Return the richest form of an output: a picture, HTML, or text."""
    data = output.get("data", {"text/plain": output.get("text", [])})
    if "image/png" in data:
        return f"<p><img alt='a plot' src='data:image/png;base64,{data['image/png']}'></p>"
    if "text/html" in data:
        return f"<div class='output'>\n{''.join(data['text/html'])}\n</div>"
    return f"```text\n{''.join(data['text/plain']).rstrip()}\n```"
