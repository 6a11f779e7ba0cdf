"""A language model of many tokens trains without its logits in memory as a whole."""

from collections.abc import Callable
from importlib import import_module
from pathlib import Path

import pytest
import torch
from torch import Tensor

from bptrain.config import load_config
from bptrain.experiment.build import Experiment, build
from bptrain.experiment.config import ExperimentConfig
from bptrain.experiment.plan import plan
from bptrain.monitor.watched_engine import WatchedEngine
from bptrain.tape import patterns
from bptrain.tape.calls import Call
from bptrain.train.evaluate import sums_of_step
from bptrain.train.loop import fit

TEXT = "".join(map(chr, range(0x4E00, 0x4E40))) * 20  # 64 characters
CLASSES = 65  # and one for any other
CONFIG = """\
data: {kind: text, path: text.txt, window: 8, batch_size: 4}
model: {kind: rnn, cell: gru, hidden: 6, dropout: 0.1}
optimizer: {kind: adam, lr: 0.02}
train: {steps: 6}
monitor: {log_every: 100}
"""
SMOOTHED = ("loss.kind=cross_entropy", "loss.label_smoothing=0.1")


@pytest.fixture
def config(
    tmp_path: Path, bptrain: Callable, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., ExperimentConfig]:
    """Return the config with keys changed; 32 x CLASSES logits are many, in chunks of 8."""
    monkeypatch.setattr(patterns, "LARGE", 32 * CLASSES)
    monkeypatch.setattr(import_module("bptrain.ops.linear_cross_entropy"), "CHUNK", 8 * CLASSES)
    (tmp_path / "text.txt").write_text(TEXT, encoding="utf-8")
    (tmp_path / "text.yaml").write_text(CONFIG)
    return lambda *words: load_config(ExperimentConfig, tmp_path / "text.yaml", list(words))


def trained(config: ExperimentConfig) -> tuple[Experiment, list[Tensor], list[float]]:
    """Train; return the experiment, the loss of each step, and the metric of each."""
    experiment = build(plan(config))
    metric, losses, perplexities = experiment.training_metric, [], []
    for report in fit(experiment.engine, experiment.batches, experiment.update, 6):
        losses.append(report.loss)
        (sums,) = sums_of_step(metric, report)
        perplexities.append(metric.values(sums.tolist())["perplexity"])
    return experiment, losses, perplexities


def operations(experiment: Experiment) -> set[str]:
    programs = experiment.engine._programs.values()
    entries = [entry for program in programs for entry in program.entries]
    return {each.operation.name for each in entries if isinstance(each, Call)}


@pytest.mark.parametrize(("precision", "tolerance"), [("fp32", 1e-5), ("bf16", 1e-2)])
def test_it_trains_as_by_autograd(
    config: Callable[..., ExperimentConfig], precision: str, tolerance: float
) -> None:
    ours, losses, perplexities = trained(config(f"precision={precision}"))
    assert ours.engine.reasons == []
    assert "linear_cross_entropy" in operations(ours)
    assert "linear" not in operations(ours)
    _, expected, wanted = trained(config(f"precision={precision}", "engine=autograd"))
    torch.testing.assert_close(losses, expected, rtol=tolerance, atol=0)
    torch.testing.assert_close(perplexities, wanted, rtol=4 * tolerance, atol=0)
    torch.testing.assert_close(perplexities, [float(each.exp()) for each in losses])


def test_not_where_the_metric_reads_the_outputs(config: Callable[..., ExperimentConfig]) -> None:
    experiment, losses, perplexities = trained(config(*SMOOTHED))
    assert {"linear", "cross_entropy"} <= operations(experiment)
    assert all(p < float(loss.exp()) for p, loss in zip(perplexities, losses, strict=True))


def test_few_characters_keep_their_logits(config: Callable[..., ExperimentConfig]) -> None:
    patterns.LARGE += 1
    assert {"linear", "cross_entropy"} <= operations(trained(config())[0])


def test_a_step_that_is_observed_computes_the_same(
    config: Callable[..., ExperimentConfig],
) -> None:
    experiment, losses, _ = trained(config())
    observed = build(plan(config()))
    engine = WatchedEngine(observed.engine)
    watch = engine.watch_next(batches=6)
    steps = fit(engine, observed.batches, observed.update, 6)
    assert all(map(torch.equal, losses, [each.loss for each in steps]))
    assert all(map(torch.equal, experiment.model.parameters(), observed.model.parameters()))
    assert any("activation" in tag and "output" in tag for tag in watch.observed(None).numbers)


def test_the_tape_shows_what_is_kept(
    config: Callable[..., ExperimentConfig], bptrain: Callable
) -> None:
    text = bptrain("tape", "text.yaml").stdout
    assert "linear_cross_entropy_fused_forward" in text
    assert f"32, {CLASSES}]" not in text  # the logits
    assert f"32, {CLASSES}]" in bptrain("tape", "text.yaml", *SMOOTHED).stdout
