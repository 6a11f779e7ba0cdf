"""How outputs become classes: what probabilities they mean, and which class is predicted."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

from torch import Tensor

Probabilities: TypeAlias = Callable[[Tensor], Tensor]  # of classes [..., K], which outputs mean


def softmax(outputs: Tensor) -> Tensor:
    """Return the probabilities [..., K] that logits mean."""
    return outputs.softmax(-1)


@dataclass(frozen=True)
class Decision:
    """What is read from outputs [..., K].

    probabilities  of classes, as the loss means them
    """

    probabilities: Probabilities = softmax

    def classes(self, outputs: Tensor) -> Tensor:
        """Return the predicted class of each sample or time step: that of the largest output."""
        return outputs.argmax(-1)


BY_SOFTMAX = Decision()
