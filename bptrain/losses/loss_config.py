"""What the losses share: a config class that builds the module and says what its outputs mean."""

from typing import ClassVar

import torch
from torch import Tensor

from bptrain.config import StrictConfig
from bptrain.problem import Problem


class BaseLossConfig(StrictConfig):
    """A loss. Which tasks it fits is the task's to say.

    accepts_probabilities  whether a target may be class probabilities, where classes are mixed
    """

    kind: str = ""
    accepts_probabilities: ClassVar[bool] = False

    @property
    def is_likelihood(self) -> bool:
        """Whether it is the mean negative log-likelihood of the classes that count."""
        return False

    def build(self, problem: Problem) -> torch.nn.Module:
        """Return the loss module."""
        raise NotImplementedError

    def probabilities(self, outputs: Tensor) -> Tensor:
        """Return the class probabilities [..., K] that a model trained with this loss means."""
        return outputs.softmax(-1)

    def outputs_of(self, shares: Tensor) -> Tensor:
        """Return the outputs [K] of the best constant prediction for these shares of classes."""
        return self.outputs_meaning(shares)

    def outputs_meaning(self, probabilities: Tensor) -> Tensor:
        """Return outputs [..., K] that mean these probabilities: the inverse of `probabilities`."""
        return probabilities.log()
