"""What each key of the training loop does to a whole run."""

import json
from collections.abc import Callable
from functools import partial
from math import sqrt
from pathlib import Path

import pytest
import torch
from small_files import CONFIGS
from test_every_kind_of_data import KINDS
from torch import Tensor

from bptrain.config import load_config
from bptrain.experiment.build import build
from bptrain.experiment.config import ExperimentConfig
from bptrain.experiment.evaluation import evaluate_split
from bptrain.experiment.plan import plan
from bptrain.rundir.checkpoint import last_first, list_checkpoints, read_checkpoint
from bptrain.train.precision import Precision

DIGITS = CONFIGS / "digits_mlp.yaml"
SMALL = ["model.hidden=[16]", "monitor.log_every=1"]
# a step is then the gradient times the learning rate, 0.1, and nothing else
BARE = [
    *SMALL,
    "optimizer.momentum=0.0",
    "optimizer.nesterov=false",
    "optimizer.weight_decay=0.0",
    "schedule.kind=constant",
    "schedule.warmup_steps=0",
]
LR = 0.1

Fit = Callable[..., str]


@pytest.fixture
def fit(bptrain: Callable) -> Fit:
    """Train the digits' config, with keys changed, into a folder, and return what was printed."""

    def train(folder: str, *words: str, config: Path = DIGITS) -> str:
        result = bptrain("fit", config, *words, "--run-dir", folder)
        assert result.exit_code == 0, result.stderr
        return result.stdout

    return train


def lines_of(run: str) -> list[dict[str, float]]:
    return [json.loads(line) for line in Path(run, "metrics.jsonl").read_text().splitlines()]


def values_of(run: str, tag: str) -> list[float]:
    return [line[tag] for line in lines_of(run) if tag in line]


def weights_of(run: str, step: int | None = None) -> dict[str, Tensor]:
    folder = Path(run, "checkpoints")
    path = last_first(folder)[0] if step is None else folder / f"step-{step:06d}"
    return read_checkpoint(path).model


def assert_close(first: dict[str, Tensor], second: dict[str, Tensor]) -> None:
    for name, tensor in first.items():
        # rounding of sums in another order, over some steps
        torch.testing.assert_close(second[name], tensor, rtol=1e-4, atol=2e-6, msg=name)


# --- gradients accumulated over batches


@pytest.mark.parametrize("steps", [3, 6])  # in mid-epoch, and beyond the last group of an epoch
def test_accumulated_batches_equal_one_larger_batch(fit: Fit, steps: int) -> None:
    # 1294 samples: 3 steps of 384, then 142, which are a batch of 128 and one of 14
    words = [*SMALL, f"train.steps={steps}", "schedule.warmup_steps=1"]
    stdout = fit("whole", "data.batch_size=384", *words)
    assert stdout.count("(4 an epoch)") == 1
    stdout = fit("parts", "data.batch_size=128", "train.grad_accum_steps=3", *words)
    assert stdout.count("(4 an epoch)") == 1
    assert_close(weights_of("whole"), weights_of("parts"))
    for tag in ("step", "train/lr", "train/epoch"):
        assert values_of("whole", tag) == values_of("parts", tag)
    for tag in ("train/loss", "train/accuracy", "grad/total", "val/loss"):
        assert values_of("whole", tag) == pytest.approx(values_of("parts", tag), rel=1e-4)


def test_an_accumulated_step_weighs_batches_by_their_targets(fit: Fit) -> None:
    # sequences of two to four steps: no two batches have equally many targets
    KINDS["sequence of tags"].write()
    config = Path("tags.yaml")
    config.write_text(
        "data: {kind: sequence, path: train.npz}\n"
        "model: {kind: rnn, cell: gru, hidden: 8}\n"
        "train: {steps: 4}\n"
    )
    fit("whole", "data.batch_size=12", config=config)
    fit("accumulated", "data.batch_size=3", "train.grad_accum_steps=4", config=config)
    assert_close(weights_of("whole"), weights_of("accumulated"))
    assert values_of("whole", "train/loss") == pytest.approx(values_of("accumulated", "train/loss"))


def test_epochs_end_and_the_schedule_falls_by_optimizer_steps(fit: Fit) -> None:
    stdout = fit("run", *SMALL, "train.grad_accum_steps=7", "train.epochs=2")
    assert "steps 6 (3 an epoch)" in stdout
    rates = values_of("run", "train/lr")
    assert len(rates) == 6
    assert [line["step"] for line in lines_of("run") if "val/loss" in line] == [3, 6]


