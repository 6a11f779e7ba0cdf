"""NaN and infinities injected into a run: detected, never saved, and gone after a resume."""

import json
import re
from collections.abc import Callable
from math import isfinite
from pathlib import Path
from random import Random
from typing import Any

import pytest
from launcher import Launcher
from poisoned_runs import CONFIGS, VARIANTS, places, write_config, write_data

from bptrain.rundir.checkpoint import list_checkpoints, read_checkpoint
from bptrain.train.finite import not_finite
from bptrain.verify.run_equality import RunPart, compare_runs, flat

INJECT = "numbers_faults:inject"
STEP = re.compile(r"(at|after) step ([0-9]+)")


KINDS = [*(kind for kind in CONFIGS if kind != "huge targets"), *VARIANTS]


class Bench:
    """Runs of a kind and their reference run, the one without a fault."""

    def __init__(self, launcher: Launcher, folder: Path) -> None:
        self.launcher, self.folder, self._tried = launcher, folder, 0
        self._references: dict[tuple[str, ...], Path] = {}
        write_data(folder)

    def new_run(self) -> Path:
        """Return the folder of a new run."""
        self._tried += 1
        return self.folder / f"run-{self._tried}"

    def reference(self, kind: str, *words: str) -> Path:
        """Return the run without a fault."""
        if (kind, *words) not in self._references:
            run = self.folder / f"reference-{len(self._references)}"
            code, stderr = self.fit(kind, run, *words)
            assert code == 0, stderr
            self._references[kind, *words] = run
        return self._references[kind, *words]

    def fit(
        self, kind: str, run: Path, *words: str, fault: dict[str, Any] | None = None, steps: int = 1
    ) -> tuple[int, str]:
        """Run to the end, with or without a fault, and return the exit code and stderr."""
        config, changes = write_config(self.folder, kind)
        asked = ["fit", config, *changes, "--run-dir", run, *words]
        injected = (INJECT, [fault, steps]) if fault else ()
        return self.launcher.run(asked, self.folder, *injected, draws=False)

    def inject(self, kind: str, fault: dict[str, Any], *words: str, steps: int = 1) -> "Injected":
        """Run with a fault, and once more without it if that failed."""
        reference, run = self.reference(kind, *words), self.new_run()
        code, stderr = self.fit(kind, run, *words, fault=fault, steps=steps)
        injected = Injected(run, fault, code, stderr)
        injected.examine()
        if code == 6:
            injected.hold(
                injected.is_hidden or begins_as(reference, run),
                "a line was written that is not the reference run's",
            )
            code, stderr = self.fit(kind, run, *words, "--resume")
            injected.hold(code == 0, f"the resume ended with {code}: {stderr}")
            if code == 0:
                different = differences(reference, run)
                injected.hold(not different, f"the resumed run differs: {different}")
        return injected


class Injected:
    """A run that had a fault: what is wrong with it, "" for nothing."""

    def __init__(self, run: Path, fault: dict[str, Any], code: int, stderr: str) -> None:
        self.run, self.fault, self.code, self.stderr = run, fault, code, stderr
        self.wrong: list[str] = []
        self.latest = 6  # steps until a checkpoint is due, when the whole state is checked

    def hold(self, is_so: bool, otherwise: str) -> None:
        """Record a problem unless a condition holds."""
        if not is_so:
            self.wrong.append(otherwise)

    @property
    def what_happened(self) -> str:
        """All that is wrong in a line."""
        return f"{self.fault}: {'; '.join(self.wrong)}" if self.wrong else ""

    @property
    def is_hidden(self) -> bool:
        """Whether it spread to the weights before it was detected."""
        return (
            f"at step {self.fault['step']}\n" not in self.stderr and self.fault["place"] != "buffer"
        )

    def examine(self) -> None:
        """Check the run's messages and files.

        A fault may also have no effect, as minus infinity before a relu: then the run continues,
        and everything in it is finite.
        """
        self.hold(self.code in (0, 6), f"exit {self.code}: {self.stderr}")
        states = list_checkpoints(self.run / "checkpoints")
        self.hold(bool(states), "no checkpoint")
        for path in states:
            state = read_checkpoint(path)
            _, tensors = state.rest()
            rest = {k: v for k, v in tensors.items() if not k.startswith("window/")}
            found = not_finite({**state.model, **rest})
            self.hold(not found, f"{path.name} holds {found}")
        lines = lines_of(self.run)
        for line in lines:
            values = {**flat(line), **line}  # a profile over time is a list of numbers
            numbers = {tag: v for tag, v in values.items() if not isinstance(v, list | str)}
            odd = [tag for tag, value in numbers.items() if value is None or not isfinite(value)]
            self.hold(not odd, f"line of step {line['step']}: {odd}")
        if self.code == 6:
            self.examine_message([line["step"] for line in lines])

    def examine_message(self, logged: list[int]) -> None:
        """Check the message, and that the step that it names was not logged."""
        self.hold(len(self.stderr.strip().splitlines()) <= 6, f"long: {self.stderr}")
        self.hold("Traceback" not in self.stderr, "a traceback on stderr")
        self.hold("Traceback" in (self.run / "error.log").read_text(), "no traceback in error.log")
        named = STEP.search(self.stderr)
        self.hold(named is not None, f"no step in {self.stderr}")
        if named is not None:
            step, injected_at = int(named[2]), self.fault["step"]
            self.hold(
                injected_at <= step <= injected_at + self.latest,
                f"named step {step}: {self.stderr}",
            )
            # earlier steps may be logged: the fault had not reached their numbers
            last = step - 1 if named[1] == "at" else step
            self.hold(max(logged, default=0) <= last, f"lines of {logged}: {self.stderr}")


