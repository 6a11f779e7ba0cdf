"""Checkpoints: whole or absent, verified, and the optimizer goes on as if never stopped."""

import json
import os
from pathlib import Path

import pytest
import torch
from torch import nn

from bptrain.errors import CheckpointError, StorageError
from bptrain.optim.adagrad import AdagradConfig, RMSpropConfig
from bptrain.optim.adam import AdamConfig, AdamWConfig, NAdamConfig, RAdamConfig
from bptrain.optim.muon import MuonConfig
from bptrain.optim.sgd import SGDConfig
from bptrain.train.checkpoint import (
    best_checkpoint,
    list_checkpoints,
    prune,
    read_checkpoint,
    write_checkpoint,
)
from bptrain.train.state import TrainingState, capture, restore_optimizer


def state_at(step: int, loss: float | None = None) -> TrainingState:
    values = {"step": step} | ({} if loss is None else {"val/loss": loss})
    return TrainingState({"w": torch.full((3,), float(step))}, {"0.m": torch.ones(2)}, values)


def step_once(model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
    def loss() -> torch.Tensor:
        optimizer.zero_grad()
        value = ((model(torch.arange(6.0).view(2, 3)) - 1) ** 2).sum()
        value.backward()
        return value

    optimizer.step(loss)


def small_model() -> nn.Module:
    return nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.LayerNorm(4), nn.Linear(4, 2))


@pytest.mark.parametrize(
    "config",
    [
        SGDConfig(momentum=0.9, nesterov=True, weight_decay=0.1),
        SGDConfig(momentum=0.0),
        AdamConfig(),
        AdamWConfig(),
        RMSpropConfig(momentum=0.5),
        AdagradConfig(lr_decay=0.1),
        NAdamConfig(),
        RAdamConfig(),
        AdamWConfig(decay_norm_and_bias=False),
        MuonConfig(),
        MuonConfig(decay_norm_and_bias=False),
    ],
    ids=lambda config: " ".join(str(value) for value in config.model_dump().values()),
)
def test_a_restored_optimizer_takes_the_very_same_next_step(
    tmp_path: Path, config: SGDConfig
) -> None:
    torch.manual_seed(0)
    model = small_model()
    optimizer = config.build(model)
    for _ in range(3):
        step_once(model, optimizer)
    path = write_checkpoint(tmp_path, capture(model, optimizer, {"step": 3}))

    restored = small_model()
    state = read_checkpoint(path)
    restored.load_state_dict(state.model)
    other = config.build(restored)
    restore_optimizer(other, state)
    for _ in range(2):
        before = [p.detach().clone() for p in model.parameters()]
        for each in ((model, optimizer), (restored, other)):
            step_once(*each)
        for mine, theirs, old in zip(
            restored.parameters(), model.parameters(), before, strict=True
        ):
            assert mine.equal(theirs)
            assert not mine.equal(old)


def test_a_checkpoint_holds_the_documented_files(tmp_path: Path) -> None:
    path = write_checkpoint(tmp_path, state_at(500))
    assert path.name == "step-000500"
    manifest = json.loads((path / "manifest.json").read_text())
    assert set(manifest) == {"model.safetensors", "optimizer.safetensors", "state.json"}
    assert {each.name for each in path.iterdir()} == {*manifest, "manifest.json"}
    assert [each.name for each in tmp_path.iterdir()] == ["step-000500"]


@pytest.mark.parametrize(
    "name", ["model.safetensors", "optimizer.safetensors", "state.json", "manifest.json"]
)
@pytest.mark.parametrize("harm", ["truncate", "flip", "remove", "empty"])
def test_every_damage_is_found(tmp_path: Path, name: str, harm: str) -> None:
    path = write_checkpoint(tmp_path, state_at(1)) / name
    content = path.read_bytes()
    match harm:
        case "truncate":
            path.write_bytes(content[:-1])
        case "flip":
            middle = len(content) // 2
            changed = bytes([content[middle] ^ 1])
            path.write_bytes(content[:middle] + changed + content[middle + 1 :])
        case "remove":
            path.unlink()
        case "empty":
            path.write_bytes(b"")
    with pytest.raises(CheckpointError):
        read_checkpoint(path.parent)


def test_a_write_that_fails_leaves_the_old_ones_and_no_new_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_checkpoint(tmp_path, state_at(1))

    def fail(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(StorageError, match="step-000002"):
        write_checkpoint(tmp_path, state_at(2))
    assert [path.name for path in list_checkpoints(tmp_path)] == ["step-000001"]
    monkeypatch.undo()
    write_checkpoint(tmp_path, state_at(2))  # what the failed one left is no hindrance
    assert read_checkpoint(tmp_path / "step-000002").values["step"] == 2


def test_the_manifest_is_written_after_every_other_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    order = []
    from bptrain.train import sealed

    real = sealed.write_durably

    def watch(path: Path, content: bytes) -> None:
        order.append(path.name)
        real(path, content)

    monkeypatch.setattr(sealed, "write_durably", watch)
    write_checkpoint(tmp_path, state_at(1))
    assert order[-1] == "manifest.json"
    assert len(order) == 4


def test_the_best_is_the_one_of_least_validation_loss(tmp_path: Path) -> None:
    for step, loss in ((1, 0.5), (2, 0.2), (3, 0.4), (4, None)):
        write_checkpoint(tmp_path, state_at(step, loss))
    assert best_checkpoint(tmp_path).name == "step-000002"


def test_without_validation_the_last_is_the_best(tmp_path: Path) -> None:
    for step in (9, 1_000_000, 10):
        write_checkpoint(tmp_path, state_at(step))
    assert best_checkpoint(tmp_path).name == "step-1000000"


def test_pruning_keeps_the_newest_and_the_best(tmp_path: Path) -> None:
    for step, loss in ((1, 0.1), (2, 0.9), (3, 0.8), (4, 0.7)):
        write_checkpoint(tmp_path, state_at(step, loss))
    prune(tmp_path, keep_last=2)
    kept = [path.name for path in list_checkpoints(tmp_path)]
    assert kept == ["step-000001", "step-000003", "step-000004"]


def test_no_checkpoint_is_an_error_and_not_a_crash(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="no checkpoint"):
        best_checkpoint(tmp_path)


def test_a_pickle_under_our_name_is_never_opened(tmp_path: Path) -> None:
    import pickle

    class Bomb:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return (os.mkdir, (str(tmp_path / "owned"),))

    path = write_checkpoint(tmp_path, state_at(1))
    content = pickle.dumps(Bomb())
    (path / "model.safetensors").write_bytes(content)
    manifest = json.loads((path / "manifest.json").read_text())
    from hashlib import sha256

    manifest["model.safetensors"] = {
        "bytes": len(content),
        "sha256": sha256(content).hexdigest(),
    }
    (path / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(CheckpointError, match="not a checkpoint"):
        read_checkpoint(path)
    assert not (tmp_path / "owned").exists()


def test_a_weight_that_two_layers_share_is_there_under_both_names(tmp_path: Path) -> None:
    model = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3))
    model[1].weight = model[0].weight
    state = capture(model, SGDConfig().build(model), {"step": 1})
    read = read_checkpoint(write_checkpoint(tmp_path, state))
    assert read.model["0.weight"].equal(model[0].weight)
    assert read.model["1.weight"].equal(model[0].weight)
    model.load_state_dict(read.model)
