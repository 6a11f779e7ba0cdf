"""The table of cases: every operation and module, its torch twin, its inputs, and why each case.

A case makes its inputs from a generator; the referees (`gradcheck.py`, `parity.py`) take it from
there. To add an operation, add its rows here: a test fails while an operation has none.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from bptrain import nn, ops

F = torch.nn.functional
KINK_MARGIN = 0.1  # no input lies closer to a kink than this: far more than a finite difference


@dataclass(frozen=True)
class Inputs:
    """Draws the inputs of a case in one dtype on one device."""

    generator: torch.Generator
    dtype: torch.dtype
    device: torch.device

    def normal(self, *shape: int, scale: float = 1.0) -> Tensor:
        """Return normally distributed values [shape], rounded once if the dtype is narrow."""
        drawn = torch.randn(shape, generator=self.generator, dtype=torch.float64) * scale
        return drawn.to(self.device, self.dtype)

    def off_zero(self, *shape: int) -> Tensor:
        """Return values that keep away from the kink at 0."""
        drawn = self.normal(*shape)
        return drawn + KINK_MARGIN * torch.where(drawn < 0, -1, 1)

    def classes(self, *shape: int, classes: int, ignored: int | None = None) -> Tensor:
        """Return class indices [shape], the first one replaced by `ignored` if that is given."""
        drawn = torch.randint(classes, shape, generator=self.generator)
        if ignored is not None:
            drawn.view(-1)[0] = ignored
        return drawn.to(self.device)


@dataclass(frozen=True)
class OpCase:
    """One way to call an operation. Tensors of floating point are differentiated."""

    op: str
    name: str
    why: str
    arguments: Callable[[Inputs], dict[str, Tensor]]
    options: Mapping[str, Any] = field(default_factory=dict)
    smooth: bool = True  # False where finite differences would step over a kink or an infinity
    constants: tuple[str, ...] = ()  # tensors that are never differentiated

    @property
    def ours(self) -> Callable[..., Tensor]:
        """Return our function."""
        function: Callable[..., Tensor] = getattr(ops, self.op)
        return function

    @property
    def twin(self) -> Callable[..., Tensor]:
        """Return torch's function of the same name."""
        function: Callable[..., Tensor] = getattr(F, self.op)
        return function


@dataclass(frozen=True)
class ModuleCase:
    """One way to construct a module; its forward pass is called with `arguments`."""

    module: str
    why: str
    options: Mapping[str, Any]
    arguments: Callable[[Inputs], dict[str, Tensor]]

    @property
    def ours(self) -> type[torch.nn.Module]:
        """Return our class."""
        found: type[torch.nn.Module] = getattr(nn, self.module)
        return found

    @property
    def twin(self) -> type[torch.nn.Module]:
        """Return torch's class of the same name."""
        found: type[torch.nn.Module] = getattr(torch.nn, self.module)
        return found


def _linear(*leading: int, bias: bool = True) -> Callable[[Inputs], dict[str, Tensor]]:
    def arguments(draw: Inputs) -> dict[str, Tensor]:
        tensors = {"input": draw.normal(*leading, 5), "weight": draw.normal(3, 5)}
        return tensors | ({"bias": draw.normal(3)} if bias else {})

    return arguments


def _transposed_linear(draw: Inputs) -> dict[str, Tensor]:
    return {"input": draw.normal(5, 4).t(), "weight": draw.normal(5, 3).t(), "bias": draw.normal(3)}


def _expanded_linear(draw: Inputs) -> dict[str, Tensor]:
    return {"input": draw.normal(1, 5).expand(4, 5), "weight": draw.normal(3, 5)}


def _elements(*shape: int) -> Callable[[Inputs], dict[str, Tensor]]:
    return lambda draw: {"input": draw.off_zero(*shape)}


def _saturated(draw: Inputs) -> dict[str, Tensor]:
    values = [-1e4, -100.0, -20.0, 0.5, 20.0, 100.0, 1e4]
    return {"input": torch.tensor(values, device=draw.device, dtype=draw.dtype)}


def _not_finite(draw: Inputs) -> dict[str, Tensor]:
    values = [torch.nan, torch.inf, -torch.inf, 1.0]
    return {"input": torch.tensor(values, device=draw.device, dtype=draw.dtype)}


def _activation(op: str) -> list[OpCase]:
    return [
        OpCase(op, "matrix", "the usual shape", _elements(4, 5)),
        OpCase(op, "scalar", "no axis at all", _elements()),
        OpCase(op, "empty", "an empty batch must not fail", _elements(0, 5)),
        OpCase(op, "saturated", "a saturated gate gives 0, not NaN", _saturated, smooth=False),
        OpCase(op, "not finite", "NaN must reach the monitor", _not_finite, smooth=False),
    ]


def _logits(
    *shape: int, scale: float = 1.0, ignored: int | None = None, weights: bool = False
) -> Callable[[Inputs], dict[str, Tensor]]:
    def arguments(draw: Inputs) -> dict[str, Tensor]:
        classes = shape[0] if len(shape) == 1 else shape[1]
        target_shape = () if len(shape) == 1 else (shape[0], *shape[2:])
        tensors = {
            "input": draw.normal(*shape, scale=scale),
            "target": draw.classes(*target_shape, classes=classes, ignored=ignored),
        }
        return tensors | ({"weight": draw.normal(classes).abs() + 0.1} if weights else {})

    return arguments


def _all_ignored(draw: Inputs) -> dict[str, Tensor]:
    return {"input": draw.normal(4, 5), "target": torch.full((4,), -100, device=draw.device)}


