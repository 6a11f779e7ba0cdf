"""The entries of a tape: what is computed from which values, and the chain rule through each.

A value is known by its number, the index into the list of values of a run. An entry is called with
values and plain arguments; it writes values, and keeps what its backward pass will read.
"""

from collections.abc import Callable, Iterable, Iterator, MutableMapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor

from bptrain.ops.operation import Operation, Passes

Values = MutableMapping[int, Any] | list[Any]  # of a run, by number; None: released
Gradients = list[Tensor | None]  # of the loss by each value, by number


@dataclass(frozen=True, slots=True)
class Value:
    """A value among the arguments of an entry."""

    number: int


@dataclass(frozen=True, slots=True)
class Like:
    """The shape, dtype and device of a value."""

    shape: torch.Size
    dtype: torch.dtype
    device: torch.device

    @classmethod
    def of(cls, value: Tensor) -> "Like":
        """Return what a tensor is like."""
        return cls(value.shape, value.dtype, value.device)

    def zeros(self) -> Tensor:
        """Return zeros of this kind: the gradient by a value that the loss does not read."""
        return torch.zeros(self.shape, dtype=self.dtype, device=self.device)


class Rule(NamedTuple):
    """The chain rule through a function: its first argument's gradient, of the upstream ones.

    function   of the upstream gradient, or if it `joins` of a list of one for each output
    arguments  what it takes besides
    """

    function: Callable[..., Tensor]
    arguments: tuple[Any, ...] = ()
    joins: bool = False

    def __call__(self, *upstream: Tensor) -> Tensor:
        """Return the gradient."""
        return self.function(upstream if self.joins else upstream[0], *self.arguments)


@dataclass(slots=True)
class Call:
    """A call of an operation.

    arguments  of its forward, but for `needs`; `Value` where they are tensors
    outputs    the number of each output, None for one that is not computed
    needed     which arguments have a gradient that is needed
    read       what the arguments are like; their gradients are added in their dtype
    likes      of the outputs
    autocast   whether autocast is on, for the dtype of a loss
    is_tuple   whether it returns a tuple of outputs
    keeps      the bytes that it keeps for its backward pass, and nothing before it
    draws      whether it draws random numbers; known where segments need it
    layer      the name of the module that called it
    returned_by  the modules that returned an output, each with the output's number

    What is the same in every run is prepared once: on a small network, half of a step's time would
    be spent here in Python.
    """

    operation: Operation[Any]
    passes: Passes
    arguments: tuple[Any, ...]
    outputs: tuple[int | None, ...]
    needed: tuple[bool, ...]
    read: tuple[Like | None, ...]
    likes: tuple[Like | None, ...]
    autocast: bool = False
    is_tuple: bool = False
    keeps: int = 0
    draws: bool = False
    layer: str = ""
    returned_by: list[tuple[str, int]] = field(default_factory=list)
    _bound: Passes = field(init=False, repr=False, compare=False)
    _given: list[tuple[int | None, Any]] = field(init=False, repr=False, compare=False)
    _targets: list[tuple[int, int, torch.dtype]] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        self._bound = self.operation.bound(self.passes, self.needed)
        self._given = [
            (each.number, None) if isinstance(each, Value) else (None, each)
            for each in self.arguments
        ]
        self._targets = [  # a gradient's place among those found, its number, its dtype
            (place, argument.number, like.dtype)
            for place, position in enumerate(self.operation.places(self.needed))
            if self.needed[position]
            and isinstance(argument := self.arguments[position], Value)
            and (like := self.read[position])
        ]

    @property
    def reads(self) -> list[int]:
        """The numbers of the values it reads."""
        return [each.number for each in self.arguments if isinstance(each, Value)]

    @property
    def changes(self) -> None:
        """No value: operations are pure."""
        return

    @property
    def structure(self) -> tuple[Any, ...]:
        """What it computes from which values."""
        read = tuple(each if isinstance(each, Value) else None for each in self.arguments)
        return (self.operation.name, self.passes, read, self.outputs, self.needed, self.autocast)

    def forward(self, values: Values) -> Any:
        """Write the outputs; return what the backward pass reads."""
        inputs = tuple([each if n is None else values[n] for n, each in self._given])
        outputs, saved = self._bound.forward(*inputs)
        if self.operation.precision.is_loss:
            outputs = self.operation.rounded(outputs, inputs, self.autocast)
        results = outputs if self.is_tuple else (outputs,)
        for number, output in zip(self.outputs, results, strict=True):
            if number is not None:
                values[number] = output
        return saved if self._targets else None

    def backward(self, gradients: Gradients, saved: Any) -> None:
        """Add what the upstream gradients give to the gradients by the values that it read."""
        upstream = taken(gradients, self.outputs)
        if saved is None or all(each is None for each in upstream):
            return
        if len(upstream) > 1:
            upstream = self._defined(upstream)
        found = self._bound.backward(*upstream, saved)
        for place, number, dtype in self._targets:
            gradient = found[place]
            if gradient is not None:
                add(gradients, number, gradient if gradient.dtype is dtype else gradient.to(dtype))

    def _defined(self, upstream: tuple[Any, ...]) -> tuple[Any, ...]:
        """Return the gradients by the differentiable outputs, zeros where the loss reads none."""
        traits = self.operation.traits
        return tuple(
            like.zeros()
            if each is None and like is not None and place not in traits.optional_gradients
            else each
            for place, (each, like) in enumerate(zip(upstream, self.likes, strict=True))
            if place not in traits.non_differentiable
        )


