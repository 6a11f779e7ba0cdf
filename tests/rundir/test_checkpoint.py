"""Checkpoints: whole or absent, verified, and the optimizer continues as if never stopped."""

import json
import os
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from checkpoints import state_at
from torch import nn

from bptrain.errors import CheckpointError, StorageError
from bptrain.optim.adagrad import AdagradConfig, RMSpropConfig
from bptrain.optim.adam import AdamConfig, AdamWConfig, NAdamConfig, RAdamConfig
from bptrain.optim.lbfgs import LBFGSConfig
from bptrain.optim.muon import MuonConfig
from bptrain.optim.sgd import SGDConfig
from bptrain.rundir.checkpoint import (
    best_checkpoint,
    give_parts,
    list_checkpoints,
    newest_valid,
    prune,
    read_checkpoint,
    write_checkpoint,
)
from bptrain.rundir.training_state import TrainingState
from bptrain.train.states import OptimizerState


def step_once(model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
    def loss() -> torch.Tensor:
        optimizer.zero_grad()
        value = ((model(torch.arange(6.0).view(2, 3)) - 1) ** 2).sum()
        value.backward()
        return value

    optimizer.step(loss)


def small_model() -> nn.Module:
    return nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.LayerNorm(4), nn.Linear(4, 2))


def test_parts_are_given_in_the_order_in_which_a_checkpoint_asks_for_the_whole(
    tmp_path: Path,
) -> None:
    state = state_at(3)
    asked: list[torch.Tensor] = []
    given: list[torch.Tensor] = []
    write_checkpoint(tmp_path, state, lambda each: (asked.append(each), each + 1)[1])
    give_parts(state, lambda each: (given.append(each), each)[1])
    assert len(asked) >= 2
    assert all(a is b for a, b in zip(asked, given, strict=True))
    written = newest_valid(tmp_path)[1].model
    assert all(written[name].equal(each + 1) for name, each in state.model.items())


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
        LBFGSConfig(iterations=3, history=4),
        LBFGSConfig(iterations=1, lr=0.01, line_search=None),
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
    path = write_checkpoint(
        tmp_path,
        TrainingState(
            3, {"model": model.state_dict(), "optimizer": OptimizerState(optimizer).state()}
        ),
    )

    restored = small_model()
    state = read_checkpoint(path)
    restored.load_state_dict(state.model)
    other = config.build(restored)
    OptimizerState(other).restore(state.states["optimizer"])
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
    assert read_checkpoint(tmp_path / "step-000002").step == 2


def test_the_manifest_is_written_after_every_other_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    order = []
    from bptrain.rundir import manifest as sealed

    real = sealed.write_parts

    def watch(path: Path, parts: Iterable[bytes | memoryview]) -> None:
        order.append(path.name)
        real(path, parts)

    monkeypatch.setattr(sealed, "write_parts", watch)
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
    names = [path.name for path in list_checkpoints(tmp_path)]
    assert names == ["step-000001", "step-000003", "step-000004"]


def test_no_checkpoint_is_an_error_and_not_a_crash(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="no checkpoint"):
        best_checkpoint(tmp_path)


