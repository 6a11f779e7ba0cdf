"""What the search for the first number that is not finite is given."""

from collections.abc import Callable
from typing import Any, NamedTuple

from torch import Tensor

from bptrain.monitor.finding import Place


class Part(NamedTuple):
    """A batch of a step, and what its loss adds to the minimized one.

    minimized  a linear function of the loss; None if the loss does not count, as where every target
               is ignored
    """

    inputs: tuple[Any, ...]
    targets: tuple[Tensor, ...]
    minimized: Callable[[Tensor], Tensor] | None


class Source(NamedTuple):
    """What a step is given: the name of a tensor, and whether it is of the batch or the state."""

    name: str
    place: Place


CONSTANT = Source("a constant", "state")
