"""The plan of a run: device, data, layers and memory, known before the model is allocated."""

from dataclasses import dataclass, replace
from math import prod

import torch
from torch import nn

from bptrain.data import BatchSource, Dataset, Split
from bptrain.data.balanced_order import BalancedOrder
from bptrain.data.batches import FewBatches, Reorderable
from bptrain.errors import ConfigKeyError, UsageError
from bptrain.experiment.best_state import refuse_unknown_metrics
from bptrain.experiment.config import ExperimentConfig, TrainConfig
from bptrain.experiment.decisions import refuse_threshold
from bptrain.experiment.loss_choice import balanced, choose_loss
from bptrain.experiment.sharding import refuse_what_no_shards_can
from bptrain.models import LayerSummary, summarize
from bptrain.problem import Problem
from bptrain.train.memory import MemoryEstimate
from bptrain.train.ranks import ONE, Ranks
from bptrain.train.states import CarriesState

SMALL_PARAMETERS = 2**22  # numbers
SMALL_SAMPLE = 2**14  # numbers
SMALL_LENGTH = 2**10  # time steps
SMALL_OUTPUTS = 2**22  # numbers in the outputs of all layers for one batch


def resolve_device(name: str) -> torch.device:
    """Return the device of the config, or raise UsageError if the machine lacks it."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    device = torch.device(name)
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise UsageError(
            f"device is {name}, this machine has {torch.cuda.device_count()} CUDA devices",
            hint="device: auto takes what there is; `bptrain doctor` lists it",
        )
    return device


@dataclass(frozen=True)
class Plan:
    """What will be trained, known before the model is allocated.

    config           resolved: it names the loss
    ranks            the processes that train together
    frozen           how many of the model's weights are not trained
    batch_size_note  which batch size was found for auto, and why; "" where the config says it
    """

    config: ExperimentConfig
    loss_function: nn.Module
    device: torch.device
    dataset: Dataset
    layers: list[LayerSummary]
    memory: MemoryEstimate
    ranks: Ranks = ONE
    frozen: int = 0
    batch_size_note: str = ""

    @property
    def steps_per_epoch(self) -> int:
        """Optimizer steps of an epoch."""
        # shuffled, as in training: a text is cut into other batches for evaluation
        batches = len(serve(self.config, self.dataset.train, self.config.seed))
        return -(-batches // self.config.train.grad_accum_steps)

    @property
    def total_steps(self) -> int:
        """Optimizer steps of the run."""
        return self.config.train.steps or self.config.train.epochs * self.steps_per_epoch


def plan(config: ExperimentConfig) -> Plan:
    """Read the data and inspect the model on the meta device, allocating none of it."""
    return plan_of(config, resolve_device(config.device), config.data.build(config.seed))


def plan_of(config: ExperimentConfig, device: torch.device, dataset: Dataset) -> Plan:
    """Inspect the model on the meta device; the data is read already."""
    problem = dataset.problem
    loss = balanced(choose_loss(config.loss, problem), dataset.train, problem)
    config = config.model_copy(update={"loss": loss})
    serve(config, dataset.train)  # raises an error for train.bptt with data that is not sequential
    refuse_what_cannot_work(config, dataset)
    batch_size = min(config.batch_size, len(dataset.train))
    with torch.random.fork_rng(devices=[]):
        served = as_served(problem, config.train)
        model = build_to_inspect(config, served, batch_size)
        refuse_bptt_without_state(config, model)
        refuse_lone_sample(config, dataset, model)
        layers = summarize(model, served, batch_size)
    parameters = sum(p.numel() * p.element_size() for p in model.parameters())
    outputs = batch_size * problem.outputs * 4  # the loss saves its input
    # the average, and the live weights while it is evaluated in their place
    averaged = 2 * (config.train.ema_decay is not None)
    trained = sum(p.numel() * p.element_size() for p in model.parameters() if p.requires_grad)
    memory = MemoryEstimate(
        parameters,
        gradients=trained,
        optimizer=trained * config.optimizer.states + parameters * averaged,
        saved_for_backward=sum(layer.saved_bytes for layer in layers) + outputs,
        data=dataset.bytes,
    )
    return Plan(
        config, loss.build(problem), device, dataset, layers, memory, frozen=frozen_of(model)
    )


def frozen_of(model: nn.Module) -> int:
    """Return how many numbers of a model are not trained."""
    return sum(p.numel() for p in model.parameters() if not p.requires_grad)


def build_to_inspect(config: ExperimentConfig, problem: Problem, batch_size: int) -> nn.Module:
    """Return the model on the meta device, or on the CPU if its forward pass is small.

    Nothing is allocated on the meta device. But torch imports its compiler for the shape rules of
    meta tensors, which takes 1.2 s and 100 MB (torch 2.14.1 on two CPU cores): more than a forward
    pass of a small model.
    """
    model = config.model.build(problem, torch.device("meta"))
    if not is_surely_small(model, problem):
        return model
    allocated = config.model.build(problem, torch.device("cpu"))
    two = summarize(allocated, problem, 2)  # batch normalization cannot take one
    outputs = sum(prod(layer.output_shape) for layer in two) * batch_size // 2
    return allocated if outputs <= SMALL_OUTPUTS else model


def is_surely_small(model: nn.Module, problem: Problem) -> bool:
    """Return whether a forward pass of two samples takes less memory and time than that import."""
    length = problem.input_shape[0] if problem.is_sequence else 1
    parameters = sum(each.numel() for each in model.parameters())
    is_small_sample = prod(problem.input_shape) <= SMALL_SAMPLE and length <= SMALL_LENGTH
    return parameters <= SMALL_PARAMETERS and is_small_sample


def refuse_what_cannot_work(config: ExperimentConfig, dataset: Dataset) -> None:
    """Raise ConfigKeyError for parts of a config that exclude each other."""
    refuse_what_needs_the_tape(config)
    refuse_what_no_shards_can(config)
    refuse_unbalanced(config, dataset)
    refuse_no_batch(config, dataset)
    refuse_what_no_rule_can(config)
    watching = {("schedule", "kind"): config.schedule.watches_validation}
    watching["train", "early_stopping"] = config.train.early_stopping is not None
    for key, watches in watching.items():
        if watches and dataset.validation is None:
            raise ConfigKeyError(
                key,
                "it watches the validation loss, and there are no validation samples",
                hint="a data.validation_fraction above 0",
            )
    refuse_unknown_metrics(config, dataset.problem, dataset.validation is not None)
    refuse_threshold(config, dataset.problem, dataset.validation is not None)
    if config.optimizer.searches:
        refuse_what_no_search_can(config, dataset.problem)


def refuse_what_needs_the_tape(config: ExperimentConfig) -> None:
    """Raise ConfigKeyError for what only the tape does, where the engine is another."""
    if config.engine != "autograd":
        return
    if config.backward != "backprop":
        raise ConfigKeyError(
            ("backward",),
            "engine is autograd",
            "only the tape has another rule than backpropagation",
            "engine=auto, or backward=backprop",
        )
    if config.train.checkpointing != "none":
        raise ConfigKeyError(
            ("train", "checkpointing"),
            "engine is autograd",
            "only the tape computes parts of the forward pass again",
            "engine=auto, or train.checkpointing=none",
        )
    if config.compile is not False:
        raise ConfigKeyError(
            ("compile",), "engine is autograd", "only the tape is compiled", "engine=auto"
        )


def refuse_what_no_rule_can(config: ExperimentConfig) -> None:
    """Raise ConfigKeyError for settings that a learning rule without gradients does not support."""
    if config.backward == "backprop":
        return
    refused = {
        f"with optimizer.kind={config.optimizer.kind}": (
            config.optimizer.searches,
            "its line search needs the gradient of the loss",
            "optimizer.kind=sgd",
        ),
        "compiled": (config.compile is not False, "only backprop is compiled", "compile=false"),
        "with train.checkpointing": (
            config.backward == "forward_gradient" and config.train.checkpointing != "none",
            "it has no backward pass for which anything would be kept",
            "train.checkpointing=none",
        ),
    }
    for what, (is_so, why, hint) in refused.items():
        if is_so:
            raise ConfigKeyError(("backward",), f"cannot be {config.backward} {what}", why, hint)


def refuse_learning_rules(config: ExperimentConfig, why: str) -> None:
    """Raise ConfigKeyError for another rule than backpropagation, which a command is about."""
    if config.backward != "backprop":
        raise ConfigKeyError(("backward",), f"is {config.backward}", why, "backward=backprop")


def refuse_what_no_search_can(config: ExperimentConfig, problem: Problem) -> None:
    """Raise ConfigKeyError for settings that an optimizer with a line search does not support."""
    refused = {
        "in fp16": (
            config.precision == "fp16",
            "the gradient scaler of fp16 cannot skip a step in the middle of a search",
            "precision=bf16",
        ),
        "with clipping": (
            config.train.clipping is not None,
            "its line search needs the gradient of the loss, and a clipped one is not that",
            "leave train.clip_grad_norm and its like out",
        ),
        "with train.l1": (
            config.train.l1 > 0,
            "the penalty is not part of the loss of its line search, and not differentiable at 0",
            "another optimizer, or leave train.l1 out",
        ),
        "with a language model": (
            problem.output_kind.per == "carried step",
            "it evaluates the loss of a window several times, and each time would advance the "
            "state that the model carries",
            "optimizer.kind=adamw",
        ),
    }
    for what, (is_so, why, hint) in refused.items():
        if is_so:
            raise ConfigKeyError(("optimizer", "kind"), f"cannot be used {what}", why, hint)


def refuse_lone_sample(config: ExperimentConfig, dataset: Dataset, model: nn.Module) -> None:
    """Raise ConfigKeyError if a batch has a single sample, and the model cannot train on one."""
    samples, batch_size = len(dataset.train), config.batch_size
    if drops_last(config, dataset.train):
        return
    last = samples % batch_size or min(samples, batch_size)
    if last != 1 or config.train.bptt is not None:
        return
    try:
        summarize(model, dataset.problem, last)
    except ValueError as error:
        raise ConfigKeyError(
            ("data", "batch_size"),
            f"of {samples:,} samples in batches of {batch_size:,}, the last batch has one sample",
            f"batch normalization needs the variance over a batch: {error}",
            "data.drop_last: true, another batch_size, or layer normalization",
        ) from error


def refuse_bptt_without_state(config: ExperimentConfig, model: nn.Module) -> None:
    """Raise ConfigKeyError for train.bptt with a model that reads each window by itself."""
    if config.train.bptt is not None and not isinstance(model, CarriesState):
        raise ConfigKeyError(
            ("train", "bptt"),
            f"a {config.model.kind} carries no state from window to window",
            "it reads data.window tokens at a time, and learns from no others",
            "data.window, and no train.bptt",
        )


def as_served(problem: Problem, train: TrainConfig) -> Problem:
    """Return the problem with the time steps of a batch, which train.bptt may shorten."""
    if train.bptt is None or not problem.is_sequence:
        return problem
    return replace(problem, input_shape=(train.bptt, *problem.input_shape[1:]))


def serve(config: ExperimentConfig, split: Split, seed: int | None = None) -> BatchSource:
    """Return the batches of a split as the config describes them, shuffled if a seed is given."""
    size = config.batch_size
    batches = split.serve(size, seed, config.train.bptt)
    if seed is None:
        return batches
    if is_balanced(config):
        assert isinstance(batches, Reorderable), "a plan refuses others"
        batches = batches.in_order(BalancedOrder(split.targets))
    return FewBatches(batches, len(split) // size) if drops_last(config, split) else batches


def drops_last(config: ExperimentConfig, split: Split) -> bool:
    """Return whether training leaves out samples that do not fill a batch, and there are some."""
    is_asked_for = getattr(config.data, "drop_last", False)  # windows of long texts are all whole
    return is_asked_for and len(split) % config.batch_size > 0


def refuse_no_batch(config: ExperimentConfig, dataset: Dataset) -> None:
    """Raise ConfigKeyError if dropping the last batch would leave none."""
    samples, batch_size = len(dataset.train), config.batch_size
    if drops_last(config, dataset.train) and samples < batch_size:
        raise ConfigKeyError(
            ("data", "drop_last"),
            "it would leave no batch",
            f"the {samples:,} training samples do not fill one of {batch_size:,}",
            f"data.batch_size: {samples:,} or less, or data.drop_last: false",
        )


def is_balanced(config: ExperimentConfig) -> bool:
    """Return whether each class is trained on equally often."""
    return getattr(config.data, "sampling", "shuffled") == "balanced"  # long texts have no samples


def refuse_unbalanced(config: ExperimentConfig, dataset: Dataset) -> None:
    """Raise ConfigKeyError for balanced sampling of what does not have a class for each sample."""
    kind = dataset.problem.output_kind
    if not is_balanced(config):
        return
    if kind.per != "sample" or kind.targets != "classes":
        raise ConfigKeyError(
            ("data", "sampling"),
            f"is balanced, and {dataset.problem.task} has no class for each sample",
            hint="data.sampling: shuffled",
        )
    if not isinstance(dataset.train.serve(1, config.seed), Reorderable):
        raise ConfigKeyError(
            ("data", "sampling"),
            "is balanced, and these samples are drawn anew in every epoch",
            hint="data.sampling: shuffled",
        )