def rot(directory: Path, *steps: int, name: str = "model.safetensors") -> None:
    """Turn a bit in the middle of a file without changing its size."""
    for step in steps:
        path = directory / f"step-{step:06d}" / name
        content = bytearray(path.read_bytes())
        content[len(content) // 2] ^= 1
        path.write_bytes(content)


def save(directory: Path, *losses: float, first: int = 1) -> Path:
    """Write checkpoints with validation losses, from a step on, and return the last."""
    for step, loss in enumerate(losses, start=first):
        path = write_checkpoint(directory, state_at(step, loss))
    return path


def steps_in(directory: Path) -> list[int]:
    return [int(path.name[-6:]) for path in list_checkpoints(directory)]


def test_the_newest_valid_one_is_found_and_newer_damaged_ones_are_reported(tmp_path: Path) -> None:
    save(tmp_path, 0.4, 0.3, 0.2, 0.1)
    rot(tmp_path, 4)
    (tmp_path / "step-000003" / "state.json").unlink()
    path, state, errors = newest_valid(tmp_path)
    assert (path.name, state.step) == ("step-000002", 2)
    assert [error.what.split(": ")[0] for error in errors] == [
        str(tmp_path / "step-000004" / "model.safetensors"),
        str(tmp_path / "step-000003" / "state.json"),
    ]


def test_when_none_verifies_the_error_counts_them_and_gives_the_newest_ones_reason(
    tmp_path: Path,
) -> None:
    save(tmp_path, 0.3, 0.2)
    rot(tmp_path, 1, 2)
    for find in (newest_valid, best_checkpoint):
        with pytest.raises(CheckpointError, match="none of 2 checkpoints") as refused:
            find(tmp_path)
        assert "step-000002" in refused.value.why
        assert "checksum" in refused.value.why


def test_the_best_is_chosen_among_the_valid(tmp_path: Path) -> None:
    save(tmp_path, 0.1, 0.3, 0.2, 0.4)
    rot(tmp_path, 1)
    assert best_checkpoint(tmp_path).name == "step-000003"
    rot(tmp_path, 3, name="state.json")
    assert best_checkpoint(tmp_path).name == "step-000002"


def test_of_equal_losses_the_newest_is_the_best(tmp_path: Path) -> None:
    save(tmp_path, 0.2, 0.1, 0.1)
    assert best_checkpoint(tmp_path).name == "step-000003"


def test_an_unvalidated_one_is_the_best_only_where_no_validated_one_is_valid(
    tmp_path: Path,
) -> None:
    save(tmp_path, 0.2, 0.1)
    write_checkpoint(tmp_path, state_at(3))
    rot(tmp_path, 2)
    assert best_checkpoint(tmp_path).name == "step-000001"
    rot(tmp_path, 1)
    assert best_checkpoint(tmp_path).name == "step-000003"


def test_a_damaged_checkpoint_does_not_count_towards_keep_last(tmp_path: Path) -> None:
    save(tmp_path, 0.1, 0.5, 0.4, 0.3, 0.2)
    rot(tmp_path, 4)
    prune(tmp_path, keep_last=2)
    assert steps_in(tmp_path) == [1, 3, 4, 5]
    save(tmp_path, 0.6, 0.7, first=6)
    prune(tmp_path, keep_last=2)
    assert steps_in(tmp_path) == [1, 6, 7]  # the damaged one's turn has come


def test_damaged_ones_from_before_a_resume_do_not_push_out_new_ones(
    tmp_path: Path,
) -> None:
    save(tmp_path, 0.5, 0.4, 0.3, 0.2)
    rot(tmp_path, 3, 4)
    prune(tmp_path, 1, write_checkpoint(tmp_path, state_at(2, 0.6)))  # resumed from step 1
    assert {2, 1} <= set(steps_in(tmp_path))  # the newest valid one and the best valid one
    assert newest_valid(tmp_path)[1].metrics["val/loss"] == 0.6


def test_pruning_after_a_save_trusts_what_was_just_written_and_looks_at_the_rest(
    tmp_path: Path,
) -> None:
    written = save(tmp_path, 0.9, 0.8, 0.7, 0.6)
    (tmp_path / "step-000003" / "optimizer.safetensors").write_bytes(b"")
    prune(tmp_path, 2, written)
    assert steps_in(tmp_path) == [2, 3, 4]


def test_what_was_just_written_stays_whatever_else_is_there(tmp_path: Path) -> None:
    save(tmp_path, 0.1, 0.1, 0.1, 0.1)
    prune(tmp_path, 1, write_checkpoint(tmp_path, state_at(2, 0.9)))
    assert 2 in steps_in(tmp_path)


def test_pruning_removes_nothing_while_too_few_are_valid(tmp_path: Path) -> None:
    save(tmp_path, 0.1, 0.2, 0.3)
    rot(tmp_path, 1, 2, 3)
    prune(tmp_path, keep_last=1)
    assert steps_in(tmp_path) == [1, 2, 3]


def test_a_checkpoint_of_the_same_step_is_replaced_valid_or_not(tmp_path: Path) -> None:
    save(tmp_path, 0.5)
    for loss in (0.4, 0.3):
        path = save(tmp_path, loss)
        assert read_checkpoint(path).metrics["val/loss"] == loss
        assert [each.name for each in tmp_path.iterdir()] == ["step-000001"]
        rot(tmp_path, 1)


def test_one_whose_replacement_was_cut_off_still_counts_and_gets_its_name_back(
    tmp_path: Path,
) -> None:
    save(tmp_path, 0.5, 0.4)
    (tmp_path / "step-000002").rename(tmp_path / ".replaced-step-000002")
    assert newest_valid(tmp_path)[1].step == 2
    assert best_checkpoint(tmp_path).name == ".replaced-step-000002"
    save(tmp_path, 0.3, first=3)
    assert sorted(each.name for each in tmp_path.iterdir()) == [
        f"step-00000{step}" for step in (1, 2, 3)
    ]


def test_what_a_killed_run_left_is_removed_by_the_next_save(tmp_path: Path) -> None:
    save(tmp_path, 0.5)
    for name in (".unfinished-step-000007", ".removed-step-000003", ".replaced-step-000001"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "model.safetensors").write_bytes(b"half")
    (tmp_path / ".unfinished-step-000008").symlink_to(tmp_path / "step-000001")
    save(tmp_path, 0.4, first=2)
    assert sorted(each.name for each in tmp_path.iterdir()) == ["step-000001", "step-000002"]
    assert read_checkpoint(tmp_path / "step-000001").step == 1


def test_other_names_in_the_folder_are_not_checkpoints(tmp_path: Path) -> None:
    save(tmp_path, 0.5)
    for name in ("step-12", "step-000002.bak", "step-latest", "mine"):
        (tmp_path / name).mkdir()
    assert [path.name for path in list_checkpoints(tmp_path)] == ["step-000001"]
    prune(tmp_path, 1, save(tmp_path, 0.1, first=2))
    assert (tmp_path / "mine").is_dir()


def test_a_renamed_checkpoint_is_not_taken_for_another_step(tmp_path: Path) -> None:
    save(tmp_path, 0.5).rename(tmp_path / "step-000900")
    with pytest.raises(CheckpointError, match="holds step-000001"):
        read_checkpoint(tmp_path / "step-000900")
    (tmp_path / "step-000900").rename(tmp_path / "a copy of mine")
    assert read_checkpoint(tmp_path / "a copy of mine").step == 1


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"metrics": {"val/loss": float("nan")}}, "JSON"),
        ({"metrics": {1: 0, "1": 0}}, "canonical"),
        ({"metrics": {"val/loss": "0.1"}}, "metrics/val/loss"),
        ({"states": {"model": {}, "long": "x" * 2**24}}, "bytes"),
        ({"step": -1}, "step"),
    ],
    ids=["NaN", "a key twice", "text", "too long", "below zero"],
)
def test_values_that_could_not_be_read_back_are_not_written(
    tmp_path: Path, values: dict[str, Any], message: str
) -> None:
    state = replace(state_at(1), **values)
    with pytest.raises(ValueError, match=message):
        write_checkpoint(tmp_path / "checkpoints", state)
    assert list_checkpoints(tmp_path / "checkpoints") == []


def test_a_weight_that_two_layers_share_is_there_under_both_names(tmp_path: Path) -> None:
    model = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3))
    model[1].weight = model[0].weight
    state = TrainingState(1, {"model": model.state_dict()})
    read = read_checkpoint(write_checkpoint(tmp_path, state))
    assert read.model["0.weight"].equal(model[0].weight)
    assert read.model["1.weight"].equal(model[0].weight)
    model.load_state_dict(read.model)
