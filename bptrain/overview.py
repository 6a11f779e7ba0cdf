"""What a person is shown before training: the model, its memory, the machine, a first config."""

import platform
import shutil
from pathlib import Path

import torch
from rich.console import Console

from bptrain.data.images.digits import DigitsConfig
from bptrain.experiment import ExperimentConfig, Plan
from bptrain.free_memory import in_words
from bptrain.models import LayerSummary, ModelConfig
from bptrain.models.cnn import OWN_STAGES, CNNConfig
from bptrain.models.mlp import MLPConfig
from bptrain.models.rnn import RNNConfig
from bptrain.models.sequential import SequentialConfig
from bptrain.monitor.console import table
from bptrain.train.memory import available_bytes
from bptrain.train.run_directory import device_name, package_versions

SHARED_MEMORY = Path("/dev/shm")  # noqa: S108  what worker processes pass batches through
STARTING_LAYERS = [
    {"Conv2d": {"out_channels": 32, "kernel_size": 3, "padding": 1}},
    "BatchNorm2d",
    "ReLU",
    {"MaxPool2d": 2},
    {"residual": [{"Conv2d": {"out_channels": 32, "kernel_size": 3, "padding": 1}}, "ReLU"]},
    {"AdaptiveAvgPool2d": 1},
    "Flatten",
    {"Linear": 10},
]


def print_plan(plan: Plan, console: Console) -> None:
    """Print the layers, the memory of a training step, the data and the length of the run."""
    rows = [
        [layer.name, layer.kind, _shape(layer), f"{layer.parameters:,}", in_words(layer.kept_bytes)]
        for layer in plan.layers
    ]
    columns = ["layer", "kind", "output shape", "parameters", "kept for backward"]
    console.print(table(plan.config.name, columns, rows))
    memory, dataset = plan.memory, plan.dataset
    parameters = sum(layer.parameters for layer in plan.layers)
    console.print(
        f"parameters {parameters:,}   memory {in_words(memory.total)}: "
        f"parameters {in_words(memory.parameters)}, gradients {in_words(memory.gradients)}, "
        f"optimizer {in_words(memory.optimizer)}, kept {in_words(memory.kept_for_backward)}, "
        f"data {in_words(memory.data)} ({in_words(available_bytes(plan.device))} free)\n"
        f"samples {len(dataset.train):,} train, {len(dataset.validation or ()):,} validation, "
        f"{len(dataset.test or ()):,} test   steps {plan.total_steps:,} "
        f"({plan.steps_per_epoch:,} an epoch)   device {device_name(plan.device)}",
        highlight=False,
        soft_wrap=True,
    )


def _shape(layer: LayerSummary) -> str:
    return " x ".join(str(size) for size in layer.output_shape)


def starter_config(kind: str) -> ExperimentConfig:
    """Return a small config for a kind of model, ready to run without a download."""
    models: dict[str, ModelConfig] = {
        "mlp": MLPConfig(),
        "cnn": CNNConfig(stages=OWN_STAGES),
        "rnn": RNNConfig(init="orthogonal"),
        "sequential": SequentialConfig(layers=STARTING_LAYERS),
    }
    return ExperimentConfig(name=f"my-{kind}", data=DigitsConfig(), model=models[kind])


def print_machine(console: Console) -> None:
    """Print what bptrain finds on this machine."""
    rows = [["python", platform.python_version()], ["platform", platform.platform()]]
    rows += [[package, version] for package, version in package_versions().items()]
    rows += [
        ["CUDA in torch", str(torch.version.cuda)],
        ["cuDNN", str(torch.backends.cudnn.version())],
        ["CPU", torch.backends.cpu.get_cpu_capability()],
        ["CPU threads", str(torch.get_num_threads())],
        ["memory free", in_words(available_bytes(torch.device("cpu")))],
    ]
    for number in range(torch.cuda.device_count()):
        device = torch.device("cuda", number)
        rows.append(["GPU", f"{device_name(device)}, {in_words(available_bytes(device))} free"])
    if torch.cuda.device_count() == 0:
        rows.append(["GPU", "none that torch can use"])
    if SHARED_MEMORY.is_dir():
        rows.append([str(SHARED_MEMORY), f"{in_words(shutil.disk_usage(SHARED_MEMORY).free)} free"])
    console.print(table("bptrain doctor", ["what", "found"], rows))
