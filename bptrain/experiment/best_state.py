"""Which state is the best: the ranking that a config chooses among its task's metrics."""

from collections.abc import Iterator
from difflib import get_close_matches

from bptrain import tags
from bptrain.errors import ConfigKeyError
from bptrain.experiment.config import ExperimentConfig
from bptrain.problem import Problem
from bptrain.tags import Ranking
from bptrain.tasks import task_of


def ranking_of(tag: str, problem: Problem) -> Ranking:
    """Return the ranking by a validation metric of a problem."""
    metric = task_of(problem).evaluation_metric(problem)
    return Ranking(tag, any(tags.split_tag("val", n) == tag for n in metric.larger_is_better))


def best_by(config: ExperimentConfig, problem: Problem) -> Ranking:
    """Return the ranking of the checkpoints of a run."""
    return ranking_of(config.checkpoint.best_by, problem)


def watched_metrics(config: ExperimentConfig) -> Iterator[tuple[tuple[str, ...], str]]:
    """Yield the keys of a config that name a validation metric, with its tag."""
    yield ("checkpoint", "best_by"), config.checkpoint.best_by
    if config.train.early_stopping is not None:
        yield ("train", "early_stopping", "metric"), config.train.early_stopping.metric


def refuse_unknown_metrics(config: ExperimentConfig, problem: Problem, is_validated: bool) -> None:
    """Raise ConfigKeyError for a metric that the task does not have, or that nothing measures."""
    names = task_of(problem).evaluation_metric(problem).names
    there = [tags.VAL_LOSS, *(tags.split_tag("val", name) for name in names)]
    for key, tag in watched_metrics(config):
        if tag not in there:
            meant = get_close_matches(tag, there, n=1)
            raise ConfigKeyError(
                key,
                f"{problem.task} has no {tag}",
                f"its metrics: {', '.join(there)}",
                f"did you mean {meant[0]}" if meant else "",
            )
        if tag != tags.VAL_LOSS and not is_validated:
            raise ConfigKeyError(
                key,
                f"there are no validation samples to compute {tag} on",
                hint="a data.validation_fraction above 0",
            )
