"""`bench`: time and memory of a config's training step, beside the same model in torch.nn."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
from rich.console import Console
from torch import nn

from bptrain.bench.chart import draw_step
from bptrain.bench.step import measure_step
from bptrain.bench.subject import Subject
from bptrain.commands.bench_report import print_step
from bptrain.commands.output_files import refuse_unwritable
from bptrain.errors import ConfigKeyError
from bptrain.experiment.batch_size import plan_for_training
from bptrain.experiment.build import build, update_of
from bptrain.experiment.config import ExperimentConfig
from bptrain.experiment.plan import Plan, refuse_learning_rules
from bptrain.rundir.durable_files import storing
from bptrain.train.accumulation import first_that_counts
from bptrain.train.memory import allocating


@dataclass(frozen=True)
class BenchOptions:
    """Options of the command.

    json, chart  files to write
    """

    turns: int
    with_compiler: bool
    json: Path | None
    chart: Path | None


def bench(config: ExperimentConfig, options: BenchOptions, console: Console) -> None:
    """Measure the training step of a config, and print and store the results.

    Raises GradientError if ours computes other gradients than torch.nn.
    """
    refuse_unwritable(options.json, options.chart)
    with allocating():
        subject = subject_of(plan_for_training(config))
        with shown_progress() as progress:
            results = measure_step(subject, options.turns, options.with_compiler, progress)
    print_step(results, console)
    if options.json is not None:
        with storing(options.json, "choose another file with --json"):
            options.json.write_text(results.as_json(), encoding="utf-8")
    if options.chart is not None:
        with storing(options.chart, "choose another file with --chart"):
            draw_step(results, options.chart)


def subject_of(planned: Plan) -> Subject:
    """Return what is measured: the config's model and loss on its first training batch."""
    config = planned.config
    refuse_what_cannot_be_measured(config)
    experiment = build(planned)
    batch = first_that_counts(experiment.batches.epoch(0))
    return Subject(
        config.name,
        experiment.model,
        experiment.loss_function,
        batch.inputs,
        batch.targets,
        experiment.update.precision,
        lambda model: update_for(planned, model),
        config.optimizer.states,
    )


def update_for(planned: Plan, model: nn.Module) -> Callable[[], object]:
    """Return the update of the model's weights that the config describes, at a learning rate of 0.

    So every step computes with the same weights. What `fit` does for its log alone is left out.
    """
    update = update_of(planned, model)
    update.base_lrs = [0.0] * len(update.base_lrs)
    if update.clipping is None and not update.l1 and update.average is None:
        update.set_learning_rate(0)
        return update.optimizer.step
    any_loss = torch.zeros((), device=planned.device)  # which is looked at for NaN alone
    return lambda: update(0, any_loss)


def refuse_what_cannot_be_measured(config: ExperimentConfig) -> None:
    """Raise ConfigKeyError for a step that torch.nn's cannot be compared with."""
    refuse_learning_rules(config, "torch.nn has no step by a learning rule to compare with")
    if config.optimizer.searches:
        raise ConfigKeyError(
            ("optimizer", "kind"),
            "its steps cannot be compared",
            "a line search evaluates the loss as often as the last digits of the gradients ask for",
            "optimizer.kind=sgd",
        )
    if config.precision == "fp16":
        raise ConfigKeyError(
            ("precision",),
            "bench measures fp32 and bf16",
            "the scale of fp16's gradients changes from step to step",
            "precision=bf16, whose products take the same time",
        )


@contextmanager
def shown_progress() -> Iterator[Callable[[str], None]]:
    """Show what is being done, on stderr and on a terminal alone."""
    console = Console(stderr=True)
    if not console.is_terminal:
        yield lambda _: None
        return
    with console.status("bench") as status:
        yield lambda doing: status.update(f"bench: {doing}")
