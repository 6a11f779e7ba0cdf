"""The contract of operations: what the glue does for all of them, on small ones made here."""

from collections.abc import Callable
from typing import NamedTuple

import pytest
import torch
from torch import Tensor

from bptrain.ops.kernels import chosen_kernels, use_kernels
from bptrain.ops.operation import Operation, operation, operations_behind
from bptrain.ops.precision import MATMUL


class Needs(NamedTuple):
    a: bool
    b: bool


class Saved(NamedTuple):
    a: Tensor | None
    b: Tensor | None
    power: int


def forward(a: Tensor, power: int, b: Tensor, needs: Needs) -> tuple[tuple[Tensor, Tensor], Saved]:
    """Return a b^power and the constant sign of b."""
    outputs = a * b**power, b.sign()
    return outputs, Saved(a if needs.b else None, b if any(needs) else None, power)


def backward(grad: Tensor, saved: Saved, needs: Needs) -> tuple[Tensor | None, Tensor | None]:
    a, b, power = saved
    assert b is not None
    grad_a = grad * b**power if needs.a else None
    grad_b = None if a is None else grad * a * power * b ** (power - 1)
    return grad_a, grad_b


def kernel_backward(
    grad: Tensor, saved: Saved, needs: Needs
) -> tuple[Tensor | None, Tensor | None]:
    return tuple(None if each is None else 10 * each for each in backward(grad, saved, needs))


product = operation(forward, backward, fused_backward=kernel_backward, non_differentiable=(1,))


class Nothing(NamedTuple):
    count: int


def forward_of_split(x: Tensor) -> tuple[tuple[Tensor, Tensor], Nothing]:
    return (2 * x, 3 * x), Nothing(2)


def backward_of_split(grad_y: Tensor, grad_z: Tensor, saved: Nothing) -> Tensor:
    assert saved.count == 2
    return 2 * grad_y + 3 * grad_z


split = operation(forward_of_split, backward_of_split)


def forward_of_total(
    scale: float, *tensors: Tensor, needs: tuple[bool, ...]
) -> tuple[Tensor, tuple]:
    return scale * sum(tensors), ScaleSaved(scale)


class ScaleSaved(NamedTuple):
    scale: float


def backward_of_total(
    grad: Tensor, saved: ScaleSaved, needs: tuple[bool, ...]
) -> tuple[Tensor | None, ...]:
    return tuple(saved.scale * grad if each else None for each in needs)


total = operation(forward_of_total, backward_of_total)


def numbers(*values: float) -> Tensor:
    return torch.tensor(values, requires_grad=True)


def test_gradients_arrive_at_the_inputs_that_are_named_alike() -> None:
    a, b = numbers(2.0), numbers(3.0)
    with use_kernels("formula"):
        y, sign = product(a, 2, b)
    y.backward()
    assert (y.item(), a.grad.item(), b.grad.item()) == (18, 9, 12)
    assert not sign.requires_grad


def test_what_is_not_needed_is_neither_saved_nor_computed() -> None:
    y, _ = product(numbers(2.0), 2, torch.tensor([3.0]))
    assert [each.item() for each in y.grad_fn.saved_tensors] == [3.0]
    returned = []
    y.grad_fn.register_hook(lambda gradients, _: returned.extend(gradients))
    y.backward()
    assert [each is None for each in returned] == [False, True]


@pytest.mark.parametrize(("kernels", "expected"), [("fused", 90), ("formula", 9)])
def test_the_kernels_are_chosen_in_the_forward_pass_for_the_backward_pass_too(
    kernels: str, expected: float
) -> None:
    a = numbers(2.0)
    with use_kernels(kernels):
        y, _ = product(a, 2, torch.tensor([3.0]))
    assert chosen_kernels() == "fused"
    y.backward()
    assert a.grad.item() == expected


def test_an_output_without_gradient_counts_as_zero() -> None:
    x = numbers(1.0)
    _, z = split(x)
    torch.autograd.backward([z], [torch.ones(1)])
    assert x.grad.item() == 3


def test_an_operation_may_take_none_for_an_output_without_gradient() -> None:
    given = []

    def backward(grad_y: Tensor | None, grad_z: Tensor | None, saved: Nothing) -> Tensor:
        given.append(grad_y)
        return 3 * grad_z

    x = numbers(1.0)
    _, z = operation(forward_of_split, backward, optional_gradients=(0,))(x)
    z.backward(torch.ones(1))
    assert (x.grad.item(), given) == (3, [None])


def test_no_upstream_gradient_at_all_gives_none() -> None:
    x = numbers(1.0).double().detach().requires_grad_()
    assert torch.autograd.gradcheck(lambda x: split(x), (x,), check_undefined_grad=True)


def test_any_number_of_tensors_may_come_last() -> None:
    a, b = numbers(1.0), numbers(2.0)
    y = total(5.0, a, torch.ones(1), b)
    y.backward()
    assert (y.item(), a.grad.item(), b.grad.item()) == (20, 5, 5)


