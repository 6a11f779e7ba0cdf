"""Broken tables: the documented exit code, and a message that says what and where."""

import os
import random
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
from broken_tables import TABLES, Broken, table

from bptrain.data.tables.table_config import TableConfig
from bptrain.errors import DataError

CONFIG = """
data: {{kind: table, path: {path}, target: y}}
model: {{kind: mlp, hidden: [4]}}
train: {{steps: 1}}
"""


def refused(bptrain: Callable, path: str, words: tuple[str, ...] = (), code: int = 3) -> str:
    """Train on a file, check that it is refused, and return the message."""
    Path("c.yaml").write_text(CONFIG.format(path=path))
    result = bptrain("fit", "c.yaml", *words)
    assert result.exit_code == code, result.output
    assert len(result.stderr.strip().splitlines()) <= 6
    assert "Traceback" not in result.stderr
    assert not Path("runs").exists()
    return str(result.stderr)


def check(bptrain: Callable, broken: Broken) -> None:
    for path, content in {"t.csv": broken.content, **broken.files}.items():
        Path(path).write_bytes(content)
    said = refused(bptrain, "t.csv", broken.words, broken.code)
    assert broken.said in said
    assert broken.also in said
    if broken.code == 3:
        assert said.startswith(("error: t.csv: ", "error: other.csv: "))


@pytest.mark.parametrize("name", TABLES)
def test_a_broken_table_is_refused(bptrain: Callable, name: str) -> None:
    check(bptrain, TABLES[name])


def test_what_is_no_file_is_refused_without_waiting_for_it(bptrain: Callable) -> None:
    Path("folder").mkdir()
    os.mkfifo("pipe")
    assert "is a directory" in refused(bptrain, "folder")
    assert "is no file" in refused(bptrain, "pipe")
    assert "is no file" in refused(bptrain, "/dev/zero")
    assert "not found" in refused(bptrain, "nowhere")


def damaged(content: bytes, draw: random.Random) -> bytes:
    """Return a file cut short, or with some of its bytes replaced."""
    if draw.random() < 0.3:
        return content[: draw.randrange(len(content))]
    data = bytearray(content)
    for _ in range(draw.choice((1, 2, 8))):
        data[draw.randrange(len(data))] = draw.choice((0, 10, 34, 44, 255, draw.randrange(256)))
    return bytes(data)


def test_a_file_with_random_damage_is_read_or_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    draw = random.Random(0)
    read = 0
    for _ in range(400):
        Path("t").write_bytes(damaged(table(), draw))
        with suppress(DataError):  # whatever else is raised fails the test
            TableConfig(path="t", target="y").build(0)
            read += 1
    assert 0 < read < 200
