"""Mean squared error, of numbers or of one-hot classes."""

from typing import Literal

import torch
from torch import Tensor

from bptrain import nn
from bptrain.losses.loss_config import BaseLossConfig
from bptrain.losses.one_hot import OneHot
from bptrain.problem import Problem


class MSEConfig(BaseLossConfig):
    """Mean squared error; of classes against one-hot labels, which learns more slowly."""

    kind: Literal["mse"] = "mse"

    accepts_probabilities = True

    def build(self, problem: Problem) -> torch.nn.Module:
        """Return the loss."""
        loss = nn.MSELoss()
        return loss if problem.output_kind.targets == "numbers" else OneHot(loss)

    def probabilities(self, outputs: Tensor) -> Tensor:
        """Return the outputs themselves: the squared error is least at the probabilities."""
        return outputs.clamp(0, 1)

    def outputs_meaning(self, probabilities: Tensor) -> Tensor:
        """Return the probabilities themselves."""
        return probabilities
