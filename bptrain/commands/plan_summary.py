"""What `fit` prints before it trains: the layers, the memory of a step, the data."""

from rich.console import Console

from bptrain.data.notes import absent_classes, problem_note
from bptrain.errors import shorten
from bptrain.experiment.plan import Plan
from bptrain.free_memory import format_bytes
from bptrain.models import LayerSummary
from bptrain.monitor.console import table
from bptrain.rundir.run_directory import device_name
from bptrain.train.memory import available_bytes


def print_plan(plan: Plan, console: Console) -> None:
    """Print the layers, the memory of a training step, the data and the length of the run."""
    rows = [
        [
            layer.name,
            layer.kind,
            _shape(layer),
            f"{layer.parameters:,}",
            format_bytes(layer.saved_bytes),
        ]
        for layer in plan.layers
    ]
    columns = ["layer", "kind", "output shape", "parameters", "saved for backward"]
    console.print(table(plan.config.name, columns, rows))
    memory, dataset = plan.memory, plan.dataset
    parameters = sum(layer.parameters for layer in plan.layers)
    purposes = ", ".join(
        f"{purpose} {format_bytes(count)}"
        for purpose, count in {
            "parameters": memory.parameters,
            "gradients": memory.gradients,
            "optimizer": memory.optimizer,
            "saved for backward": memory.saved_for_backward,
            "data": memory.data,
        }.items()
    )
    console.print(
        f"parameters {parameters:,}   memory {format_bytes(memory.total)}: {purposes} "
        f"({format_bytes(available_bytes(plan.device))} free)\n"
        f"samples {len(dataset.train):,} train, {len(dataset.validation or ()):,} validation, "
        f"{len(dataset.test or ()):,} test   steps {plan.total_steps:,} "
        f"({plan.steps_per_epoch:,} an epoch)   device {device_name(plan.device)}",
        highlight=False,
        soft_wrap=True,
    )
    rule = plan.config.backward
    notes = [f"backward {rule}: a learning rule, which gives no gradients"] * (rule != "backprop")
    if plan.frozen:
        notes.append(
            f"frozen: {plan.frozen:,} of {parameters:,} parameters are not trained; their "
            "normalization keeps its statistics"
        )
    notes += [plan.batch_size_note] * bool(plan.batch_size_note)
    notes += [problem_note(dataset.problem), *dataset.notes, *absent_classes(dataset)]
    for note in notes:
        console.print(shorten(note), highlight=False, markup=False, soft_wrap=True)


def _shape(layer: LayerSummary) -> str:
    return " x ".join(str(size) for size in layer.output_shape)
