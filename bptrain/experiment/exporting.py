"""A run's model in formats that other programs read, and what they do before and after it."""

import io
import json
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save
from torch import Tensor, nn

from bptrain.errors import BptrainError, UsageError
from bptrain.experiment.config import ExperimentConfig
from bptrain.experiment.decisions import decision_of
from bptrain.experiment.loss_choice import choose_loss
from bptrain.models.scanned import scanned
from bptrain.problem import Problem

Inputs = tuple[Tensor, ...]
BATCH, STEPS = 3, 7  # of the example; the graphs take any
LARGEST_DIFFERENCE = 1e-5  # of an export's outputs and the run's model's, relative to the largest
MISSING = "the packages of the extra are not installed"
OUTPUTS_MEAN = {
    "mse": "clamp(0, 1)",
    "bce_with_logits": "sigmoid",
}  # what turns outputs into probabilities; for all other losses softmax


def state_of(model: nn.Module) -> dict[str, Tensor]:
    """Return the weights by name, each in memory of its own: formats share none."""
    return {name: each.detach().cpu().clone() for name, each in model.state_dict().items()}


def example_inputs(problem: Problem) -> Inputs:
    """Return inputs of the shape that a model of a problem takes."""
    shape = list(problem.input_shape)
    if _time_varies(problem):
        shape[0] = min(STEPS, shape[0])
    generator = torch.Generator().manual_seed(0)
    if problem.vocabulary:
        inputs = torch.randint(1, max(2, problem.vocabulary), (BATCH, *shape), generator=generator)
        inputs = inputs.clamp(max=problem.vocabulary - 1)
    else:
        inputs = torch.randn(BATCH, *shape, generator=generator)
    lengths = torch.tensor([STEPS, 2, 4]).clamp(max=shape[0])
    return (inputs, lengths) if problem.varies else (inputs,)


def _time_varies(problem: Problem) -> bool:
    """Return whether a graph of the model takes sequences of any length."""
    return problem.varies or problem.task == "language_model"


def _dynamic(model: nn.Module, problem: Problem) -> tuple[dict[int, Any], ...]:
    """Return which axes of the inputs may have any length, time as far as the model reads it."""
    batch = torch.export.Dim("batch")
    time = torch.export.Dim("time", max=getattr(model, "context", None))
    axes = {0: batch, 1: time} if _time_varies(problem) else {0: batch}
    return (axes, {0: batch}) if problem.varies else (axes,)


def as_safetensors(model: nn.Module, problem: Problem) -> bytes:
    """Return the weights as a .safetensors file."""
    return save(state_of(model))


def as_state_dict(model: nn.Module, problem: Problem) -> bytes:
    """Return the weights as torch.save writes a state_dict: tensors only."""
    file = io.BytesIO()
    torch.save(state_of(model), file)
    return file.getvalue()


def as_exported_program(model: nn.Module, problem: Problem) -> bytes:
    """Return the model's graph as a .pt2 file of torch.export."""
    file = io.BytesIO()
    torch.export.save(_graph(model, problem), file)
    return file.getvalue()


def as_onnx(model: nn.Module, problem: Problem) -> bytes:
    """Return the model's graph as an ONNX file.

    Raises UsageError where the packages that write it are not installed.
    """
    try:
        import onnx  # noqa: F401
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise UsageError(
            "an .onnx file needs onnx and onnxscript", MISSING, "pip install 'bptrain[export]'"
        ) from error
    names = ["input", "lengths"][: 1 + problem.varies]
    with warnings.catch_warnings():  # of torch's exporter, about itself
        warnings.simplefilter("ignore")
        program = torch.onnx.export(
            _graph(model, problem),
            dynamo=True,
            verbose=False,
            input_names=names,
            output_names=["output"],
        )
    assert program is not None
    return program.model_proto.SerializeToString()  # type: ignore[no-any-return]


def _graph(model: nn.Module, problem: Problem) -> torch.export.ExportedProgram:
    """Return the model's graph, for batches and sequences of any size."""
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return torch.export.export(
            scanned(model), example_inputs(problem), dynamic_shapes=_dynamic(model, problem)
        )


FORMATS: dict[str, Callable[[nn.Module, Problem], bytes]] = {
    ".safetensors": as_safetensors,
    ".pt": as_state_dict,
    ".pt2": as_exported_program,
    ".onnx": as_onnx,
}


def format_of(path: Path) -> Callable[[nn.Module, Problem], bytes]:
    """Return what writes the format that a file's ending names, or raise UsageError."""
    if path.suffix not in FORMATS:
        raise UsageError(
            f"{path}: unknown format", hint=f"a name that ends in {', '.join(FORMATS)}"
        )
    return FORMATS[path.suffix]


@torch.no_grad()
def refuse_other_outputs(model: nn.Module, exported: nn.Module, problem: Problem) -> float:
    """Return the largest difference of the plain model's outputs, or raise if it is no rounding."""
    inputs = example_inputs(problem)
    expected, found = model(*inputs), exported(*inputs)
    difference = float((expected - found).abs().max())
    if not difference <= LARGEST_DIFFERENCE * max(1.0, float(expected.abs().max())):
        raise BptrainError(
            f"the exported model's outputs differ by {difference:.3g}",
            "they should equal those of the run's model to rounding",
            "report it; nothing was written",
        )
    return difference


def description(
    name: str,
    checkpoint: Path,
    config: ExperimentConfig,
    problem: Problem,
    prepared: dict[str, Any],
) -> bytes:
    """Return the JSON of what to do with inputs before the model, and with outputs after it.

    Its keys are documented in docs/export.md.
    """
    shape: list[Any] = ["batch", *problem.input_shape]
    if _time_varies(problem):
        shape[1] = "time"
    inputs = [
        {"name": "input", "dtype": "int64" if problem.vocabulary else "float32", "shape": shape}
    ]
    if problem.varies:
        inputs.append({"name": "lengths", "dtype": "int64", "shape": ["batch"]})
    after: dict[str, Any] = {"names": list(problem.names)}
    if problem.output_kind.targets == "numbers":
        after |= {"center": problem.center, "spread": problem.spread}
    else:
        kind = choose_loss(config.loss, problem).kind
        after["probabilities"] = OUTPUTS_MEAN.get(kind, "softmax")
        after["threshold"] = decision_of(config, problem, checkpoint).threshold
    content = {
        "run": name,
        "checkpoint": checkpoint.name,
        "task": problem.task,
        "inputs": inputs,
        "outputs": {"per": problem.output_kind.per, "count": problem.outputs},
        "before": {"data": config.data.model_dump(mode="json"), "fitted": prepared},
        "after": after,
    }
    return (json.dumps(content, indent=2) + "\n").encode()
