"""Second derivatives: right for every operation, or refused whatever the upstream gradient is."""

from collections.abc import Callable

import pytest
import torch
from case_groups import every_case
from cases import CASES, recurrent
from cases.batch_norms import OVER_PROCESSES
from cases.case import Case, ModuleCase, differentiated
from cases.twice import second_derivatives_are_right
from every_case import is_later, kernels_of
from torch import Tensor

from bptrain import nn, ops
from bptrain.ops.kernels import Kernels, use_kernels
from bptrain.verify.parity import differentiable

REFUSED = {  # each says why its gradient cannot be differentiated
    "ctc_loss": "its tables hold -inf, which differentiated gives NaN; torch has none either",
    "CTCLoss": "as ctc_loss",
    "linear_cross_entropy": "in chunks its gradients are computed beside the loss, as numbers",
    "batch_norm_over_processes": "the sums over processes are numbers to autograd",
}
# Finite differences see float64 alone, and torch's gradgradcheck has none of no elements.
ROUNDED = ("to float32", "to bfloat16", "empty")


def can_be_checked(case: Case) -> bool:
    return case.smooth and not case.label.endswith(ROUNDED) and "empty" not in case.label


def name_of(case: Case) -> str:
    if case in OVER_PROCESSES and "weight" not in case.constants:
        return "batch_norm_over_processes"  # b' alone has no sums over them
    return case.module if isinstance(case, ModuleCase) else case.op


SCANS = {each.op for each in recurrent.OPS}
CHECKED = [each for each in CASES if can_be_checked(each) and name_of(each) not in REFUSED]
# A scan over time takes ten times as long as the others: the first case of each is enough here.
SLOW = [each for each in CHECKED if isinstance(each, ModuleCase) or each.op in SCANS]
FIRST_OF_SLOW = list({name_of(each): each for each in reversed(SLOW)}.values())
SLOW_LABELS = {each.label for each in SLOW}
QUICK = [each for each in CHECKED if each.label not in SLOW_LABELS]
# Kernel or formula, a second derivative differentiates the lines of the formula's backward pass,
# and only what was saved for them differs: with a kernel, the formula's first case is enough here.
LATER = is_later(QUICK)


def check_second_derivatives(case: Case, *choices: Kernels) -> None:
    tensors = case.draw(torch.float64, "cpu")
    for kernels in choices or kernels_of(case, "cpu"):
        with use_kernels(kernels):
            assert second_derivatives_are_right(case, tensors)


@every_case(QUICK)
def test_second_derivatives_agree_with_finite_differences(case: Case) -> None:
    first, *others = kernels_of(case, "cpu")
    check_second_derivatives(case, first, *([] if LATER(case) else others))


@pytest.mark.slow
@every_case([each for each in QUICK if LATER(each)])
def test_second_derivatives_of_every_other_formula_do_too(case: Case) -> None:
    for kernels in kernels_of(case, "cpu")[1:]:
        check_second_derivatives(case, kernels)


@every_case(FIRST_OF_SLOW)
def test_second_derivatives_of_modules_and_scans_do_too(case: Case) -> None:
    check_second_derivatives(case)


@every_case(QUICK)
def test_a_gradient_is_linear_in_an_upstream_gradient_of_zeros_too(case: Case) -> None:
    """torch.autograd.functional's jvp and hvp differentiate by an upstream gradient of zeros."""
    tensors = case.draw(torch.float64, "cpu")
    leaves = {
        name: tensors[name].clone().requires_grad_() for name in differentiated(case, tensors)
    }
    found = []
    for scale in (0, 1):
        outputs = list(differentiable(case.ours(tensors | leaves)).values())
        torch.default_generator.manual_seed(1)
        upstream = [(scale * torch.randn_like(each)).requires_grad_() for each in outputs]
        options = {"create_graph": True, "allow_unused": True}
        grads = torch.autograd.grad(outputs, list(leaves.values()), upstream, **options)
        total = sum((each * torch.randn_like(each)).sum() for each in grads if each is not None)
        found.append(torch.autograd.grad(total, upstream, allow_unused=True))
    for at_zero, elsewhere in zip(*found, strict=True):
        assert (at_zero is None) == (elsewhere is None)
        if at_zero is not None:
            torch.testing.assert_close(at_zero, elsewhere)


@pytest.mark.slow
@every_case([each for each in SLOW if not any(each is first for first in FIRST_OF_SLOW)])
def test_second_derivatives_of_every_other_case_do_too(case: Case) -> None:
    check_second_derivatives(case)


def _op_of(case: Case) -> str:
    return "ctc_loss" if isinstance(case, ModuleCase) else name_of(case)


@every_case([each for each in CASES if name_of(each) in REFUSED])
def test_what_has_no_second_derivative_says_so_whatever_the_upstream_is(case: Case) -> None:
    tensors = case.draw(torch.float64, "cpu")
    leaves = {
        name: tensors[name].clone().requires_grad_() for name in differentiated(case, tensors)
    }
    output = next(iter(differentiable(case.ours(tensors | leaves)).values()))
    with pytest.raises(NotImplementedError, match=f"{_op_of(case)} has no second derivative"):
        torch.autograd.grad(output.sum(), list(leaves.values()), create_graph=True)