@pytest.fixture(scope="module")
def bench(launcher: Launcher, tmp_path_factory: pytest.TempPathFactory) -> Bench:
    return Bench(launcher, tmp_path_factory.mktemp("numbers"))


SELECTED = [  # kind, place, name, value, step, and what the message says
    ("mlp", "forward", "linear2", "nan", 9, "the loss is nan at step 9"),
    ("cnn", "forward", "pool", "-inf", 13, "the loss is nan at step 13"),
    ("cnn", "backward", "output", "nan", 5, "the gradient of stage2.block1.norm is nan at step 5"),
    ("classifier", "backward", "lstm", "inf", 9, "the gradient of embedding is inf at step 9"),
    ("mlp", "gradient", "norm1.bias", "inf", 10, "norm1 is inf at step 10\n  why: one step"),
    ("regression", "parameter", "output.bias", "inf", 9, "the loss is inf at step 9"),
    ("mlp", "buffer", "norm2.running_mean", "nan", 10, "norm2.running_mean is not finite after"),
    ("cnn", "buffer", "stage1.block1.norm.running_var", "inf", 10, "running_var is not finite"),
    ("regression", "batch", "input", "nan", 3, "the loss is nan at step 3"),
    ("regression", "batch", "target", "-inf", 8, "the loss is inf at step 8"),
    ("mlp", "optimizer", "momentum_buffer:output.weight", "nan", 8, "the loss is nan at step 9"),
    (
        *("cnn", "optimizer", "exp_avg_sq:output.weight", "inf", 8),
        "the optimizer's exp_avg_sq of output.weight is not finite after step",
    ),
    ("language model", "parameter", "embedding.weight[0]", "nan", 8, "embedding.weight is not"),
    ("classifier", "optimizer", "square_avg:embedding.weight[0]", "nan", 8, "after step"),
    ("language model", "carried", "", "inf", 8, "the gradient of lstm is nan at step 8"),
    ("speech", "forward", "gru", "nan", 8, "the loss is nan at step 8"),
    ("search", "gradient", "linear1.weight", "nan", 3, "the gradient of linear1 is nan at step 3"),
    ("clipped by value, bf16", "gradient", "linear1.weight", "-inf", 10, "linear1 is inf at step"),
    ("clipped by norm, accumulated", "batch", "input", "inf", 4, "the loss is nan at step 4"),
    (
        "clipped by layer, averaged",
        "average",
        "output.bias",
        "nan",
        8,
        "the average of output.bias",
    ),
]


@pytest.mark.parametrize(
    ("kind", "place", "name", "value", "step", "message"),
    [
        pytest.param(*each, id=" ".join(each[:4]), marks=pytest.mark.faults if number % 4 else ())
        for number, each in enumerate(SELECTED)
    ],
)
def test_a_poisoned_number_ends_the_run_is_never_saved_and_gone_after_a_resume(
    bench: Bench,
    tally: Callable[..., None],
    kind: str,
    place: str,
    name: str,
    value: str,
    step: int,
    message: str,
) -> None:
    fault = {"place": place, "name": name, "value": value, "step": step, "seed": 1}
    injected = bench.inject(kind, fault)
    injected.hold(injected.code == 6, f"exit {injected.code}")
    injected.hold(message in injected.stderr, injected.stderr)
    tally("NaN and infinities", injected.what_happened)
    assert injected.what_happened == ""


@pytest.mark.faults
@pytest.mark.parametrize("kind", KINDS)
def test_no_poisoned_number_anywhere_is_ever_saved(
    bench: Bench, tally: Callable[..., None], kind: str
) -> None:
    random = Random(kind)
    wrong = []
    config, words = write_config(bench.folder, kind)
    for place, name in places(config, words):
        for value in ("nan", random.choice(["inf", "-inf"])):
            # every place exists from the second step on
            step, seed = random.randint(2, 19), random.randrange(1000)
            fault = {"place": place, "name": name, "value": value, "step": step, "seed": seed}
            injected = bench.inject(kind, fault)
            tally("NaN and infinities", injected.what_happened)
            wrong += [injected.what_happened] * bool(injected.wrong)
    assert wrong == []


