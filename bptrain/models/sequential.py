"""A network layer by layer: torch.nn's names and arguments, its input sizes found out."""

from typing import Literal

import torch
from pydantic import Field
from torch import Tensor

from bptrain.config import StrictConfig
from bptrain.errors import ConfigKeyError, UsageError
from bptrain.models.activations import ACTIVATIONS, Activation
from bptrain.models.assembly import SAMPLES, Assembly, shape_text
from bptrain.models.initialization import Initialization, initialize
from bptrain.models.layer_list import LayerList
from bptrain.problem import Problem

OUTPUTS = ("sample", "step")  # that layers without a state can have


class TimeLast(torch.nn.Sequential):
    """Layers on sequences [N, T, F] that are handed to them as [N, F, T]."""

    def forward(self, input: Tensor) -> Tensor:
        """Return the last layer's output."""
        output: Tensor = super().forward(input.transpose(1, 2))  # type: ignore[no-untyped-call]
        return output


class SequentialConfig(StrictConfig):
    """A sequence of layers, by torch.nn's names."""

    kind: Literal["sequential"] = "sequential"
    layers: LayerList = Field(
        description="layers in order, by torch.nn's names and arguments; input sizes are "
        "inferred. Such as {Conv2d: {out_channels: 16, kernel_size: 3}}, ReLU, {Linear: 10}, "
        "{residual: [...], projection: true}, {concat: [[...], [...]]}"
    )
    time_last: bool = Field(
        default=False,
        description="sequences only: transpose the input to [N, features, time], as Conv1d "
        "expects; by default it is [N, time, features]",
    )
    init: Initialization = Field(
        default="default",
        description="initialization scheme of the linear and convolution weights; default is "
        "torch.nn's own. kaiming suits relu, xavier tanh and sigmoid, lecun_normal selu",
    )

    def build(self, problem: Problem, device: torch.device | str) -> torch.nn.Module:
        """Return the model for a problem; torch's generator draws the weights.

        Raises UsageError for sequences of different lengths and for transcriptions, ConfigKeyError
        for a layer that does not fit the one before it or the problem's outputs.
        """
        self._refuse_other_problems(problem)
        shape = problem.input_shape[::-1] if self.time_last else problem.input_shape
        dtype = torch.int64 if problem.vocabulary else torch.float32
        example = torch.empty(SAMPLES, *shape, dtype=dtype, device="meta")
        assembly = Assembly(device, problem.vocabulary)
        layers, output = assembly.chain(self.layers, example, ("model", "layers"))
        self._refuse_other_outputs(output, problem)
        model = TimeLast(*layers) if self.time_last else layers
        initialize(model, self.init, first_activation(model))
        return model

    def _refuse_other_problems(self, problem: Problem) -> None:
        if problem.varies or problem.output_kind.per not in OUTPUTS:
            raise UsageError(
                f"a sequential model cannot solve this {problem.task} problem",
                "its layers ignore sequence lengths and carry no state from window to window",
                "model.kind=rnn, or data of one length",
            )
        if self.time_last and not (problem.is_sequence and len(problem.input_shape) == 2):
            raise ConfigKeyError(
                ("model", "time_last"),
                f"samples {shape_text((SAMPLES, *problem.input_shape))} are not sequences "
                "[N, time, features]",
                hint="remove model.time_last",
            )

    def _refuse_other_outputs(self, output: Tensor, problem: Problem) -> None:
        steps = () if problem.output_kind.per == "sample" else problem.input_shape[:1]
        expected = (SAMPLES, *steps, problem.outputs)
        if output.shape != expected:
            raise ConfigKeyError(
                ("model", "layers", len(self.layers) - 1),
                f"the last layer returns {shape_text(output.shape)}, "
                f"this {problem.task} problem needs {shape_text(expected)}",
                hint=f"{{Linear: {problem.outputs}}} at the end, after a Flatten if needed",
            )


def first_activation(model: torch.nn.Module) -> Activation | None:
    """Return the name of the first activation of a model, or None."""
    kinds = {kind: name for name, kind in ACTIVATIONS.items()}
    return next((kinds[type(m)] for m in model.modules() if type(m) in kinds), None)