@every_case(
    [each for each in CASES if name_of(each) == "linear_cross_entropy" and can_be_checked(each)]
)
def test_the_formula_of_a_loss_in_chunks_has_one(case: Case) -> None:
    with use_kernels("formula"):
        assert second_derivatives_are_right(case, case.draw(torch.float64, "cpu"))


def test_the_second_derivative_of_tanh() -> None:
    x = torch.tensor([0.3], dtype=torch.float64, requires_grad=True)
    (grad,) = torch.autograd.grad(nn.Tanh()(x).sum(), x, create_graph=True)
    assert grad.requires_grad
    (second,) = torch.autograd.grad(grad, x)
    assert second.item() == pytest.approx(-0.5332, abs=1e-4)
    hessian = torch.autograd.functional.hessian(lambda x: nn.Tanh()(x).sum(), x)
    assert hessian.item() == pytest.approx(-0.5332, abs=1e-4)


def penalty_gradients(library: object, autocast: bool = False) -> list[Tensor]:
    """Return the gradients of WGAN-GP's penalty on a critic Linear-Tanh-Linear."""
    torch.manual_seed(0)
    critic = torch.nn.Sequential(library.Linear(4, 8), library.Tanh(), library.Linear(8, 1))
    x = torch.randn(16, 4, requires_grad=True)
    with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        score = critic(x).sum()
        (slope,) = torch.autograd.grad(score, x, create_graph=True)
        penalty = (slope.norm(dim=1) - 1).square().sum()
    return list(torch.autograd.grad(penalty, list(critic.parameters()), allow_unused=True))


@pytest.mark.parametrize("kernels", ["fused", "formula"])
def test_a_gradient_penalty_trains_as_with_torchs_layers(kernels: Kernels) -> None:
    with use_kernels(kernels):
        ours = penalty_gradients(nn)
    for mine, theirs in zip(ours, penalty_gradients(torch.nn), strict=True):
        if theirs is None:
            assert mine is None or not mine.any()  # the last bias
        else:
            torch.testing.assert_close(mine, theirs)


def test_under_autocast_a_penalty_reaches_the_weights_that_were_cast() -> None:
    ours, theirs = (penalty_gradients(library, autocast=True)[0] for library in (nn, torch.nn))
    assert ours.dtype == torch.float32
    torch.testing.assert_close(ours, theirs, rtol=0.05, atol=0.05)


def test_a_gradient_step_is_differentiated_through_the_loss() -> None:
    """The inner step of meta-learning, as MAML takes it: the outer gradient goes through it."""
    x, t = torch.randn(5, 3).double(), torch.randn(5, 2).double()

    def after_a_step(weight: Tensor, library: object, loss: Callable[..., Tensor]) -> Tensor:
        linear = library.linear
        (grad,) = torch.autograd.grad(loss(linear(x, weight), t), weight, create_graph=True)
        return loss(linear(x, weight - 0.1 * grad), t)

    found = []
    for library in (ops, torch.nn.functional):
        weight = torch.ones(2, 3, dtype=torch.float64, requires_grad=True)
        after_a_step(weight, library, library.mse_loss).backward()
        found.append(weight.grad)
    torch.testing.assert_close(*found)


def test_running_statistics_are_not_moved_again() -> None:
    layer = nn.BatchNorm1d(3)
    x = torch.randn(8, 3, requires_grad=True)
    (grad,) = torch.autograd.grad(layer(x).square().sum(), x, create_graph=True)
    once = [each.clone() for each in layer.buffers()]
    grad.square().sum().backward()
    for before, after in zip(once, layer.buffers(), strict=True):
        assert before.equal(after)


def test_a_copy_of_what_is_differentiated_is_refused() -> None:
    """On a CPU LayerNorm saves a 16-bit weight in float32: autograd knows nothing of this copy."""
    layer = nn.LayerNorm(4).bfloat16()
    x = torch.randn(2, 4, dtype=torch.bfloat16, requires_grad=True)
    with pytest.raises(NotImplementedError, match="layer_norm has no second derivative here: w"):
        torch.autograd.grad(layer(x).sum(), x, create_graph=True)


def test_a_third_derivative_is_a_derivative_of_the_second() -> None:
    x = torch.tensor([0.3, -0.7], dtype=torch.float64, requires_grad=True)
    found = []
    for tanh in (ops.tanh, torch.tanh):
        value = tanh(x).sum()
        for _ in range(3):
            (gradient,) = torch.autograd.grad(value, x, create_graph=True)
            value = gradient.sum()
        found.append(gradient)
    torch.testing.assert_close(*found)


def test_in_place_a_layer_has_the_same_second_derivative_or_refuses_it() -> None:
    x = torch.randn(4, dtype=torch.float64, requires_grad=True)

    def second(module: torch.nn.Module) -> Tensor:
        (grad,) = torch.autograd.grad(module(3 * x).square().sum(), x, create_graph=True)
        return torch.autograd.grad(grad.sum(), x)[0]

    torch.testing.assert_close(second(nn.ELU(inplace=True)), second(nn.ELU()))
    with pytest.raises(NotImplementedError, match="silu has no second derivative here: x"):
        second(nn.SiLU(inplace=True))  # saves a copy of what it overwrites
