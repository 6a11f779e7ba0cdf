"""torch's arithmetic by the operations of bptrain: sums and products, with numbers and in place.

Each function is called as torch's. What is no sum or product raises NotImplementedError.
"""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from bptrain.ops.add import add, add_function
from bptrain.ops.mul import mul, mul_function
from bptrain.ops.operation import Operation

Operand = Tensor | float


def subtract(input: Tensor, other: Operand, *, alpha: float = 1) -> Tensor:
    """Return input - alpha * other."""
    return add(input, other, alpha=-alpha)


def subtract_from(input: Tensor, other: Operand) -> Tensor:
    """Return other - input, as Python's `other - input` calls it."""
    return add(negate(input), other)


def negate(input: Tensor) -> Tensor:
    """Return -input."""
    return mul(input, -1)


def divide(input: Tensor, other: Operand) -> Tensor:
    """Return input / other, for a number: a product with its reciprocal."""
    return mul(input, _reciprocal(other))


def add_in_place(input: Tensor, other: Operand, *, alpha: float = 1) -> Tensor:
    """Add alpha * other to input."""
    return _written(add_function, input, other, alpha)


def subtract_in_place(input: Tensor, other: Operand, *, alpha: float = 1) -> Tensor:
    """Subtract alpha * other from input."""
    return _written(add_function, input, other, -alpha)


def multiply_in_place(input: Tensor, other: Operand) -> Tensor:
    """Multiply input by other."""
    return _written(mul_function, input, other)


def divide_in_place(input: Tensor, other: Operand) -> Tensor:
    """Divide input by a number."""
    return _written(mul_function, input, _reciprocal(other))


def _written(operation: Operation[Any], input: Tensor, other: Operand, *options: float) -> Tensor:
    """Write the result into input, which keeps its shape and dtype."""
    shape = other.shape if isinstance(other, Tensor) else ()
    is_wider = torch.result_type(input, other) != input.dtype
    if is_wider or torch.broadcast_shapes(input.shape, shape) != input.shape:
        raise NotImplementedError("the result has another shape or dtype than its place")
    result: Tensor = operation.call_in_place(input, other, *options)
    return result


def _reciprocal(divisor: Operand) -> float:
    if isinstance(divisor, Tensor) or divisor == 0:
        raise NotImplementedError("it divides by a tensor or by 0")
    return 1 / divisor


SAME: dict[Callable[..., Tensor], tuple[Any, ...]] = {  # how each is called in torch
    add: (torch.add, Tensor.add),
    mul: (torch.mul, torch.multiply, Tensor.mul, Tensor.multiply),
    subtract: (torch.sub, torch.subtract, Tensor.sub, Tensor.subtract),
    subtract_from: (torch.rsub, Tensor.__rsub__),
    negate: (torch.neg, torch.negative, Tensor.neg, Tensor.negative),
    divide: (
        *(torch.div, torch.divide, torch.true_divide),
        *(Tensor.div, Tensor.divide, Tensor.true_divide),
    ),
    add_in_place: (Tensor.add_, Tensor.__iadd__),
    subtract_in_place: (Tensor.sub_, Tensor.subtract_, Tensor.__isub__),
    multiply_in_place: (Tensor.mul_, Tensor.multiply_, Tensor.__imul__),
    divide_in_place: (Tensor.div_, Tensor.divide_, Tensor.true_divide_, Tensor.__itruediv__),
}
ARITHMETIC: Mapping[Any, Callable[..., Tensor]] = {
    function: ours for ours, functions in SAME.items() for function in functions
}
