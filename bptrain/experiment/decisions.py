"""How the outputs of a run's model become classes: by its config, or as a validation chose it.

A threshold that is chosen is that of a state: each validation finds its own, logs it as
`val/threshold`, and so the checkpoint holds it. The test split has no part in it.
"""

from pathlib import Path

from bptrain import tags
from bptrain.errors import CheckpointError, ConfigKeyError
from bptrain.experiment.config import ExperimentConfig
from bptrain.experiment.loss_choice import choose_loss
from bptrain.problem import Problem
from bptrain.rundir.checkpoint import read_values
from bptrain.tasks.decision import Decision

KEY = ("metrics", "threshold")


def decision_in_training(config: ExperimentConfig, problem: Problem) -> Decision:
    """Return the decision of a validation, which chooses the threshold if the config asks."""
    probabilities = choose_loss(config.loss, problem).probabilities
    chosen = config.metrics.threshold
    if isinstance(chosen, str):
        return Decision(probabilities, maximizes=chosen)
    return Decision(probabilities, chosen)


def decision_of(config: ExperimentConfig, problem: Problem, checkpoint: Path) -> Decision:
    """Return the decision of a saved state.

    Raises CheckpointError if its threshold was to be chosen, and it was never validated.
    """
    decision = decision_in_training(config, problem)
    if decision.maximizes is None:
        return decision
    threshold = read_values(checkpoint).metrics.get(tags.VAL_THRESHOLD)
    if threshold is None:
        raise CheckpointError(
            f"{checkpoint}: has no decision threshold",
            f"metrics.threshold is {decision.maximizes}, and this state was never validated",
            "--checkpoint best, or train on to the end of an epoch",
        )
    return Decision(decision.probabilities, threshold)


def refuse_threshold(config: ExperimentConfig, problem: Problem, is_validated: bool) -> None:
    """Raise ConfigKeyError for a threshold of other outputs than two classes, or without data."""
    threshold = config.metrics.threshold
    if threshold is None:
        return
    if problem.task != "classification" or problem.outputs != 2:
        asked = "1 class" if problem.outputs == 1 else f"{problem.outputs:,} classes"
        raise ConfigKeyError(
            KEY,
            "a threshold decides between two classes",
            f"the data has {asked}"
            if problem.task == "classification"
            else f"the task is {problem.task}",
            "leave it out",
        )
    if isinstance(threshold, str) and not is_validated:
        raise ConfigKeyError(
            KEY,
            "there are no validation samples to choose it by",
            hint="a data.validation_fraction above 0, or a number such as 0.3",
        )
