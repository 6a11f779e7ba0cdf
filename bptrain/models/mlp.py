"""Multilayer perceptron: linear layers with an activation between them."""

from collections import OrderedDict
from itertools import pairwise
from math import prod
from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor

from bptrain import nn
from bptrain.config import StrictConfig
from bptrain.errors import ConfigKeyError, UsageError
from bptrain.models.activations import ACTIVATIONS, Activation
from bptrain.models.initialization import Initialization, initialize
from bptrain.problem import Problem

WIDEST = 1_048_576  # units in one layer; a larger number is a typing error


class MLP(torch.nn.Sequential):
    """linear1, norm1, relu1, dropout1, add1, linear2, ..., output, on inputs flattened to [N, I].

    The config chooses which of them a layer has; `add` is the skip connection around it.
    """

    def forward(self, input: Tensor) -> Tensor:
        """Return the outputs [N, K] of input [N, ...]."""
        x = skipped = input.flatten(1)
        for name, layer in self.named_children():
            if name.startswith("linear"):
                skipped = x
            x = layer(x, skipped) if name.startswith("add") else layer(x)
        return x


class MLPConfig(StrictConfig):
    """A multilayer perceptron."""

    kind: Literal["mlp"] = "mlp"
    hidden: list[Annotated[int, Field(ge=1, le=WIDEST)]] = Field(
        default=[256, 128],
        max_length=100,
        description="units of each hidden layer; [] for none, a linear model",
    )
    activation: Activation = Field(
        default="relu", description="activation function after each hidden layer"
    )
    normalization: Literal["none", "batch", "layer"] = Field(
        default="none",
        description="normalization between each linear layer and its activation: batch is "
        "BatchNorm1d, layer is LayerNorm",
    )
    dropout: float = Field(
        default=0.0,
        ge=0,
        lt=1,
        description="probability that dropout zeroes a hidden unit in training; the default 0 is "
        "no dropout, 0.1 to 0.5 is usual against overfitting",
    )
    residual: bool = Field(
        default=False,
        description="add a skip connection around each hidden layer that is as wide as its input",
    )
    init: Initialization = Field(
        default="default",
        description="initialization scheme of the linear and convolution weights; default is "
        "torch.nn's own. kaiming suits relu, xavier tanh and sigmoid, lecun_normal selu",
    )

    def build(self, problem: Problem, device: torch.device | str) -> torch.nn.Module:
        """Return the model for a problem; torch's generator draws the weights.

        Raises UsageError for inputs that are tokens or sequences of different lengths, and for
        problems that need an output at each time step.
        """
        if problem.vocabulary or problem.varies or problem.output_kind.per != "sample":
            raise UsageError(
                f"an mlp cannot solve this {problem.task} problem",
                "it has a fixed number of inputs and one output vector for each sample",
                "model.kind=rnn",
            )
        layers: OrderedDict[str, torch.nn.Module] = OrderedDict()
        width = prod(problem.input_shape)
        self._refuse_unused_residual(width)
        for number, units in enumerate(self.hidden, start=1):
            layers |= self._hidden_layer(number, width, units, device)
            width = units
        layers["output"] = nn.Linear(width, problem.outputs, device=device)
        model = MLP(layers)
        initialize(model, self.init, self.activation)
        return model

    def _hidden_layer(
        self, number: int, width: int, units: int, device: torch.device | str
    ) -> dict[str, torch.nn.Module]:
        """Return the modules of a hidden layer by name, in their order."""
        # batch normalization subtracts the mean, and the bias with it
        bias = self.normalization != "batch"
        modules: dict[str, torch.nn.Module] = {
            "linear": nn.Linear(width, units, bias=bias, device=device)
        }
        if self.normalization != "none":
            kind = nn.BatchNorm1d if self.normalization == "batch" else nn.LayerNorm
            modules["norm"] = kind(units, device=device)
        modules[self.activation] = ACTIVATIONS[self.activation]()
        if self.dropout:
            modules["dropout"] = nn.Dropout(self.dropout)
        if self.residual and width == units:
            modules["add"] = nn.Add()
        return {f"{name}{number}": module for name, module in modules.items()}

    def _refuse_unused_residual(self, width: int) -> None:
        widths = [width, *self.hidden]
        if self.residual and all(a != b for a, b in pairwise(widths)):
            raise ConfigKeyError(
                ("model", "residual"),
                "no layer is as wide as the one before it, so none can have a skip connection",
                f"the widths are {', '.join(map(str, widths))}",
                "hidden layers of one width, such as model.hidden=[128, 128]",
            )
