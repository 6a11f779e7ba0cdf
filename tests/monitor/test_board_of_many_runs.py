"""Runs of different networks in one folder: what TensorBoard makes of their boards."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from hyperparameter_table import hyperparameter_table
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.hparams import api_pb2
from typer.testing import Result

from bptrain.experiment.config import ExperimentConfig
from bptrain.experiment.stored_config import hyperparameters_of
from bptrain.monitor.tensorboard import Board

Position = dict[str, int]
SHALLOW = {"optimizer.lr": 0.1, "model.hidden": "[8]"}
RECURRENT = {"optimizer.lr": 0.3, "model.cell": "lstm"}


def write(
    directory: Path,
    hyperparameters: Mapping[str, float | str],
    layers: list[str],
    position: Position | None = None,
    ends: bool = True,
) -> Position:
    """Write a short run of a network, or what follows after a position."""
    with Board(directory, "name: x\n", hyperparameters, ["accuracy"], position, 2) as board:
        for step in (1, 2) if position is None else (3, 4):
            norms = {f"grad/layer/{layer}": 1.0 for layer in layers}
            board.write(step, {"train/loss": 1 / step, "val/accuracy": step / 4, **norms})
        reached = board.position()
        if ends:
            board.write(4, {"test/accuracy": 0.75})
            board.conclude(4)
    return reached


def metrics(group: Any) -> dict[str, float]:
    return {each.name.tag: each.value for each in group.metric_values}


def test_the_hyperparameters_of_all_networks_are_columns_and_the_last_metrics_are_there(
    tmp_path: Path,
) -> None:
    write(tmp_path / "mlp", SHALLOW, ["linear1"])
    write(tmp_path / "lstm", RECURRENT, ["lstm"])
    keys, known, rows = hyperparameter_table(tmp_path)
    assert set(keys) == {"optimizer.lr", "model.hidden", "model.cell"}
    assert keys[0] == "optimizer.lr"  # those that differ come first
    assert set(rows) == {"mlp", "lstm"}
    assert rows["mlp"].hparams["optimizer.lr"].number_value == 0.1
    assert rows["lstm"].hparams["model.cell"].string_value == "lstm"
    assert metrics(rows["mlp"])["test/accuracy"] == 0.75
    assert metrics(rows["mlp"])["val/accuracy"] == 0.5
    assert known[:2] == ["Curves/train_loss", "Curves/val_accuracy"]  # shown before the others
    assert rows["mlp"].sessions[0].status == api_pb2.STATUS_SUCCESS


def test_a_run_that_is_killed_and_resumed_stays_one_row(tmp_path: Path) -> None:
    position = write(tmp_path / "mlp", SHALLOW, ["linear1"], ends=False)
    (row,) = hyperparameter_table(tmp_path)[2].values()
    assert row.sessions[0].status == api_pb2.STATUS_UNKNOWN  # it has not ended
    write(tmp_path / "mlp", SHALLOW, ["linear1"], position)  # killed after its end
    write(tmp_path / "mlp", SHALLOW, ["linear1"], position)
    (row,) = hyperparameter_table(tmp_path)[2].values()
    (session,) = row.sessions
    assert session.status == api_pb2.STATUS_SUCCESS
    assert metrics(row)["val/accuracy"] == 1.0
    assert metrics(row)["test/accuracy"] == 0.75


def test_charts_are_the_same_for_every_network(tmp_path: Path) -> None:
    """TensorBoard shows each chart of a run that differs from those of the runs before."""
    layouts = set()
    for name, layers in {"mlp": ["linear1", "linear2"], "lstm": ["lstm"]}.items():
        write(tmp_path / name, SHALLOW, layers)
        board = EventAccumulator(str(tmp_path / name))
        board.Reload()
        (event,) = board.Tensors("custom_scalars__config__")
        layouts.add(event.tensor_proto.string_val[0])
    assert len(layouts) == 1


def test_losses_come_before_all_other_curves(tmp_path: Path) -> None:
    write(tmp_path / "mlp", SHALLOW, ["linear1"])
    board = EventAccumulator(str(tmp_path / "mlp"))
    board.Reload()
    curves = sorted(board.Tags()["scalars"])  # as TensorBoard does
    assert curves[:2] == ["Curves/train_loss", "Curves/val_accuracy"]


def test_hyperparameters_are_the_keys_of_the_config() -> None:
    config = ExperimentConfig.model_validate(
        {
            "name": "x",
            "data": {"kind": "xor", "noise": 0.5},
            "model": {"kind": "mlp", "hidden": [8, 4]},
            "optimizer": {"kind": "sgd", "lr": 0.25, "nesterov": False},
        }
    )
    found = hyperparameters_of(config)
    expected = {
        "data.kind": "xor",
        "data.noise": 0.5,
        "model.hidden": "[8, 4]",
        "optimizer.lr": 0.25,
        "optimizer.nesterov": "False",
        "seed": 0,
    }
    assert expected.items() <= found.items()
    assert "name" not in found
    assert "loss" not in found  # null: the default of the data's task


@pytest.mark.parametrize("stopping", ["", "train.early_stopping={patience: 1, min_delta: 9}"])
def test_a_run_has_one_row_with_its_final_metrics(
    bptrain: Callable[..., Result], tmp_path: Path, stopping: str
) -> None:
    text = "name: x\ndata: {kind: xor, samples: 100, batch_size: 50}\nmodel: {kind: mlp}\n"
    (tmp_path / "x.yaml").write_text(text)
    words = ["fit", "x.yaml", "train.epochs=4", *([stopping] if stopping else [])]
    result = bptrain(*words, "--run-dir", "runs/one")
    assert result.exit_code == 0, result.stderr
    (row,) = hyperparameter_table(tmp_path / "runs")[2].values()
    assert row.sessions[0].status == api_pb2.STATUS_SUCCESS
    assert row.hparams["data.samples"].number_value == 100
    assert {"val/loss", "val/accuracy", "test/loss", "test/accuracy"} <= metrics(row).keys()
