"""How outputs become classes: what probabilities they mean, and which class is predicted.

Of two classes a threshold can decide: the second one is predicted where its probability is at
least the threshold. It is given, or chosen by the samples of a validation as the one with the best
balanced accuracy or the best F1 of the second class.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, TypeAlias

from torch import Tensor

Probabilities: TypeAlias = Callable[[Tensor], Tensor]  # of classes [..., K], which outputs mean
Maximized: TypeAlias = Literal["balanced_accuracy", "f1"]


def softmax(outputs: Tensor) -> Tensor:
    """Return the probabilities [..., K] that logits mean."""
    return outputs.softmax(-1)


@dataclass(frozen=True)
class Decision:
    """What is read from outputs [..., K].

    probabilities  of classes, as the loss means them
    threshold      of two classes; None predicts the class with the largest output
    maximizes      what an evaluation chooses the threshold by, instead of using a given one
    """

    probabilities: Probabilities = softmax
    threshold: float | None = None
    maximizes: Maximized | None = None

    def classes(self, outputs: Tensor) -> Tensor:
        """Return the predicted class of each sample or time step."""
        if self.threshold is None:
            return outputs.argmax(-1)
        # float64, in which the threshold was chosen
        return (self.probabilities(outputs.double())[..., 1] >= self.threshold).long()

    @property
    def by_largest(self) -> "Decision":
        """The decision without a threshold."""
        return Decision(self.probabilities)


BY_SOFTMAX = Decision()