def test_autocast_decides_the_dtype_by_the_operations_policy_and_is_off_inside() -> None:
    seen = []

    def forward(x: Tensor) -> tuple[Tensor, Nothing]:
        seen.append((x.dtype, torch.is_autocast_enabled("cpu")))
        return x, Nothing(0)

    def backward(grad: Tensor, saved: Nothing) -> Tensor:
        seen.append((grad.dtype, torch.is_autocast_enabled("cpu")))
        return grad

    x = numbers(1.0)
    with torch.autocast("cpu", torch.bfloat16):
        operation(forward, backward, precision=MATMUL)(x).backward(torch.ones(1).bfloat16())
    assert seen == [(torch.bfloat16, False), (torch.bfloat16, False)]
    assert x.grad.dtype == torch.float32


def test_the_two_functions_chain_without_autograd() -> None:
    inputs, needed = (torch.tensor([2.0]), 2, torch.tensor([3.0])), (True, False, True)
    passes = product.passes("formula")
    (y, _), saved = product.run_forward(passes, inputs, needed)
    grads = product.run_backward(passes, (torch.ones(1),), saved, needed)
    assert y.item() == 18
    assert [None if each is None else each.item() for each in grads] == [9, None, 12]


def test_the_operations_behind_a_result_are_found_and_named() -> None:
    y, _ = product(total(1.0, *split(numbers(1.0))), 2, numbers(2.0))
    found: set[Operation] = operations_behind([y])
    assert found == {product, split, total}
    names = {"test_operation", "test_operation_of_split", "test_operation_of_total"}
    assert {each.name for each in found} == names
    assert {each.has_kernel for each in found} == {True, False}


def test_the_second_derivative_is_the_formulas_whatever_the_kernels() -> None:
    a, b = numbers(2.0), numbers(3.0)
    y, _ = product(a, 3, b)
    (grad_b,) = torch.autograd.grad(y.sum(), b, create_graph=True)
    assert grad_b.item() == 2 * 3 * 9
    by_a, by_b = torch.autograd.grad(grad_b, (a, b))
    assert (by_a.item(), by_b.item()) == (3 * 9, 2 * 3 * 2 * 3)


class Squared(NamedTuple):
    square: Tensor


def forward_of_cube(x: Tensor) -> tuple[Tensor, Squared]:
    return x**3, Squared(x**2)


def backward_of_cube(grad: Tensor, saved: Squared) -> Tensor:
    return 3 * grad * saved.square


@pytest.mark.parametrize("upstream", [numbers(1.0), torch.ones(1)], ids=["variable", "constant"])
def test_an_intermediate_that_is_not_computed_again_is_refused_and_not_taken_for_a_constant(
    upstream: Tensor,
) -> None:
    cube, x = operation(forward_of_cube, backward_of_cube), numbers(2.0)
    cube(x).backward(torch.ones(1))
    assert x.grad.item() == 12
    with pytest.raises(NotImplementedError, match="square is saved as a number"):
        torch.autograd.grad(cube(x), x, upstream, create_graph=True)


def test_an_intermediate_may_be_an_output_whose_gradient_comes_in_the_second_derivative() -> None:
    def forward(x: Tensor) -> tuple[tuple[Tensor, Tensor], Squared]:
        square = x**2
        return (x * square, square), Squared(square)

    def backward(grad: Tensor, more: Tensor | None, saved: Squared) -> Tensor:
        return 3 * grad * saved.square + (0 if more is None else 2 * saved.square.sqrt() * more)

    x = numbers(2.0)
    y, _ = operation(forward, backward, optional_gradients=(1,))(x)
    (grad,) = torch.autograd.grad(y, x, torch.ones(1), create_graph=True)
    (second,) = torch.autograd.grad(grad, x)
    assert (grad.item(), second.item()) == (12, 12)


def test_complex_numbers_are_refused_where_their_conjugates_would_be_missing() -> None:
    a, b = torch.ones(1, dtype=torch.complex64), torch.ones(1)
    for inputs in ((a, 2, b), (b, 2, a)):
        with pytest.raises(ValueError, match=r"a torch.complex64 input, expected real numbers"):
            product(*inputs)
    doubled = operation(forward_of_split, backward_of_split, takes_complex=True)
    x = torch.tensor([1 + 2j], requires_grad=True)
    doubled(x)[0].backward(torch.tensor([1j]))
    assert x.grad.item() == 2j


@pytest.mark.parametrize("op", [product, split], ids=["product", "split"])
def test_one_graph_is_compiled(op: Operation) -> None:
    def run(x: Tensor) -> Tensor:
        outputs = op(x, 2, 2 * x) if op is product else op(x)
        return outputs[0].sum()

    grads = []
    for function in (run, torch.compile(run, fullgraph=True, backend="aot_eager")):
        x = numbers(1.0, 2.0)
        function(x).backward()
        grads.append(x.grad)
    assert grads[0].equal(grads[1])


def test_a_needs_field_must_name_an_input() -> None:
    class Other(NamedTuple):
        c: bool

    def forward(a: Tensor, needs: Other) -> tuple[Tensor, Nothing]:
        return a, Nothing(0)

    make: Callable[..., Operation] = operation
    with pytest.raises(ValueError, match="not in tuple"):
        make(forward, backward)