@dataclass(slots=True)
class Function:
    """A call of a function of tensors that is no operation of ours: a view, a cast, a counter.

    arguments, options  positional and by name, `Value` where they are tensors, also within lists
    outputs             the number of each tensor that it returns, None for other results
    rule                the chain rule through it; None where no gradient is needed
    is_tuple            whether it returns several results, or a list of one
    layer               the name of the module that called it
    reads               the numbers of the values it reads
    returned_by         the modules that returned an output, each with the output's number
    """

    function: Callable[..., Any]
    arguments: tuple[Any, ...]
    options: dict[str, Any]
    outputs: tuple[int | None, ...]
    rule: Rule | None
    likes: tuple[Like | None, ...]
    is_tuple: bool = False
    layer: str = ""
    returned_by: list[tuple[str, int]] = field(default_factory=list)
    reads: list[int] = field(init=False)

    def __post_init__(self) -> None:
        """Note the numbers of the values it reads."""
        given = (*self.arguments, *self.options.values())
        self.reads = [each.number for each in flat(given) if type(each) is Value]

    @property
    def changes(self) -> int | None:
        """The number of the value that it changes in place, such as running statistics."""
        is_in_place = getattr(self.function, "_schema").is_mutable  # noqa: B009 (of torch's own)
        return self.arguments[0].number if is_in_place else None

    @property
    def draws(self) -> bool:
        """It draws no random numbers: they are drawn in operations."""
        return False

    @property
    def structure(self) -> tuple[Any, ...]:
        """What it computes from which values."""
        return (self.function, tuple(self.reads), self.outputs, self.rule is not None)

    def forward(self, values: Values) -> None:
        """Write the outputs; a function between operations keeps nothing."""
        arguments = [filled(each, values) for each in self.arguments]
        options = {name: filled(each, values) for name, each in self.options.items()}
        result = self.function(*arguments, **options)
        results = result if self.is_tuple else (result,)
        for number, each in zip(self.outputs, results, strict=True):
            if number is not None:
                values[number] = each

    def backward(self, gradients: Gradients, saved: None) -> None:
        """Add what the upstream gradients give to the first argument's gradient."""
        upstream = taken(gradients, self.outputs)
        if self.rule is None or all(each is None for each in upstream):
            return
        defined = [
            like.zeros() if each is None and like is not None else each
            for each, like in zip(upstream, self.likes, strict=True)
        ]
        add(gradients, self.arguments[0].number, self.rule(*defined))


class Entry(Protocol):
    """One entry of a program.

    layer           the name of the module that called it
    reads, outputs  the numbers of the values that it reads and writes
    likes           of the outputs
    changes         the value that it changes in place, which is not to be repeated
    draws           whether it draws random numbers
    returned_by     the modules that returned an output, each with the output's number
    """

    @property
    def layer(self) -> str: ...  # noqa: D102

    @property
    def returned_by(self) -> list[tuple[str, int]]: ...  # noqa: D102

    @property
    def reads(self) -> list[int]: ...  # noqa: D102

    @property
    def outputs(self) -> tuple[int | None, ...]: ...  # noqa: D102

    @property
    def likes(self) -> tuple[Like | None, ...]: ...  # noqa: D102

    @property
    def changes(self) -> int | None: ...  # noqa: D102

    @property
    def draws(self) -> bool: ...  # noqa: D102

    @property
    def structure(self) -> tuple[Any, ...]:
        """What it computes from which values, without plain arguments such as sizes."""
        ...

    def forward(self, values: Values) -> Any:
        """Write the outputs; return what the backward pass reads."""
        ...

    def backward(self, gradients: Gradients, saved: Any) -> None:
        """Add what the upstream gradients give to the gradients by the values that it read."""
        ...


Recorded = Call | Function


def flat(given: Iterable[Any]) -> Iterator[Any]:
    """Yield what is given, and what lists, tuples and dicts in it hold."""
    for each in given:
        if isinstance(each, list | tuple):
            yield from flat(each)
        elif isinstance(each, dict):
            yield from flat(each.values())
        else:
            yield each


def filled(argument: Any, values: Values) -> Any:
    """Return an argument with each `Value` in it replaced by the value; a list may hold some."""
    if type(argument) is Value:
        return values[argument.number]
    if type(argument) in (list, tuple):
        return type(argument)(filled(each, values) for each in argument)
    return argument


def numbers_in(outputs: tuple[int | None, ...]) -> list[int]:
    """Return the numbers of the outputs that are computed."""
    return [number for number in outputs if number is not None]


def taken(gradients: Gradients, numbers: tuple[int | None, ...]) -> tuple[Any, ...]:
    """Return the gradients by an entry's outputs; nobody else reads them, so they are released."""
    found = tuple([None if number is None else gradients[number] for number in numbers])
    for number in numbers:
        if number is not None:
            gradients[number] = None
    return found


def add(gradients: Gradients, number: int, gradient: Tensor) -> None:
    """Add to the gradient by a value: each of its readers has its part in the chain rule."""
    before = gradients[number]
    gradients[number] = gradient if before is None else before + gradient