def test_in_fp16_a_step_whose_gradient_overflows_is_skipped_and_the_run_continues(
    bench: Bench, tally: Callable[..., None]
) -> None:
    fault = {"place": "gradient", "name": "linear1.weight", "value": "inf", "step": 6, "seed": 1}
    words = ("precision=fp16", "train.clip_grad_norm=1.0", "monitor.log_every=6")
    first, second = (bench.inject("mlp", fault, *words) for _ in range(2))
    first.hold(first.code == 0, first.stderr)
    line = lines_of(first.run)[0]
    first.hold((line["step"], line["train/loss_scale"]) == (6, 2**15), f"not halved: {line}")
    first.hold("grad/total" not in line, f"an infinite norm was logged: {line}")
    different = differences(first.run, second.run)
    first.hold(not different, f"two runs with one skipped step differ: {different}")
    weights = differences(bench.reference("mlp", *words), first.run)[:1]
    first.hold([each.what for each in weights] == ["weights and buffers"], "nothing was skipped")
    tally("fp16: a step that overflows", first.what_happened)
    assert first.what_happened == ""


def test_in_fp16_gradients_that_overflow_at_every_scale_end_the_run(
    bench: Bench, tally: Callable[..., None]
) -> None:
    fault = {"place": "gradient", "name": "linear1.weight", "value": "nan", "step": 3, "seed": 1}
    words = ("precision=fp16", "train.steps=40", "monitor.log_every=39", "data.batch_size=32")
    run = bench.new_run()
    code, stderr = bench.fit("mlp", run, *words, fault=fault, steps=40)
    lost = Injected(run, {**fault, "step": 18}, code, stderr)
    lost.examine()
    lost.hold(code == 6, f"exit {code}")
    lost.hold("overflow fp16 at every scale" in stderr, stderr)
    # the saved loss scale can be resumed from
    code, stderr = bench.fit("mlp", run, *words, "--resume")
    lost.hold(code == 0, f"the resume ended with {code}: {stderr}")
    tally("fp16: steps that overflow for good", lost.what_happened)
    assert lost.what_happened == ""


EVERY_KIND = [(kind, ["optimizer.lr=1e30"], {0, 6}) for kind in KINDS]
DIVERGING = [  # kind, overrides, and the allowed exit codes
    ("mlp", ["optimizer.lr=1e10", "loss={kind: mse}"], {6}),
    ("regression", ["optimizer.lr=1e30", "loss={kind: huber}"], {0, 6}),
    ("mlp", ["optimizer.lr=1e30", "loss={kind: bce_with_logits}"], {6}),
    ("mlp", ["optimizer={kind: lbfgs, lr: 1e30, line_search: null}"], {6}),
    ("mlp", ["optimizer={kind: lbfgs, lr: 1e30}"], {6}),
    ("huge targets", [], {6}),
    ("huge targets", ["loss={kind: huber}"], {0}),
    ("huge targets", ["loss={kind: l1}"], {0}),
]


@pytest.mark.parametrize(
    ("kind", "words", "codes"),
    [
        *(pytest.param(*each, id=f"{each[0]} {' '.join(each[1])}") for each in DIVERGING),
        *(pytest.param(*each, id=each[0], marks=pytest.mark.faults) for each in EVERY_KIND),
    ],
)
def test_a_run_that_diverges_ends_with_exit_6_or_stays_finite(
    bench: Bench, tally: Callable[..., None], kind: str, words: list[str], codes: set[int]
) -> None:
    run = bench.new_run()
    code, stderr = bench.fit(kind, run, *words)
    diverging = Injected(run, {"step": 0}, code, stderr)
    diverging.latest = 20
    diverging.examine()
    diverging.hold(code in codes, f"exit {code}: {stderr}")
    tally("divergence", diverging.what_happened)
    assert diverging.what_happened == ""


def test_a_metric_that_is_infinite_is_no_failure(bench: Bench, tally: Callable[..., None]) -> None:
    run = bench.new_run()
    code, stderr = bench.launcher.run(
        ["fit", write_config(bench.folder, "mlp")[0], "--run-dir", run],
        bench.folder,
        "numbers_faults:report_infinity",
        draws=False,
    )
    assert code == 0, stderr
    lines = lines_of(run)
    assert [line["train/accuracy"] for line in lines if "train/accuracy" in line] == [None] * 4
    assert "val/top5" in lines[1]
    assert read_checkpoint(run / "checkpoints" / "step-000020").metrics["val/loss"] > 0
    tally("an infinite metric")


def differences(first: Path, second: Path) -> list[RunPart]:
    return [each for each in compare_runs(first, second) if each.difference]


def begins_as(reference: Path, run: Path) -> bool:
    lines, expected = ([flat(line) for line in lines_of(each)] for each in (run, reference))
    return lines == expected[: len(lines)]


def lines_of(run: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
