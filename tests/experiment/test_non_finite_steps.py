"""After a step that is not finite a run stops, skips it, or rolls back; `replay` repeats it."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from typer.testing import Result

from bptrain.data.batches import Batch, Batches
from bptrain.experiment import step_guard
from bptrain.monitor.run_log import RunLog
from bptrain.rundir.checkpoint import list_checkpoints, read_checkpoint
from bptrain.tape.layer_gradients import LayerGradients
from bptrain.train.finite import not_finite
from bptrain.verify.run_equality import compare_runs

Bptrain = Callable[..., Result]
DIGITS = "data: {kind: digits, batch_size: 128}\n"  # 11 batches an epoch
CONFIGS = {
    "mlp": DIGITS
    + "model: {kind: mlp, hidden: [16, 16], normalization: batch, dropout: 0.1}\n"
    + "optimizer: {kind: sgd, lr: 0.1, momentum: 0.9}\n",
    "cnn": DIGITS
    + "model: {kind: cnn, stages: [{channels: 4}, {channels: 8}], dropout: 0.1}\n"
    + "optimizer: {kind: rmsprop, lr: 0.01}\n",
    "language model": "data: {kind: text, path: text.txt, window: 8, batch_size: 8}\n"
    "model: {kind: rnn, cell: lstm, hidden: 8, embedding: 6, dropout: 0.1}\n"
    "optimizer: {kind: adamw, lr: 0.01}\n",
}
LENGTH = """\
train: {steps: 30}
monitor: {log_every: 7}
checkpoint: {every_steps: 1, keep_last: 99}
"""
SAMPLE = 1000  # of the training samples


@pytest.fixture
def fit(bptrain: Bptrain) -> Callable[..., Result]:
    """Train a config into the folder `run`."""
    Path("text.txt").write_text("round and round the rugged rock the ragged rascal ran. " * 14)

    def train(kind: str, *words: str, run: str = "run") -> Result:
        Path("config.yaml").write_text(CONFIGS[kind] + LENGTH)
        return bptrain("fit", "config.yaml", *words, "--run-dir", run)

    return train


@pytest.fixture
def spoiled() -> Callable[..., None]:
    """Make training samples NaN, in every batch that has one of them."""

    def spoil(patch: pytest.MonkeyPatch, *samples: int) -> None:
        select, bad = Batches.select, torch.tensor(samples)

        def selected(batches: Batches, device_rows: Any, rows: Any) -> Batch:
            batch = select(batches, device_rows, rows)
            if isinstance(rows, Tensor):  # of training
                (x, *others) = batch.inputs
                is_bad = torch.isin(rows, bad).view(-1, *[1] * (x.dim() - 1))
                batch = batch._replace(inputs=(x.masked_fill(is_bad, float("nan")), *others))
            return batch

        patch.setattr(Batches, "select", selected)

    return spoil


def lines_of(run: str) -> list[dict[str, float]]:
    return [json.loads(line) for line in Path(run, "metrics.jsonl").read_text().splitlines()]


def values_of(run: str, tag: str) -> list[float]:
    return [line[tag] for line in lines_of(run) if tag in line]


def checkpoints_are_finite(run: str) -> bool:
    states = [read_checkpoint(path) for path in list_checkpoints(Path(run, "checkpoints"))]
    return bool(states) and not any(not_finite(state.model) for state in states)


@pytest.mark.parametrize("kind", CONFIGS)
def test_the_step_is_saved_as_it_began_and_repeated(
    bptrain: Bptrain, fit: Callable[..., Result], kind: str
) -> None:
    result = fit(kind, "optimizer.lr=1e20")
    assert result.exit_code == 6
    (folder,) = list_checkpoints(Path("run", "failed"))
    failed = read_checkpoint(folder)
    before = read_checkpoint(Path("run", "checkpoints", f"step-{failed.step - 1:06d}"))
    for name, weight in failed.model.items():
        is_statistic = "running" in name or "num_batches" in name
        assert is_statistic or torch.equal(weight, before.model[name])
    assert torch.equal(*(each.states["generators"]["cpu"] for each in (failed, before)))
    for name, state in (before.states.get("carried") or {}).items():
        assert torch.equal(failed.states["carried"][name], state)
    assert f"step {failed.step}\n" in result.stderr
    assert "`bptrain replay run` repeats the step" in result.stderr

    repeated = bptrain("replay", "run")
    assert repeated.exit_code == 6
    assert repeated.stdout in result.stdout
    assert repeated.stderr.splitlines()[:2] == result.stderr.splitlines()[:2]
    found = json.loads(bptrain("replay", "run", "--json").stdout)
    assert (found["step"], found["finding"]["place"]) == (failed.step, "forward")
    assert found["finding"]["inputs"][0]["range"]["nans"] == 0

    damaged = folder / "optimizer.safetensors"
    damaged.write_bytes(damaged.read_bytes()[:-1])
    refused = bptrain("replay", "run")
    assert (refused.exit_code, refused.stdout) == (4, "")


def test_the_data_is_named_if_it_is_the_cause_and_a_resume_forgets_the_step(
    bptrain: Bptrain,
    fit: Callable[..., Result],
    spoiled: Callable[..., None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert fit("mlp", run="reference").exit_code == 0
    with monkeypatch.context() as patch:
        spoiled(patch, SAMPLE)
        result = fit("mlp")
        found = json.loads(bptrain("replay", "run", "--json").stdout)["finding"]
    assert result.exit_code == 6
    assert "why: the data: the batch's input holds 64 nan of 8,192" in result.stderr
    assert f"(training sample {SAMPLE:,})" in result.stderr
    assert (found["place"], found["layer"], found["operation"]) == ("batch", "linear1", "linear")
    assert fit("mlp", "--resume").exit_code == 0
    assert not Path("run", "failed").exists()
    assert not any(part.difference for part in compare_runs(Path("reference"), Path("run")))
    assert bptrain("replay", "run").exit_code == 4


def test_of_a_table_the_column_is_named_too(
    bptrain: Bptrain, fit: Callable[..., Result], monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [f"{n % 7},{'abc'[n % 3]},{n % 5},{n % 7 - n % 5 / 2}" for n in range(300)]
    Path("table.csv").write_text("\n".join(["size,kind,weight,y", *rows]))
    of_table = ["data={kind: table, path: table.csv, target: y, batch_size: 32}"]
    select = Batches.select

    def selected(batches: Batches, device_rows: Any, rows: Any) -> Batch:
        batch = select(batches, device_rows, rows)
        weights = batch.inputs[0][:, 4]  # after size and three kinds
        weights.masked_fill_(rows == 17 if isinstance(rows, Tensor) else False, float("inf"))
        return batch

    monkeypatch.setattr(Batches, "select", selected)
    result = fit("mlp", *of_table, "loss=null", "train.grad_accum_steps=2")
    assert result.exit_code == 6
    assert "(training sample 17, column weight)" in result.stderr
    assert "(training sample 17, column weight)" in bptrain("replay", "run").stdout


def test_a_step_whose_numbers_are_finite_when_it_is_repeated_is_no_failure(
    bptrain: Bptrain, fit: Callable[..., Result], monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        poison_gradient_of_step(patch, 5)
        result = fit("mlp")
    assert result.exit_code == 6
    assert "the gradient of linear1 is nan at step 5" in result.stderr
    assert "why: one step before, the loss was" in result.stderr
    repeated = bptrain("replay", "run")
    assert (repeated.exit_code, repeated.stderr) == (0, "")
    assert repeated.stdout == "step 5 repeated: every number is finite\n"


def poison_gradient_of_step(patch: pytest.MonkeyPatch, *steps: int) -> None:
    """Make a gradient NaN, once the backward pass of these steps is done."""
    norms, calls = LayerGradients.norms, iter(range(1, 10**6))

    def poisoned(gradients: LayerGradients) -> Tensor:
        if next(calls) in steps:
            gradient = gradients.parameters[0].grad
            assert gradient is not None
            gradient[0] = float("nan")
        return norms(gradients)

    patch.setattr(LayerGradients, "norms", poisoned)


def test_the_updates_after_it_are_withheld_and_with_few_log_lines_it_is_noticed_still(
    fit: Callable[..., Result], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(step_guard, "MOST_STARTS", 10)
    poison_gradient_of_step(monkeypatch, 5)
    rare = ["monitor.log_every=99", "checkpoint.every_steps=99"]
    result = fit("mlp", *rare, "data.batch_size=32")  # 41 steps an epoch
    assert "at step 5\n" in result.stderr
    state = read_checkpoint(Path("run", "failed", "step-000005"))
    assert not not_finite(state.model)


@pytest.mark.parametrize("kind", ["mlp", "cnn", "language model"])
def test_skip_leaves_such_steps_out_and_counts_them(
    fit: Callable[..., Result], monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    poison_gradient_of_step(monkeypatch, 5, 6, 20)
    result = fit(kind, "train.on_non_finite=skip")
    assert result.exit_code == 0, result.stderr
    assert "step skipped: the gradient of" in result.stdout
    assert values_of("run", "train/skipped_steps")[:1] == [2]
    assert values_of("run", "train/skipped_steps")[-1] == 3
    assert checkpoints_are_finite("run")
    models = [read_checkpoint(Path("run", "checkpoints", f"step-{n:06d}")).model for n in (4, 5, 6)]
    for name in models[0]:
        assert torch.equal(models[0][name], models[1][name])
        assert torch.equal(models[0][name], models[2][name])


def test_skip_undoes_what_the_forward_pass_left_behind(
    fit: Callable[..., Result], spoiled: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    spoiled(monkeypatch, SAMPLE)
    result = fit("mlp", "train.on_non_finite=skip", "train.ema_decay=0.9")
    assert result.exit_code == 0, result.stderr
    assert values_of("run", "train/skipped_steps")[-1] == 3  # once an epoch
    assert checkpoints_are_finite("run")


@pytest.mark.parametrize("policy", ["skip", "rollback"])
def test_a_run_whose_steps_are_none_of_them_finite_ends_with_exit_6(
    bptrain: Bptrain,
    fit: Callable[..., Result],
    spoiled: Callable[..., None],
    monkeypatch: pytest.MonkeyPatch,
    policy: str,
) -> None:
    spoiled(monkeypatch, *range(2000))
    result = fit("mlp", f"train.on_non_finite={policy}", "monitor.log_every=2")
    assert result.exit_code == 6
    said = {"skip": "10 steps before it were skipped", "rollback": "rolled back 3 times in a row"}
    assert said[policy] in result.stderr
    assert "why: the data" in result.stderr
    assert bptrain("replay", "run").exit_code == 6
    assert checkpoints_are_finite("run")


def test_rollback_returns_to_the_weights_of_the_last_checkpoint_and_continues(
    fit: Callable[..., Result], monkeypatch: pytest.MonkeyPatch
) -> None:
    poison_gradient_of_step(monkeypatch, 9)
    result = fit("mlp", "train.on_non_finite=rollback", "checkpoint.every_steps=6")
    assert result.exit_code == 0, result.stderr
    assert "rolled back to the weights of step-000006: the gradient of linear1" in result.stdout
    assert values_of("run", "train/rollbacks") == [0, 1, 1, 1, 1, 1, 1]
    assert [line["step"] for line in lines_of("run")][:3] == [7, 11, 14]  # 11 ends the epoch
    assert "train/loss" not in lines_of("run")[1]
    assert "val/loss" in lines_of("run")[1]
    saved, after, later = (
        read_checkpoint(Path("run", "checkpoints", f"step-{n:06d}")).model for n in (6, 11, 12)
    )
    assert all(torch.equal(after[name], weight) for name, weight in saved.items())
    assert not torch.equal(later["linear1.weight"], after["linear1.weight"])
    assert checkpoints_are_finite("run")


def test_rollbacks_with_progress_between_them_are_not_bounded(
    fit: Callable[..., Result], monkeypatch: pytest.MonkeyPatch
) -> None:
    poison_gradient_of_step(monkeypatch, 2, 9, 13, 20, 26)
    result = fit("mlp", "train.on_non_finite=rollback", "checkpoint.every_steps=6")
    assert result.exit_code == 0, result.stderr
    assert values_of("run", "train/rollbacks")[-1] == 5


class Killed(BaseException):
    """The process was killed: no error handler may catch it."""


def killing_at(last_step: int) -> Callable[..., None]:
    """Return a function that ends the run, as a kill does, once a step is taken."""

    def advance(log: RunLog, step: int, epoch: int) -> None:
        log.step = step
        if step == last_step:
            raise Killed

    return advance


@pytest.mark.parametrize("policy", ["skip", "rollback"])
def test_a_resumed_run_goes_on_exactly_and_keeps_counting(
    fit: Callable[..., Result],
    spoiled: Callable[..., None],
    monkeypatch: pytest.MonkeyPatch,
    policy: str,
) -> None:
    spoiled(monkeypatch, SAMPLE)
    words = [f"train.on_non_finite={policy}", "checkpoint.every_steps=4"]
    assert fit("mlp", *words, run="whole").exit_code == 0
    with monkeypatch.context() as patch:
        patch.setattr(RunLog, "advance", killing_at(13))
        with pytest.raises(Killed):
            fit("mlp", *words)
    assert fit("mlp", *words, "--resume").exit_code == 0
    weights, resumed = (
        read_checkpoint(list_checkpoints(Path(run, "checkpoints"))[-1]) for run in ("whole", "run")
    )
    assert all(torch.equal(resumed.model[name], each) for name, each in weights.model.items())
    assert resumed.states["guard"] == weights.states["guard"]
    counts = weights.states["guard"]
    assert counts["skipped" if policy == "skip" else "rollbacks"] == 3
