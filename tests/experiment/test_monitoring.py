"""`monitor.level` and `max_overhead`: what a run logs, and when; its weights do not depend on it.

Between two log lines the host does not wait for the device: no number is read from a tensor.
"""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from csv import DictReader
from dataclasses import replace
from io import StringIO
from itertools import islice
from pathlib import Path
from shutil import rmtree
from typing import Any

import pytest
import torch
from rich.console import Console
from small_files import CONFIGS
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from typer.testing import Result

from bptrain.config import load_config
from bptrain.experiment.build import build
from bptrain.experiment.config import ExperimentConfig
from bptrain.experiment.largest_gradients import sample_norms
from bptrain.experiment.plan import plan
from bptrain.experiment.session import Session
from bptrain.experiment.training import log_of
from bptrain.rundir.checkpoint import last_first, read_checkpoint
from bptrain.stateful import Tree
from bptrain.train.signals import StopRequest

Bptrain = Callable[..., Result]
RUNS = {
    "mlp, accumulated": [CONFIGS / "digits_mlp.yaml", "train.grad_accum_steps=2"],
    "cnn": [CONFIGS / "digits_cnn.yaml", "data.batch_size=50"],
    "fp16": [CONFIGS / "digits_mlp.yaml", "precision=fp16", "train.clip_grad_adaptive=0.1"],
    "lbfgs": [CONFIGS / "digits_lbfgs.yaml"],
    "lstm": [CONFIGS / "adding_lstm.yaml", "model.hidden=8", "data.length=10", "data.samples=1300"],
}
SHORT = ["data.batch_size=100", "monitor.log_every=1"]
OBSERVED = (
    "grad/activation", "grad/time", "grad/sample", "grad/noise", "grad/cosine", "magnitude/",
    "update_ratio", "weight/norm", "activation/",
)  # fmt: skip


def lines(folder: str) -> list[dict[str, Any]]:
    text = Path(folder, "metrics.jsonl").read_text()
    read = [json.loads(line) for line in text.splitlines()]
    timed = ("time_s", "perf/")
    return [{k: v for k, v in each.items() if not k.startswith(timed)} for each in read]


def steps_with(tag: str, folder: str) -> list[int]:
    return [line["step"] for line in lines(folder) if any(key.startswith(tag) for key in line)]


def states(folder: str) -> Tree:
    saved = read_checkpoint(last_first(Path(folder, "checkpoints"))[0])
    others = {k: v for k, v in saved.rest()[1].items() if not k.startswith("monitor/")}
    return {"model": saved.model, "others": others}


@pytest.fixture
def fit(bptrain: Bptrain) -> Callable[..., None]:
    def run(folder: str, *words: Any) -> None:
        result = bptrain("fit", *words, "--run-dir", folder)
        assert result.exit_code == 0, result.stderr

    return run


@pytest.mark.parametrize("engine", ["tape", "autograd"])
@pytest.mark.parametrize("kind", RUNS)
def test_the_level_changes_no_weight(fit: Callable, kind: str, engine: str) -> None:
    words = [*RUNS[kind], *SHORT, "train.steps=3", f"engine={engine}", "monitor.max_overhead=null"]
    fit("basic", *words, "monitor.level=basic")
    fit("full", *words, "monitor.level=full")
    basic, full = states("basic"), states("full")
    for part, tensors in basic.items():
        assert tensors.keys() == full[part].keys()
        assert all(torch.equal(each, full[part][name]) for name, each in tensors.items())
    for ours, more in zip(lines("basic"), lines("full"), strict=True):
        assert ours == {k: v for k, v in more.items() if not k.startswith(OBSERVED)}
    assert steps_with("update_ratio", "full") == [1, 2, 3]
    assert steps_with("update_ratio", "basic") == []


def test_the_config_decides_which_steps_are_observed(fit: Callable) -> None:
    words = [*RUNS["mlp, accumulated"], *SHORT, "train.steps=9"]
    fit("run", *words, "monitor.log_every=2", "monitor.max_overhead=0.25")
    assert steps_with("train/loss", "run") == [2, 4, 6, 7, 8, 9]  # an epoch ends after step 7
    assert steps_with("grad/activation", "run") == [2, 6]  # 4 steps apart at least


def test_a_resumed_run_logs_what_the_run_would_have(fit: Callable) -> None:
    words = [*RUNS["lstm"], *SHORT, "monitor.max_overhead=0.67", "checkpoint.every_steps=2"]
    fit("run", *words, "train.steps=8")
    before = lines("run")
    for path in last_first(Path("run", "checkpoints"))[:2]:  # as if it was killed after step 4
        rmtree(path)
    fit("run", *words, "train.steps=8", "--resume")
    assert lines("run") == before
    assert steps_with("grad/time", "run") == [1, 4, 7]


