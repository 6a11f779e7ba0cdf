"""Binary cross-entropy: a sigmoid for each class, independent of the others."""

from typing import Literal

import torch
from torch import Tensor

from bptrain import nn
from bptrain.losses.loss_config import BaseLossConfig
from bptrain.losses.one_hot import OneHot
from bptrain.problem import Problem


class BCEWithLogitsConfig(BaseLossConfig):
    """A sigmoid for each class, so that classes do not compete for the probability."""

    kind: Literal["bce_with_logits"] = "bce_with_logits"

    accepts_probabilities = True

    def build(self, problem: Problem) -> torch.nn.Module:
        """Return the loss of logits."""
        return OneHot(nn.BCEWithLogitsLoss())

    def probabilities(self, outputs: Tensor) -> Tensor:
        """Return each class's own probability; of a sample they need not sum to 1."""
        return outputs.sigmoid()

    def outputs_meaning(self, probabilities: Tensor) -> Tensor:
        """Return the logits of each class's own probability."""
        return probabilities.logit()
