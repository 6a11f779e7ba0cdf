"""Broken tables and sequence files: the documented exit code, words that tell what and where."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from broken_tables import SEQUENCES, TABLES, Broken

CONFIG = """
data: {{kind: {kind}, path: {path}, {rest}}}
model: {{kind: mlp, hidden: [4]}}
train: {{steps: 1}}
"""
KEYS = {"table": "target: y", "sequence": "batch_size: 4"}
SUFFIX = {"table": "csv", "sequence": "npz"}


def refused(
    bptrain: Callable, kind: str, path: str, words: tuple[str, ...] = (), code: int = 3
) -> str:
    """Train on a file, see that it is refused as errors are, and return what was said."""
    Path("c.yaml").write_text(CONFIG.format(kind=kind, path=path, rest=KEYS[kind]))
    result = bptrain("fit", "c.yaml", *words)
    assert result.exit_code == code, result.output
    assert len(result.stderr.strip().splitlines()) <= 6
    assert "Traceback" not in result.stderr
    assert not Path("runs").exists()
    return str(result.stderr)


def check(bptrain: Callable, kind: str, broken: Broken) -> None:
    name = f"t.{SUFFIX[kind]}"
    for path, content in {name: broken.content, **broken.files}.items():
        Path(path).write_bytes(content)
    said = refused(bptrain, kind, name, broken.words, broken.code)
    assert broken.said in said
    assert broken.also in said
    if broken.code == 3:
        assert said.startswith((f"error: {name}: ", f"error: other.{SUFFIX[kind]}: "))


@pytest.mark.parametrize("name", TABLES)
def test_a_broken_table_is_refused(bptrain: Callable, name: str) -> None:
    check(bptrain, "table", TABLES[name])


@pytest.mark.parametrize("name", SEQUENCES)
def test_a_broken_sequence_file_is_refused(bptrain: Callable, name: str) -> None:
    check(bptrain, "sequence", SEQUENCES[name])


@pytest.mark.parametrize("kind", ["table", "sequence"])
def test_what_is_no_file_is_refused_without_waiting_for_it(bptrain: Callable, kind: str) -> None:
    Path("folder").mkdir()
    os.mkfifo("pipe")
    assert "is a directory" in refused(bptrain, kind, "folder")
    assert "is no file" in refused(bptrain, kind, "pipe")
    assert "is no file" in refused(bptrain, kind, "/dev/zero")
    assert "not found" in refused(bptrain, kind, "nowhere")