def test_the_samples_with_the_largest_gradients_are_listed(bptrain: Bptrain) -> None:
    words = ["train.epochs=3", "monitor.max_overhead=null", "monitor.level=full"]
    result = bptrain("fit", CONFIGS / "digits_mlp.yaml", *words, "--run-dir", "run")
    assert result.exit_code == 0, result.stderr
    assert "the gradient noise scale is " in result.stdout
    assert "largest_gradients.csv: the 100 training samples" in result.stdout
    with Path("run", "largest_gradients.csv").open() as file:
        rows = list(DictReader(file))
    norms = [float(row["gradient_norm"]) for row in rows]
    assert norms == sorted(norms, reverse=True)
    assert len({row["sample"] for row in rows}) == len(rows) == 100
    shown = [line["grad/sample/max"] for line in lines("run") if "grad/sample/max" in line]
    assert norms[0] > shown[-1] / 10
    assert steps_with("grad/noise_scale", "run")
    assert steps_with("grad/cosine", "run")


def test_changed_labels_are_among_the_largest_gradients(tmp_path: Path) -> None:
    words = ["train.epochs=8", "monitor.level=basic", "checkpoint.every_epochs=9"]
    experiment = build(plan(load_config(ExperimentConfig, CONFIGS / "digits_mlp.yaml", words)))
    labels = experiment.dataset.train.targets
    changed = torch.arange(0, len(labels), 100)
    labels[changed] = (labels[changed] + 1) % 10
    log = log_of(experiment, tmp_path, Console(file=StringIO()))
    session = Session(experiment, tmp_path / "checkpoints", log, StopRequest())
    for report in session._steps():
        session.progress.position = report.position
    norms, _ = sample_norms(experiment)
    listed = norms.topk(2 * len(changed)).indices
    assert torch.isin(changed, listed).float().mean() >= 0.8


def test_a_list_that_cannot_be_made_has_a_reason(bptrain: Bptrain) -> None:
    words = [*RUNS["lstm"], *SHORT, "train.steps=2", "monitor.level=full", "--run-dir", "run"]
    result = bptrain("fit", *words, "model={kind: mlp, normalization: batch}")
    assert result.exit_code == 0, result.stderr
    assert "no gradients of single samples: batch_norm" in result.stdout
    assert "no list of the samples with the largest gradients: batch_norm" in result.stdout
    assert not Path("run", "largest_gradients.csv").exists()


READING = {
    torch.Tensor.item,
    torch.Tensor.tolist,
    torch.Tensor.cpu,
    torch.Tensor.numpy,
    torch.Tensor.__bool__,
    torch.Tensor.__int__,
    torch.Tensor.__float__,
    torch.Tensor.__index__,
    torch.Tensor.__array__,
    torch.equal,
    torch.Tensor.equal,
    torch.nonzero,
    torch.Tensor.nonzero,
    torch.allclose,
}


class NoMethodReads(TorchFunctionMode):
    """Refuses methods that give the host what the device holds."""

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        assert func not in READING, f"{func} waits for the device"
        return func(*args, **(kwargs or {}))


class NoReads(TorchDispatchMode):
    """Refuses the reading of a number in whatever is called, and copies to the host."""

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        options = kwargs or {}
        assert func is not torch.ops.aten._local_scalar_dense.default, "a number is read"
        is_copy = func is torch.ops.aten._to_copy.default
        assert not is_copy or options.get("device") is None, "a tensor is copied to the host"
        return func(*args, **options)


@contextmanager
def not_reading() -> Iterator[None]:
    with NoMethodReads(), NoReads():
        yield


class Drawn:
    """Batches that are put together on the host, before the step."""

    def __init__(self, batches: Any) -> None:
        self.batches = batches

    def __len__(self) -> int:
        return len(self.batches)

    def epoch(self, epoch: int, start: int = 0) -> Iterator[Any]:
        return iter([*islice(self.batches.epoch(epoch, start), STEPS)])


STEPS = 6


@pytest.mark.parametrize("engine", ["tape", "autograd"])
@pytest.mark.parametrize("level", ["basic", "standard", "full"])
@pytest.mark.parametrize("kind", ["mlp, accumulated", "cnn", "lstm"])
def test_nothing_is_read_from_the_device_between_two_log_lines(
    tmp_path: Path, kind: str, level: str, engine: str
) -> None:
    config, *words = [*RUNS[kind], "monitor.log_every=1", "monitor.max_overhead=null"]
    words += ["optimizer.kind=sgd", "data.batch_size=50", f"engine={engine}"]
    loaded = load_config(ExperimentConfig, config, [*words, f"monitor.level={level}"])
    experiment = build(plan(loaded))
    experiment = replace(experiment, batches=Drawn(experiment.batches))
    log = log_of(experiment, tmp_path, Console(file=StringIO()))
    session = Session(experiment, tmp_path, log, StopRequest())
    steps = session._steps()
    for step in range(STEPS // experiment.update.batches):
        # the first step is compared with autograd's
        with not_reading() if step else nullcontext():
            session.guard.before_step(session.position, session.states)
            report = next(steps)
            assert session.guard.counts_in(report)
            session.window.add(report)
        session.progress.position = report.position
        assert bool(session.monitor.observed.numbers) == (level != "basic")


@pytest.mark.parametrize(
    "read",
    [
        float,
        bool,
        torch.Tensor.item,
        torch.Tensor.tolist,
        torch.Tensor.cpu,
        lambda x: x.to("cpu", copy=True),
    ],
)
def test_each_way_of_reading_is_seen(read: Callable[[torch.Tensor], Any]) -> None:
    with pytest.raises(AssertionError), not_reading():
        read(torch.ones(()))
