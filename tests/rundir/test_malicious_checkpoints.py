"""Whatever lies under a checkpoint's name, reading it runs nothing, writes nothing and ends."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from checkpoints import state_at
from malicious_checkpoints import ATTACKS

from bptrain.errors import CheckpointError
from bptrain.rundir.checkpoint import read_checkpoint, write_checkpoint
from bptrain.rundir.manifest import read_manifest

READER = Path(__file__).parent / "read_under_audit.py"


@pytest.mark.parametrize("harm", ATTACKS.values(), ids=ATTACKS)
def test_a_malicious_checkpoint_is_an_error_of_few_lines(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, harm: Callable[[Path], object]
) -> None:
    monkeypatch.chdir(tmp_path)
    path = write_checkpoint(tmp_path / "checkpoints", state_at(2))
    harm(path)
    with pytest.raises(CheckpointError) as refused:
        read_checkpoint(path)
    assert str(refused.value.what).startswith(str(path))
    assert len(str(refused.value).splitlines()) <= 6
    assert not (tmp_path / "bptrain-was-here").exists()


def test_reading_malicious_checkpoints_does_nothing_but_read(tmp_path: Path) -> None:
    folders = []
    for number, harm in enumerate(ATTACKS.values()):
        directory = tmp_path / str(number) / "checkpoints"
        write_checkpoint(directory, state_at(1, 0.5))
        harm(write_checkpoint(directory, state_at(2, 0.1)))
        folders.append(str(directory))
    valid = tmp_path / "valid"
    write_checkpoint(valid, state_at(1, 0.5))
    ran = subprocess.run(
        [sys.executable, READER],
        input=json.dumps([str(valid), *folders]),
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": str(READER.parents[2])},
        cwd=tmp_path,
        timeout=300,
    )
    assert ran.returncode == 0, ran.stderr
    report = json.loads(ran.stdout)
    assert {"import", "os.system"} <= set(report.pop("seen"))
    assert len(report) == len(ATTACKS) >= 20
    for name, (newest, best, errors, events) in zip(ATTACKS, report.values(), strict=True):
        assert (newest, best, len(errors)) == ("step-000001", "step-000001", 1), name
        assert events == [], name
    assert not (tmp_path / "bptrain-was-here").exists()


def test_a_pipe_that_takes_a_files_name_after_the_look_at_it_is_not_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_checkpoint(tmp_path, state_at(1)) / "manifest.json"
    status = path.lstat()
    path.unlink()
    os.mkfifo(path)
    real = Path.lstat
    monkeypatch.setattr(Path, "lstat", lambda it: status if it == path else real(it))
    with pytest.raises(CheckpointError, match="damaged"):
        read_manifest(path.parent, ("model.safetensors",))
