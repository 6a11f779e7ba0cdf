"""What an explained training step consists of: pure data, every number from the step itself.

A link is one operation: what it read, what it computed, the gradient that reached it, and what it
handed on. The chain rule is a link's parts: for an element k of the output, the upstream gradient
y'_k times the local derivative dy_k/dx is its part in x'.
"""

from dataclasses import dataclass
from typing import NamedTuple

from torch import Tensor

from bptrain.monitor.explanation.derivations import Derivation

Index = tuple[int, ...]


class Argument(NamedTuple):
    """A tensor that an operation read.

    letter    in the derivation
    name      of a parameter or buffer, or where the value came from
    value     as it was read
    gradient  what this operation adds to the loss's gradient by it; None if it is not needed
    """

    letter: str
    name: str
    value: Tensor
    gradient: Tensor | None


class Part(NamedTuple):
    """What one element of the output sends back.

    at          index of the element
    upstream    the loss's gradient by it
    slopes      its derivative by each input that has a gradient, by letter, shaped as that input
    """

    at: Index
    upstream: float
    slopes: dict[str, Tensor]


@dataclass(frozen=True)
class Link:
    """An operation of the step.

    number      in the order of the forward pass, from 1
    layer       the name of the module that called it
    operation   its name
    derivation  of its file in bptrain.ops; None for a view or a cast
    arguments   the tensors it read
    options     its other arguments, as text
    letter      of its output
    output      what it computed
    upstream    the loss's gradient by the output; None if the loss does not read it
    parts       the chain rule for some elements of the output, the largest upstream first
    is_whole    whether the parts are of all elements that the loss reads, so that they add up
    is_loss     whether it belongs to the loss
    python      its lines in the tape's Python: forward, backward
    """

    number: int
    layer: str
    operation: str
    derivation: Derivation | None
    arguments: tuple[Argument, ...]
    options: dict[str, str]
    letter: str
    output: Tensor
    upstream: Tensor | None
    parts: tuple[Part, ...]
    is_whole: bool
    is_loss: bool
    python: tuple[list[str], list[str]]

    @property
    def title(self) -> str:
        """The layer, or the operation where no layer's name is known."""
        return self.layer or self.operation


class WeightUpdate(NamedTuple):
    """A parameter before and after the optimizer's step."""

    name: str
    before: Tensor
    gradient: Tensor | None
    after: Tensor


class Moved(NamedTuple):
    """A value that moves with the followed weight, at the element with the largest product.

    link      number of the operation that computes it
    title     of that link
    at        index of the element
    movement  how far it moves for each unit of the weight: dv/dw
    gradient  the loss's gradient by it: dL/dv
    movers    how many elements move
    total     the sum of movement times gradient over all elements: the part of dL/dw through here
    """

    link: int
    title: str
    at: Index
    movement: float
    gradient: float
    movers: int
    total: float


@dataclass(frozen=True)
class FollowedWeight:
    """One weight through the whole step, in float64.

    at          its index in the parameter
    gradient    dL/dw, the product of the chain, from the backward pass
    distance    how far the weight is moved either way
    losses      at w - distance, w and w + distance
    path        what moves with it, from the first link that reads it to the loss
    """

    name: str
    at: Index
    value: float
    gradient: float
    distance: float
    losses: tuple[float, float, float]
    path: tuple[Moved, ...]

    @property
    def measured(self) -> float:
        """The finite difference of the loss."""
        below, _, above = self.losses
        return (above - below) / (2 * self.distance)

    @property
    def is_one_path(self) -> bool:
        """Whether a single element moves at every link, so that one product is the whole chain."""
        return all(each.movers == 1 for each in self.path)


@dataclass(frozen=True)
class Window:
    """One output pixel of a convolution, forward and back.

    link      number of the convolution
    at        index of the pixel: sample, channel, position
    value     of the pixel
    upstream  the loss's gradient by it
    channel   the input channel that contributes most
    plane     that channel of the input [H, W]
    corner    of the window in the plane, and its size; it may reach into the padding
    patch     what the kernel covers there, padding included [R, S]: dy/dW
    kernel    the weights that it meets [R, S]
    rest      what the other channels and the bias add to the pixel
    scatter   the pixel's part in the gradient of the plane [H, W]: upstream times dy/dx
    """

    link: int
    title: str
    at: Index
    value: float
    upstream: float
    channel: int
    plane: Tensor
    corner: tuple[int, int, int, int]
    patch: Tensor
    kernel: Tensor
    rest: float
    scatter: Tensor


@dataclass(frozen=True)
class ThroughTime:
    """The gradient of one time step of a recurrent layer, carried back to the first.

    link        number of the scan
    cell        name of its equations: lstm, gru, rnn
    derivation  of the cell
    step        the time step whose upstream gradient is carried, alone
    carried     the gradient by h_t [T, P], from that step alone; 0 after it
    complete    the gradient by h_t [T, P] of the whole step, what later steps and y'_t add
    """

    link: int
    title: str
    cell: str
    derivation: Derivation | None
    step: int
    carried: Tensor
    complete: Tensor


@dataclass(frozen=True)
class Explanation:
    """A training step, explained.

    step     optimizer steps that were taken before it
    row      of the explained sample in the batch
    lr       learning rate of the update
    norms    of all gradients together: before and after clipping
    updates  of all parameters
    weight   the followed one; None where no gradient reaches a weight
    """

    step: int
    row: int
    loss: float
    lr: float
    norms: tuple[float, float]
    links: tuple[Link, ...]
    updates: tuple[WeightUpdate, ...]
    weight: FollowedWeight | None
    windows: tuple[Window, ...]
    scans: tuple[ThroughTime, ...]
