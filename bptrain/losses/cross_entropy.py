"""Cross-entropy: softmax and negative log-likelihood of classes."""

from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor

from bptrain import nn
from bptrain.errors import ConfigKeyError
from bptrain.losses.loss_config import BaseLossConfig
from bptrain.problem import Problem


class CrossEntropyConfig(BaseLossConfig):
    """Softmax and negative log-likelihood."""

    kind: Literal["cross_entropy"] = "cross_entropy"
    label_smoothing: float = Field(
        default=0.0,
        ge=0,
        lt=1,
        description="share of each label that is spread evenly over all classes; above 0, such as "
        "0.1, it keeps the network from becoming overconfident",
    )

    class_weights: list[Annotated[float, Field(gt=0, le=1e6)]] | Literal["balanced"] | None = Field(
        default=None,
        description="weight of each class in the loss, in the order of the classes, so that a rare "
        "one counts for more. balanced: N / (K n) for a class with n of N training samples, so "
        "that all K classes together count the same; null weighs every sample the same",
    )

    accepts_probabilities = True

    @property
    def is_likelihood(self) -> bool:
        """Whether it is the mean negative log-likelihood of the classes that count."""
        return self.label_smoothing == 0 and self.class_weights is None

    def build(self, problem: Problem) -> torch.nn.Module:
        """Return the loss of logits; raises ConfigKeyError for weights of other classes."""
        loss = nn.CrossEntropyLoss(self._weights(problem), label_smoothing=self.label_smoothing)
        return loss if problem.output_kind.per == "sample" else EachStep(loss)

    def balanced_for(self, counts: Tensor) -> "CrossEntropyConfig":
        """Return the config with the weights that balance classes of these counts [K].

        A class without a training sample has weight 1: nothing is weighed by it.
        """
        weights = counts.sum() / (len(counts) * counts.clamp(min=1))
        weights = torch.where(counts > 0, weights, 1.0)
        return self.model_copy(update={"class_weights": weights.tolist()})

    def outputs_of(self, shares: Tensor) -> Tensor:
        """Return the logits of the shares, smoothed and weighted as the labels are."""
        smoothing = self.label_smoothing
        smoothed = (1 - smoothing) * shares + smoothing / len(shares)
        if isinstance(self.class_weights, list):
            smoothed = smoothed * smoothed.new_tensor(self.class_weights)
        return (smoothed / smoothed.sum()).log()

    def _weights(self, problem: Problem) -> Tensor | None:
        """Return the weights of the classes [K]."""
        assert self.class_weights != "balanced", "a plan replaces it by the weights"
        if self.class_weights is None:
            return None
        if len(self.class_weights) != problem.outputs:
            raise ConfigKeyError(
                ("loss", "class_weights"),
                f"has {len(self.class_weights):,} weights for {problem.outputs:,} classes",
                f"the classes are {', '.join(problem.names)}" if problem.names else "",
                "a weight for each class, or balanced",
            )
        return torch.tensor(self.class_weights)


class EachStep(torch.nn.Module):
    """A loss of samples [N, K] and [N], over every time step of [N, T, K] and [N, T]."""

    def __init__(self, loss: torch.nn.Module) -> None:
        super().__init__()
        self.loss = loss

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        """Return the loss, each time step a sample of its own."""
        # views of a contiguous output: [N * T, K] and [N * T]
        loss: Tensor = self.loss(input.flatten(0, 1), target.flatten())
        return loss
