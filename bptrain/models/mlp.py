"""Multilayer perceptron: linear layers with an activation between them."""

from collections import OrderedDict
from math import prod
from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor

from bptrain import nn
from bptrain.config import StrictConfig
from bptrain.errors import UsageError
from bptrain.models.initialization import Activation, Initialization, initialize
from bptrain.problem import Problem

WIDEST = 1_048_576  # units in one layer: beyond this a number is a slip of the finger

TASKS = ("classification", "regression")

ACTIVATIONS: dict[Activation, type[torch.nn.Module]] = {
    "relu": nn.ReLU,
    "tanh": nn.Tanh,
    "sigmoid": nn.Sigmoid,
}


class MLP(torch.nn.Sequential):
    """linear1, relu1, linear2, relu2, ..., output, on inputs [N, ...] flattened to [N, I]."""

    def forward(self, input: Tensor) -> Tensor:
        """Return the outputs [N, K]."""
        output: Tensor = super().forward(input.flatten(1))  # type: ignore[no-untyped-call]
        return output


class MLPConfig(StrictConfig):
    """A multilayer perceptron."""

    kind: Literal["mlp"] = "mlp"
    hidden: list[Annotated[int, Field(ge=1, le=WIDEST)]] = Field(
        default=[256, 128], max_length=100, description="units of each hidden layer; [] for none"
    )
    activation: Activation = Field(default="relu", description="between the linear layers")
    init: Initialization = Field(
        default="default", description="how the starting weights are drawn"
    )

    def build(self, problem: Problem, device: torch.device | str) -> torch.nn.Module:
        """Return the model for a problem; torch's generator draws the weights.

        Raises UsageError for inputs that are tokens, sequences of different lengths, or where an
        output for each time step is asked for.
        """
        if problem.vocabulary or problem.varies or problem.task not in TASKS:
            raise UsageError(
                f"an mlp cannot solve this {problem.task} problem",
                "it reads a fixed count of numbers and answers once",
                "model.kind=rnn",
            )
        layers: OrderedDict[str, torch.nn.Module] = OrderedDict()
        width = prod(problem.input_shape)
        for number, units in enumerate(self.hidden, start=1):
            layers[f"linear{number}"] = nn.Linear(width, units, device=device)
            layers[f"{self.activation}{number}"] = ACTIVATIONS[self.activation]()
            width = units
        layers["output"] = nn.Linear(width, problem.outputs, device=device)
        model = MLP(layers)
        initialize(model, self.init, self.activation)
        return model
