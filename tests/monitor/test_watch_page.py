"""docs/watch.md: its loop runs as it stands, and its folder is diagnosed."""

import re
from pathlib import Path

import pytest
from small_files import CONFIGS

from bptrain.experiment.diagnosis import verdicts_of

PAGE = (CONFIGS.parent / "docs" / "watch.md").read_text()


def test_the_loop_of_the_page_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    loop, *others = re.findall(r"^```python\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)
    exec(loop, {})  # what a reader pastes
    assert (tmp_path / "runs" / "mine" / "metrics.jsonl").read_text().count("\n") >= 11
    verdicts_of(tmp_path / "runs" / "mine")
    for block in others:
        compile(block, "docs/watch.md", "exec")