# --- what happens to gradients before the update


def test_clipping_by_norm_bounds_what_is_left_of_the_gradient(fit: Fit) -> None:
    fit("run", *BARE, "train.steps=4", "train.clip_grad_norm=0.5")
    clipped = values_of("run", "grad/total_clipped")
    assert clipped == pytest.approx([0.5] * 4)
    assert min(values_of("run", "grad/total")) > 1
    moved = changes("run", 0, 4)
    assert sqrt(sum(float(each.square().sum()) for each in moved.values())) <= 4 * LR * 0.5 * 1.0001


def changes(run: str, first: int, last: int) -> dict[str, Tensor]:
    before, after = weights_of(run, first), weights_of(run, last)
    return {name: after[name] - before[name] for name in before}


def test_clipping_by_value_bounds_each_number(fit: Fit) -> None:
    fit("run", *BARE, "train.steps=1", "train.clip_grad_value=0.001")
    moved = torch.cat([each.flatten() for each in changes("run", 0, 1).values()]).abs()
    assert float(moved.max()) == pytest.approx(LR * 0.001, rel=1e-2)
    assert values_of("run", "grad/total_clipped")[0] < values_of("run", "grad/total")[0] / 10


def test_adaptive_clipping_bounds_each_layer_by_its_weights(fit: Fit) -> None:
    fit("run", *BARE, "train.steps=1", "train.clip_grad_adaptive=0.001")
    before, moved = weights_of("run", 0), changes("run", 0, 1)
    for layer in ("linear1", "output"):
        own = [f"{layer}.weight", f"{layer}.bias"]
        weight, step = (torch.cat([held[n].flatten() for n in own]) for held in (before, moved))
        assert float(step.norm()) == pytest.approx(LR * 0.001 * float(weight.norm()), rel=1e-2)


@pytest.mark.parametrize("clipping", [[], ["train.clip_grad_norm=0.01"]])
def test_the_l1_penalty_shrinks_weights_and_no_biases(fit: Fit, clipping: list[str]) -> None:
    fit("plain", *BARE, "train.steps=1", *clipping)
    fit("penalized", *BARE, "train.steps=1", "train.l1=0.02", *clipping)
    start, plain, penalized = (
        weights_of(*at) for at in (("plain", 0), ("plain", 1), ("penalized", 1))
    )
    for name, weight in start.items():
        shrinkage = (
            LR * 0.02 * weight.sign() if name.endswith("weight") else torch.zeros_like(weight)
        )
        torch.testing.assert_close(plain[name] - penalized[name], shrinkage, rtol=0, atol=1e-7)
    assert values_of("plain", "train/loss") == values_of("penalized", "train/loss")[:1]


@pytest.mark.parametrize("spared", [True, False])
def test_weight_decay_excludes_norms_and_biases_if_configured(fit: Fit, spared: bool) -> None:
    words = [*BARE, "train.steps=1", "model.normalization=batch"]
    words.append(f"optimizer.decay_norm_and_bias={str(not spared).lower()}")
    fit("plain", *words)
    fit("decayed", *words, "optimizer.weight_decay=0.5")
    start, plain, decayed = (weights_of(*at) for at in (("plain", 0), ("plain", 1), ("decayed", 1)))
    for name in ("linear1.weight", "norm1.weight", "output.bias"):
        share = 0.0 if spared and name != "linear1.weight" else LR * 0.5
        torch.testing.assert_close(
            plain[name] - decayed[name], share * start[name], atol=1e-6, rtol=0
        )


# --- averaged weights


