"""`tape`: the recorded training step of an experiment as plain Python."""

from rich.console import Console

from bptrain.errors import UsageError
from bptrain.experiment.batch_size import plan_for_training
from bptrain.experiment.build import build
from bptrain.experiment.config import ExperimentConfig
from bptrain.tape import OffTapeError, Step
from bptrain.tape.learning_rules.step import StepByRule
from bptrain.train.accumulation import first_that_counts
from bptrain.train.evaluate import LossMetric
from bptrain.train.memory import allocating


def tape(config: ExperimentConfig, as_recorded: bool, console: Console) -> None:
    """Print the step on the experiment's first batch, or raise UsageError if it has no record.

    as_recorded  before operations are fused, and without the segments of train.checkpointing
    """
    with allocating():
        experiment = build(plan_for_training(config))
        batch = first_that_counts(experiment.batches.epoch(0))
        step = experiment.engine
        if not isinstance(step, StepByRule):
            step = Step(
                experiment.model,
                experiment.loss_function,
                checkpointing=config.train.checkpointing,
                needs_outputs=not isinstance(experiment.training_metric, LossMetric),
            )
        with experiment.update.precision.computing():
            try:
                text = step.text(batch.inputs, batch.targets, as_recorded)
            except (OffTapeError, ValueError) as error:
                raise UsageError(
                    "the step cannot be recorded", str(error), "it runs by autograd"
                ) from error
    console.print(text, end="", highlight=False, soft_wrap=True)
