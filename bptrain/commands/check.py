"""`check`: prove every gradient of a config's model and loss."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn
from torch import Tensor, nn

from bptrain.errors import GradientError, printable
from bptrain.experiment.batch_size import plan_for_training
from bptrain.experiment.build import build
from bptrain.experiment.config import ExperimentConfig
from bptrain.experiment.plan import serve
from bptrain.rundir.durable_files import storing
from bptrain.tape.learning_rules.rule import learning_rule
from bptrain.train.accumulation import first_that_counts
from bptrain.train.memory import allocating
from bptrain.verify import Report, tape_rows
from bptrain.verify import check as check_module
from bptrain.verify.learning_rule_rows import learning_rule_rows

WHERE_GRADIENTS_ARE = "the backward of that layer: the rows marked WRONG name element and values"
CHECKED_SAMPLES = 8  # more would slow finite differences and show no other error


class TrainingStep(nn.Module):
    """The model and the loss as one module, that `check` is called on."""

    def __init__(self, model: nn.Module, loss: nn.Module, inputs: int) -> None:
        super().__init__()
        self.model, self.loss, self.inputs = model, loss, inputs

    def forward(self, *batch: Tensor) -> Tensor:
        """Return the loss of a batch: the inputs of the model first, then the targets."""
        outputs = self.model(*batch[: self.inputs])
        loss: Tensor = self.loss(outputs, *batch[self.inputs :])
        return loss


def check(config: ExperimentConfig, as_json: bool, junit: Path | None, console: Console) -> None:
    """Prove every gradient of a config's model, and print the report.

    junit  a file to write the comparisons to, as JUnit XML

    Raises GradientError if a gradient is wrong.
    """
    with progress_bar() as progress:
        report = check_gradients(config, progress)
    if junit is not None:
        with storing(junit, "choose another file with --junit"):
            junit.write_text(report.as_junit(), encoding="utf-8")
    if as_json:
        print(report.as_json())
    else:
        console.print(report.table())
        print(printable("\n".join([*report.notes, report.summary])))
    if not report.ok:
        raise GradientError(report.summary, hint=WHERE_GRADIENTS_ARE)


@contextmanager
def progress_bar() -> Iterator[Callable[[str, float], None]]:
    """Show the layer and the part of all that is done, on stderr and on a terminal alone."""
    console = Console(stderr=True)
    columns = (
        TextColumn("check"),
        BarColumn(),
        TaskProgressColumn(),
        TextColumn("{task.fields[layer]}"),
    )
    shown = Progress(*columns, console=console, transient=True, disable=not console.is_terminal)
    with shown:
        task = shown.add_task("", total=1.0, layer="")
        yield lambda layer, done: shown.update(task, completed=done, layer=escape(layer))


def check_gradients(
    config: ExperimentConfig, progress: Callable[[str, float], None] | None = None
) -> Report:
    """Prove every gradient of the config's model and loss on the first samples that count."""
    with allocating():
        experiment = build(plan_for_training(config))
        small = config.model_copy(
            update={"data": config.data.model_copy(update={"batch_size": CHECKED_SAMPLES})}
        )
        batch = first_that_counts(serve(small, experiment.dataset.train, config.seed).epoch(0))
        step = TrainingStep(experiment.model, experiment.loss_function, len(batch.inputs))
        precision = experiment.update.precision.dtype
        arguments = (*batch.inputs, *batch.targets)
        report = check_module(step, arguments, precision=precision, progress=progress)
        rows, notes = tape_rows(
            experiment.model, experiment.loss_function, batch.inputs, batch.targets
        )
        if config.backward != "backprop":
            rule = learning_rule(config.backward, config.seed)
            of_rule = learning_rule_rows(
                experiment.model, experiment.loss_function, rule, batch.inputs, batch.targets
            )
            rows, notes = rows + of_rule[0], notes + of_rule[1]
        return Report([*report.rows, *rows], [*report.notes, *notes])
