"""Build data, model, loss, metrics and update from a plan, on its device."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NoReturn

import torch
from torch import nn

from bptrain.data import BatchSource, Dataset
from bptrain.data.batches import Divisible
from bptrain.errors import UsageError
from bptrain.experiment.config import ExperimentConfig
from bptrain.experiment.decisions import decision_in_training
from bptrain.experiment.plan import Plan, serve
from bptrain.experiment.sharded_model import sharded_model
from bptrain.ops.over_processes import synchronize
from bptrain.tape import Autograd, Engine, Step
from bptrain.tape.learning_rules.rule import learning_rule
from bptrain.tape.learning_rules.step import StepByRule
from bptrain.tasks import task_of
from bptrain.train.buckets import MIB
from bptrain.train.evaluate import LossMetric, Metric
from bptrain.train.memory import refuse_if_too_large
from bptrain.train.precision import Precision
from bptrain.train.ranks import ONE, Ranks
from bptrain.train.sharding import average_of, layer_gradients, optimizer_on_parts
from bptrain.train.shards import ShardedRanks
from bptrain.train.states import CarriedState, CarriesState
from bptrain.train.update import Update


@dataclass(frozen=True)
class Experiment:
    """Everything that `fit` needs, on its device.

    batches  of all processes together
    ranks    the processes that train together
    """

    config: ExperimentConfig
    device: torch.device
    dataset: Dataset
    model: nn.Module
    loss_function: nn.Module
    engine: Engine
    training_metric: Metric
    evaluation_metric: Metric
    update: Update
    batches: BatchSource
    steps_per_epoch: int
    total_steps: int
    ranks: Ranks = ONE

    @property
    def own_batches(self) -> BatchSource:
        """The batches, of each the rows that this process trains on."""
        return own_part(self.batches, self.ranks)

    @property
    def carried(self) -> CarriedState | None:
        """The state that the model carries from batch to batch, if it is such a model."""
        if not isinstance(self.model, CarriesState):
            return None
        return CarriedState(self.model, self.config.batch_size, self.device, self.ranks)


def own_part(batches: BatchSource, ranks: Ranks) -> BatchSource:
    """Return the batches, of each the rows of this process."""
    if ranks.count == 1:
        return batches
    assert isinstance(batches, Divisible), "all training batches are"
    return batches.divided(ranks.rows)


def build(plan: Plan, change: Callable[[nn.Module], None] | None = None) -> Experiment:
    """Build the experiment, or raise UsageError before allocating a model that does not fit.

    change  is called with the new model, such as to load weights into it
    """
    config, device = plan.config, plan.device
    model = model_of(plan, change)
    dataset = plan.dataset.to(device)
    problem = dataset.problem
    loss_function = plan.loss_function.to(device)
    metric = training_metric(plan)
    is_synchronized = config.train.sync_batch_norm and plan.ranks.count > 1
    synchronize(plan.ranks.total if is_synchronized else None)
    return Experiment(
        config,
        device,
        dataset,
        model,
        loss_function,
        engine_of(
            by_autograd(config) if plan.ranks.shares_weights else config,
            model,
            loss_function,
            needs_outputs=not isinstance(metric, LossMetric),
        ),
        training_metric=metric,
        evaluation_metric=task_of(problem).evaluation_metric(
            problem, decision_in_training(config, problem)
        ),
        update=update_of(plan, model),
        batches=serve(config, dataset.train, config.seed),
        steps_per_epoch=plan.steps_per_epoch,
        total_steps=plan.total_steps,
        ranks=plan.ranks,
    )


def model_of(plan: Plan, change: Callable[[nn.Module], None] | None) -> nn.Module:
    """Return the model on its device, its weights drawn; see `build`."""
    if isinstance(plan.ranks, ShardedRanks):
        return sharded_model(plan, plan.ranks, change)
    refuse_if_too_large(plan.memory, plan.device)
    torch.manual_seed(plan.config.seed)
    # drawn on the CPU: the same weights on every device
    drawn = plan.config.model.build(plan.dataset.problem, torch.device("cpu"))
    model: nn.Module = drawn.to(plan.device)
    if change is not None:
        change(model)
    return model


def by_autograd(config: ExperimentConfig) -> ExperimentConfig:
    """Return the config with autograd as the engine: the tape holds its parameters in place."""
    return config.model_copy(update={"engine": "autograd"})


def training_metric(plan: Plan) -> Metric:
    """Return the metric of the training steps."""
    problem, loss = plan.dataset.problem, plan.config.loss
    assert loss is not None, "a plan's config names the loss"
    return task_of(problem).metric_in_training(problem, loss.is_likelihood)


def engine_of(
    config: ExperimentConfig,
    model: nn.Module,
    loss_function: nn.Module,
    needs_outputs: bool = True,
) -> Engine:
    """Return the config's engine; the tape falls back to autograd, and says so.

    A step by a learning rule never falls back: where it cannot run, it raises UsageError.

    needs_outputs  whether somebody reads the outputs of training steps
    """
    if config.engine == "autograd":
        return Autograd(model, loss_function)
    if config.backward != "backprop":
        rule = learning_rule(config.backward, config.seed)
        return StepByRule(model, loss_function, rule, config.train.checkpointing)
    step = Step(
        model,
        loss_function,
        checkpointing=config.train.checkpointing,
        compiles=config.compile is not False,
        needs_outputs=needs_outputs,
        records_again=config.engine == "tape" or config.train.checkpointing != "none",
    )
    if config.engine == "tape":
        step.notices.by_autograd = _refuse_autograd
    if config.compile is True:
        step.notices.not_compiled = _refuse_plain
    return step


def _refuse_autograd(reason: str) -> NoReturn:
    raise UsageError(
        "the model does not run on the tape", reason, "engine: auto, which then uses autograd"
    )


def _refuse_plain(reason: str) -> NoReturn:
    raise UsageError(
        "the training step cannot be compiled", reason, "compile: auto, which then does without"
    )


def update_of(plan: Plan, model: nn.Module) -> Update:
    """Return the update of the model's weights that the config describes."""
    config, train, ranks = plan.config, plan.config.train, plan.ranks
    gradients = layer_gradients(model, ranks)
    return Update(
        optimizer_on_parts(config.optimizer.build(model), ranks),
        config.schedule.build(plan.total_steps, plan.steps_per_epoch),
        gradients,
        Precision.of(config.precision, plan.device, config.kernels),
        batches=train.grad_accum_steps,
        sums=ranks.sums(gradients.parameters, train.bucket_mb * MIB),
        searches=config.optimizer.searches,
        clipping=train.clipping,
        l1=train.l1,
        average=average_of(model, train.ema_decay, ranks) if train.ema_decay else None,
    )
