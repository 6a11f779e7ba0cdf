"""docs/notebook.ipynb: its code runs, its source says the same, and its page shows its outputs."""

import json
from pathlib import Path
from typing import Any

import notebook_page
import pytest
from page_commands import ROOT

DOCS = ROOT / "docs"
NOTEBOOK = json.loads((DOCS / "notebook.ipynb").read_text(encoding="utf-8"))
CODE = ["".join(each["source"]) for each in NOTEBOOK["cells"] if each["cell_type"] == "code"]
SHORT = {
    "train__epochs=8": "train__epochs=1",
    'learning_rate_too_high.yaml"': 'learning_rate_too_high.yaml", train__epochs=1',
}


def test_its_cells_run_in_any_python(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import matplotlib

    monkeypatch.chdir(tmp_path)
    matplotlib.use("Agg")
    Path("configs").symlink_to(ROOT / "configs")
    names: dict[str, Any] = {}
    for code in CODE:
        short = code
        for each, instead in SHORT.items():
            short = short.replace(each, instead)
        exec(compile(short, "docs/notebook.ipynb", "exec"), names)
    assert "One weight, followed" in capsys.readouterr().out
    assert names["log"].height > 0
    names["plt"].close("all")


def test_it_is_written_from_its_source() -> None:
    source = (ROOT / "scripts" / "notebook_source.py").read_text(encoding="utf-8")
    assert [each for each in CODE if each not in source] == []
    assert source.count("# %%\n") == len(CODE)
    assert source.count("# %% [markdown]\n") == len(NOTEBOOK["cells"]) - len(CODE)
    assert (NOTEBOOK["nbformat"], NOTEBOOK["nbformat_minor"]) == (4, 5)
    assert "/tmp" not in json.dumps(NOTEBOOK)


def test_its_page_shows_code_and_outputs() -> None:
    page = notebook_page.pages(DOCS)["notebook.md"]
    assert all(code in page for code in CODE)
    assert page.count("data:image/png;base64,") == 1
    assert "<div class='output'>" in page
    assert "One weight, followed" in page
    assert page.startswith("# Digits in a notebook")