def test_validation_evaluate_and_predict_use_the_averaged_weights(
    bptrain: Callable, fit: Fit
) -> None:
    KINDS["digits"].write()
    decay = 0.95
    words = ["train.steps=5", f"train.ema_decay={decay}", "model.normalization=batch"]
    fit("run", *SMALL, *words, "checkpoint.every_steps=1", "checkpoint.keep_last=9")
    average = weights_of("run", 0)
    for step in range(5):
        d = min(decay, (1 + step) / (10 + step))
        live = weights_of("run", step + 1)
        average = {
            name: d * held + (1 - d) * live[name] if held.is_floating_point() else live[name]
            for name, held in average.items()
        }
    experiment = build(plan(load_config(ExperimentConfig, Path("run/config.yaml"), [])))
    losses = {}
    for which, tensors in (("average", average), ("live", live)):
        experiment.model.load_state_dict(tensors)
        for split in ("val", "test"):
            losses |= {(which, split): evaluate_split(experiment, split)[f"{split}/loss"]}
    assert abs(losses["average", "val"] - losses["live", "val"]) > 0.01
    assert values_of("run", "val/loss") == [pytest.approx(losses["average", "val"], rel=1e-5)]
    assert values_of("run", "test/loss") == [pytest.approx(losses["average", "test"], rel=1e-5)]
    printed = json.loads(bptrain("evaluate", "run", "--checkpoint", "last", "--json").stdout)
    assert printed["test/loss"] == values_of("run", "test/loss")[0]

    (answer,) = json.loads(bptrain("predict", "run", "drawing.png", "--json").stdout)
    experiment.model.load_state_dict(average)
    prepared = experiment.config.data.prepare(["drawing.png"], experiment.dataset.prepared)
    with torch.no_grad():
        expected = experiment.model.eval()(prepared.inputs).softmax(-1).max()
    assert answer["probability"] == pytest.approx(float(expected), rel=1e-4)


def test_training_continues_from_the_live_weights(fit: Fit) -> None:
    words = [*SMALL, "train.epochs=2", "model.normalization=batch"]
    fit("plain", *words)
    fit("averaged", *words, "train.ema_decay=0.9")
    plain, averaged = weights_of("plain"), weights_of("averaged")
    assert all(torch.equal(plain[name], averaged[name]) for name in plain)
    assert values_of("plain", "val/loss") != values_of("averaged", "val/loss")


def test_the_average_and_the_weights_that_it_replaces_are_counted_in_the_memory() -> None:
    plain, averaged = (
        plan(load_config(ExperimentConfig, DIGITS, words)).memory
        for words in ([], ["train.ema_decay=0.9"])
    )
    assert averaged.total - plain.total == 2 * plain.parameters


# --- early stopping and learning rates by the validation loss


def test_early_stopping_ends_the_run_and_says_why(fit: Fit) -> None:
    stdout = fit(
        "run", *BARE, "train.early_stopping={patience: 2, min_delta: 9}", "train.epochs=30"
    )
    assert "stopped early: no smaller validation loss by more than 9 for 2 evaluations" in stdout
    lines = lines_of("run")
    assert [line["step"] for line in lines if "val/loss" in line] == [21, 42, 63]
    assert [line["step"] for line in lines if "test/loss" in line] == [63]
    assert list_checkpoints(Path("run/checkpoints"))[-1].name == "step-000063"


def test_a_run_that_reaches_its_end_does_not_mention_stopping(fit: Fit) -> None:
    stdout = fit("run", *SMALL, "train.early_stopping={patience: 3}", "train.epochs=2")
    assert "stopped early" not in stdout


def test_a_plateau_lowers_the_rate_of_the_epochs_after_it(fit: Fit) -> None:
    # no loss falls by nine tenths in an epoch: each epoch after the first is a bad one
    words = ["schedule={kind: plateau, patience: 0, threshold: 0.9, factor: 0.5, minimum: 0.2}"]
    fit("run", "model.hidden=[16]", "monitor.log_every=1000", *words, "train.epochs=6")
    rates = [0.1, 0.1, 0.05, 0.025, 0.02, 0.02]
    assert values_of("run", "train/lr") == pytest.approx(rates)


@pytest.mark.parametrize("key", ["schedule={kind: plateau}", "train.early_stopping={patience: 2}"])
def test_an_option_that_uses_the_validation_loss_needs_one(bptrain: Callable, key: str) -> None:
    name = key.partition("=")[0]
    section = name.partition(".")[0]
    Path("c.yaml").write_text(
        "data: {kind: digits, validation_fraction: 0.0}\nmodel: {kind: mlp}\n"
        + {"schedule": "schedule: {kind: plateau}\n", "train": "train: {early_stopping: {}}\n"}[
            section
        ]
    )
    for words in ([], ["--dry-run"]):
        result = bptrain("fit", "c.yaml", *words)
        assert result.exit_code == 2
        assert f"c.yaml:3: {name}" in result.stderr
        assert "no validation samples" in result.stderr
    assert not Path("runs").exists()


# --- precisions


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_runs_in_16_bits_learn_on_the_cpu(fit: Fit, precision: str) -> None:
    fit("run", "train.epochs=2", f"precision={precision}", "device=cpu", "monitor.log_every=7")
    losses = values_of("run", "train/loss")
    assert losses[-1] < losses[0] / 2
    assert values_of("run", "val/accuracy")[-1] > 0.8
    assert bool(values_of("run", "train/loss_scale")) == (precision == "fp16")
    found = weights_of("run")
    assert {tensor.dtype for tensor in found.values()} == {torch.float32}


