"""The code of docs/python.md runs, and the page names everything that `import bptrain` offers."""

import re
from pathlib import Path
from typing import Any

import pytest
from fingerprints import draw_fingerprints
from small_files import CONFIGS

import bptrain
from bptrain.api.run import Run
from bptrain.cli import COMMANDS

DOCS = CONFIGS.parent / "docs"
PAGE = (DOCS / "python.md").read_text(encoding="utf-8")


def test_the_code_of_the_page_runs_from_top_to_bottom(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    draw_fingerprints(monkeypatch.setattr)
    Path("configs").symlink_to(CONFIGS)
    names: dict[str, Any] = {}
    for code in re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL):
        exec(compile(code, "docs/python.md", "exec"), names)
    assert names["config"].optimizer.lr == 0.01
    assert names["losses"].columns == ["step", "train/loss", "val/loss"]


def test_the_page_and_the_reference_name_every_function_and_method() -> None:
    reference = (DOCS / "reference" / "bptrain.md").read_text(encoding="utf-8")
    for name in bptrain.__all__:
        assert re.search(rf"^::: bptrain\.[\w.]+\.{name}$", reference, re.MULTILINE), name
        assert (
            f"bptrain.{name}(" in PAGE or f"[{name}]" in PAGE or name in ("conversion", "to_torch")
        )
    assert [name for name in COMMANDS if f"`{name}`" not in PAGE] == []
    methods = [name for name in vars(Run) if not name.startswith("_")]
    assert [name for name in methods if f"run.{name}" not in PAGE] == ["name"]
    assert all(getattr(bptrain, name).__doc__ for name in bptrain.__all__)
