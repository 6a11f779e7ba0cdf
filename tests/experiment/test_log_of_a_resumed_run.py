"""A resumed run says what has changed in its logs since the checkpoint."""

from collections.abc import Callable
from pathlib import Path

import pytest
from small_files import CONFIGS
from typer.testing import Result

from bptrain.rundir.file_digests import FileDigests

Bptrain = Callable[..., Result]
SMALL = [CONFIGS / "digits_mlp.yaml", "model.hidden=[8]", "data.batch_size=400"]
CHANGED = "has changed since the checkpoint"


def trained(bptrain: Bptrain, steps: int, *words: str) -> Result:
    result = bptrain(
        "fit", *SMALL, "monitor.log_every=2", f"train.steps={steps}", "--run-dir", "run", *words
    )
    assert result.exit_code == 0, result.stderr
    return result


@pytest.mark.parametrize("pattern", ["metrics.jsonl", "tensorboard/events*"])
def test_a_flipped_bit_is_told_once_and_the_run_continues(bptrain: Bptrain, pattern: str) -> None:
    trained(bptrain, 4)
    (path,) = Path("run").glob(pattern)
    content = bytearray(path.read_bytes())
    content[10] ^= 1
    path.write_bytes(content)
    assert f"{path.name} {CHANGED}" in trained(bptrain, 6, "--resume").stdout
    assert CHANGED not in trained(bptrain, 8, "--resume").stdout


def test_logs_that_are_as_they_were_are_not_mentioned(bptrain: Bptrain) -> None:
    trained(bptrain, 4)
    assert CHANGED not in trained(bptrain, 6, "--resume").stdout


def test_of_a_file_that_grows_each_byte_is_read_once(tmp_path: Path) -> None:
    path, digests = tmp_path / "log", FileDigests()
    path.write_bytes(b"one")
    first = digests.of(path, 3)
    path.write_bytes(b"onetwo")
    assert digests.of(path, 6) == FileDigests().of(path, 6) != first
    assert digests.of(path, 3) == first
    assert digests.of(path, 7) is None
    assert digests.of(tmp_path / "gone", 0) is None