def test_skipped_steps_do_not_end_an_fp16_run(fit: Fit, monkeypatch: pytest.MonkeyPatch) -> None:
    scaler = partial(torch.amp.GradScaler, init_scale=2.0**32)  # too large for any fp16
    monkeypatch.setattr("bptrain.train.precision.torch.amp.GradScaler", scaler)
    words = ["precision=fp16", "device=cpu", "train.steps=20", "checkpoint.every_steps=1"]
    fit("run", *SMALL, *words, "checkpoint.keep_last=30", "train.ema_decay=0.9")
    scales = values_of("run", "train/loss_scale")
    assert scales[0] == 2.0**31
    assert scales[-1] == scales[-2] < 2.0**20
    start, skipped, end = (weights_of("run", step) for step in (0, 1, 20))
    assert all(torch.equal(start[name], skipped[name]) for name in start)
    assert not torch.equal(start["linear1.weight"], end["linear1.weight"])
    losses = values_of("run", "train/loss")
    assert losses[-1] < losses[0]


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_check_uses_the_precision_of_the_config(bptrain: Callable, precision: str) -> None:
    result = bptrain("check", DIGITS, f"precision={precision}", "model.hidden=[8]")
    assert result.exit_code == 0
    dtype = {torch.bfloat16: "bfloat16", torch.float16: "float16"}
    assert dtype[Precision.of(precision, torch.device("cpu")).dtype] in result.stdout


# --- an optimizer with a line search


def test_lbfgs_learns_the_digits_in_a_few_steps(fit: Fit) -> None:
    fit("run", "train.steps=3", "model.hidden=[16]", config=CONFIGS / "digits_lbfgs.yaml")
    losses = values_of("run", "train/loss")
    assert losses[-1] < losses[0] / 2


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (["precision=fp16"], "cannot be used in fp16"),
        (["train.clip_grad_norm=1.0"], "cannot be used with clipping"),
        (["train.clip_grad_value=1.0"], "cannot be used with clipping"),
        (["train.clip_grad_adaptive=1.0"], "cannot be used with clipping"),
        (["train.l1=0.1"], "cannot be used with train.l1"),
    ],
)
def test_lbfgs_is_refused_with_options_that_change_its_gradient(
    bptrain: Callable, words: list[str], why: str
) -> None:
    result = bptrain("fit", CONFIGS / "digits_lbfgs.yaml", *words)
    assert result.exit_code == 2
    lines = (CONFIGS / "digits_lbfgs.yaml").read_text().splitlines()
    (line,) = (number for number, each in enumerate(lines, 1) if each.startswith("optimizer:"))
    assert f"digits_lbfgs.yaml:{line}: optimizer.kind: {why}" in result.stderr
    assert not Path("runs").exists()


def test_lbfgs_is_refused_for_a_model_that_carries_its_state(bptrain: Callable) -> None:
    KINDS["text"].write()
    Path("c.yaml").write_text(
        f"data: {{{KINDS['text'].data}, batch_size: 4}}\nmodel: {KINDS['text'].model}\n"
        "optimizer: {kind: lbfgs}\n"
    )
    result = bptrain("fit", "c.yaml")
    assert result.exit_code == 2
    assert "c.yaml:3: optimizer.kind: cannot be used with a language model" in result.stderr


# --- checkpoints


def test_checkpoints_come_by_steps_and_the_best_one_is_not_removed(
    fit: Fit, monkeypatch: pytest.MonkeyPatch
) -> None:
    losses = iter([0.5, 0.4, 0.6, 0.7])
    monkeypatch.setattr(
        "bptrain.experiment.session.evaluate_split", lambda *_, **__: {"val/loss": next(losses)}
    )
    words = ["checkpoint.every_steps=15", "checkpoint.keep_last=2", "train.epochs=4"]
    stdout = fit("run", *SMALL, *words)
    found = [path.name for path in list_checkpoints(Path("run/checkpoints"))]
    assert found == ["step-000042", "step-000075", "step-000084"]
    assert "(step-000042, " in stdout


def test_a_single_checkpoint_is_too_few(bptrain: Callable) -> None:
    result = bptrain("fit", DIGITS, "checkpoint.keep_last=1")
    assert result.exit_code == 2
    assert "checkpoint.keep_last" in result.stderr