def _cross_entropy(
    name: str,
    why: str,
    arguments: Callable[[Inputs], dict[str, Tensor]],
    smooth: bool = True,
    **options: Any,
) -> OpCase:
    return OpCase("cross_entropy", name, why, arguments, options, smooth, constants=("weight",))


def _prediction(*shape: int) -> Callable[[Inputs], dict[str, Tensor]]:
    return lambda draw: {"input": draw.normal(*shape), "target": draw.normal(*shape)}


OPS: list[OpCase] = [
    OpCase("linear", "matrix", "the usual shape", _linear(4)),
    OpCase("linear", "no bias", "b' is skipped", _linear(4, bias=False)),
    OpCase("linear", "one sample", "a size-1 axis may be summed away", _linear(1)),
    OpCase("linear", "unbatched", "no batch axis: y is a vector", _linear()),
    OpCase("linear", "sequence", "leading axes are flattened and restored", _linear(2, 3)),
    OpCase("linear", "empty", "an empty batch gives zero gradients", _linear(0)),
    OpCase("linear", "transposed", "strides other than contiguous", _transposed_linear),
    OpCase("linear", "expanded", "an input whose rows share memory", _expanded_linear),
    *_activation("relu"),
    *_activation("tanh"),
    *_activation("sigmoid"),
    _cross_entropy("mean", "the usual call", _logits(4, 5)),
    _cross_entropy("sum", "no division by N", _logits(4, 5), reduction="sum"),
    _cross_entropy("none", "a gradient for each sample", _logits(4, 5), reduction="none"),
    _cross_entropy("smoothing", "c has K terms", _logits(4, 5), label_smoothing=0.2),
    _cross_entropy(
        "all smoothing", "the true class has no term", _logits(4, 5), label_smoothing=1.0
    ),
    _cross_entropy("weights", "the mean divides by A, not N", _logits(4, 5, weights=True)),
    _cross_entropy(
        "weights and smoothing", "C is not 1", _logits(4, 5, weights=True), label_smoothing=0.3
    ),
    _cross_entropy(
        "weights, smoothing, sum",
        "C without the division",
        _logits(4, 5, weights=True, ignored=-100),
        label_smoothing=0.3,
        reduction="sum",
    ),
    _cross_entropy("ignored", "an ignored sample counts nowhere", _logits(4, 5, ignored=-100)),
    _cross_entropy(
        "ignored class",
        "ignore_index may be a real class; with smoothing",
        _logits(4, 5, ignored=2),
        ignore_index=2,
        label_smoothing=0.1,
        reduction="none",
    ),
    _cross_entropy(
        "all ignored", "0 / 0: the loss is NaN, the gradient 0", _all_ignored, smooth=False
    ),
    _cross_entropy("pixels", "trailing axes", _logits(2, 5, 3, 2, ignored=-100)),
    _cross_entropy(
        "pixels, weights, none",
        "class weights along axis 1",
        _logits(2, 5, 3, weights=True),
        reduction="none",
        label_smoothing=0.1,
    ),
    _cross_entropy("unbatched", "one sample without a batch axis", _logits(5)),
    _cross_entropy("unbatched, none", "its loss is a scalar", _logits(5), reduction="none"),
    _cross_entropy("one class", "p = 1: loss and gradient are 0", _logits(4, 1)),
    _cross_entropy(
        "large logits", "e^x alone would overflow", _logits(4, 5, scale=1e3), smooth=False
    ),
    _cross_entropy("empty, sum", "an empty batch", _logits(0, 5), reduction="sum"),
    OpCase("mse_loss", "mean", "the usual call", _prediction(4, 5)),
    OpCase("mse_loss", "sum", "no division", _prediction(4, 5), {"reduction": "sum"}),
    OpCase("mse_loss", "none", "a gradient per element", _prediction(4, 5), {"reduction": "none"}),
    OpCase("mse_loss", "vector", "one axis", _prediction(6)),
    OpCase("mse_loss", "scalar", "no axis", _prediction()),
    OpCase("mse_loss", "empty, sum", "an empty batch", _prediction(0, 3), {"reduction": "sum"}),
]

MODULES: list[ModuleCase] = [
    ModuleCase(
        "Linear",
        "weight and bias",
        {"in_features": 5, "out_features": 3},
        lambda draw: {"input": draw.normal(4, 5)},
    ),
    ModuleCase(
        "Linear",
        "no bias in the state_dict",
        {"in_features": 5, "out_features": 3, "bias": False},
        lambda draw: {"input": draw.normal(2, 4, 5)},
    ),
    ModuleCase("ReLU", "no parameter", {}, _elements(4, 5)),
    ModuleCase("Tanh", "no parameter", {}, _elements(4, 5)),
    ModuleCase("Sigmoid", "no parameter", {}, _elements(4, 5)),
    ModuleCase("CrossEntropyLoss", "defaults", {}, _logits(4, 5)),
    ModuleCase(
        "CrossEntropyLoss",
        "every option reaches the function",
        {
            "weight": torch.tensor([0.5, 1.0, 2.0, 0.1, 1.5], dtype=torch.float64),
            "ignore_index": 2,
            "reduction": "sum",
            "label_smoothing": 0.2,
        },
        _logits(4, 5, ignored=2),
    ),
    ModuleCase("MSELoss", "defaults", {}, _prediction(4, 5)),
    ModuleCase("MSELoss", "the option reaches it", {"reduction": "sum"}, _prediction(4, 5)),
]
