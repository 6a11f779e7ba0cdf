"""torch.func and torch.autograd.gradcheck: upstream gradients that are batched, or not there."""

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from case_groups import every_case
from cases import CASES, OPS
from cases.batch_norms import OVER_PROCESSES
from cases.case import Case, ModuleCase, OpCase
from every_case import drawn, is_later, kernels_of
from torch import Tensor

from bptrain import nn, ops
from bptrain.ops.kernels import Kernels, use_kernels
from bptrain.verify.named_tensors import Tensors
from bptrain.verify.parity import differentiable

pytestmark = [  # torch's own, of its transforms
    pytest.mark.filterwarnings("ignore:`torch.jit.script` is:FutureWarning"),
    pytest.mark.filterwarnings("ignore:There is a performance drop:UserWarning"),
]

OF_NOTHING = ("empty", "of nothing")


def name_of(case: Case) -> str:
    return case.module if isinstance(case, ModuleCase) else case.op


def sparing(cases: list[Case]) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Return the decorator that runs a test over cases: all but the first of an operation, slow."""
    return every_case(cases, is_later(cases))


def is_transformed(case: OpCase) -> bool:
    tensors, names = drawn(case)
    size = sum(tensors[name].numel() for name in names)
    # torch's jacobian has none of no outputs, and differentiates twice
    is_defined = not any(word in case.name for word in (*OF_NOTHING, "no query"))
    is_defined = is_defined and case not in OVER_PROCESSES
    return case.op != "ctc_loss" and case.smooth and 0 < size < 400 and is_defined


# Without a constraint: gradcheck moves one number alone. torch's has no maximum of nothing either.
DEFINED = [
    case
    for case in CASES
    if case.smooth
    and name_of(case) not in ("ctc_loss", "CTCLoss")
    and not any(word in case.label for word in OF_NOTHING)
]


@sparing(DEFINED)
def test_outputs_without_an_upstream_gradient_count_as_zero(case: Case) -> None:
    tensors, names = drawn(case)
    if any(each.dtype != torch.float64 for each in differentiable(case.ours(tensors)).values()):
        pytest.skip("gradcheck compares numbers of one dtype")
    leaves = [tensors[name].clone().requires_grad_() for name in names]

    def run(*moved: Tensor) -> tuple[Tensor, ...]:
        return tuple(case.ours(tensors | dict(zip(names, moved, strict=True))).values())

    for kernels in kernels_of(case, "cpu"):
        with use_kernels(kernels):
            assert torch.autograd.gradcheck(run, leaves, fast_mode=True)


@sparing([case for case in OPS if is_transformed(case)])
def test_jacobians_of_torch_func_are_those_of_autograd(case: OpCase) -> None:
    tensors, names = drawn(case)
    leaves = {name: tensors[name].clone().requires_grad_() for name in names}
    outputs = list(differentiable(case.ours(tensors | leaves)))
    values = tuple(tensors[name] for name in names)

    def run(*moved: Tensor) -> Tensor:
        found = case.ours(tensors | dict(zip(names, moved, strict=True)))
        return torch.cat([found[name].reshape(-1) for name in outputs])

    everything = tuple(range(len(values)))
    ours = torch.func.jacrev(run, argnums=everything)(*values)
    for mine, theirs in zip(ours, torch.autograd.functional.jacobian(run, values), strict=True):
        torch.testing.assert_close(mine, theirs)


def test_gradients_of_each_sample() -> None:
    torch.manual_seed(0)
    x, t = torch.randn(5, 3), torch.randn(5, 2)
    model = torch.nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.LayerNorm(4), nn.Linear(4, 2))
    parameters = dict(model.named_parameters())

    def loss(parameters: Tensors, x: Tensor, t: Tensor) -> Tensor:
        return ops.mse_loss(torch.func.functional_call(model, parameters, (x,)), t)

    each = torch.func.vmap(torch.func.grad(loss), in_dims=(None, 0, 0))(parameters, x, t)
    for n in range(5):
        alone = torch.autograd.grad(loss(parameters, x[n], t[n]), list(parameters.values()))
        for name, gradient in zip(parameters, alone, strict=True):
            torch.testing.assert_close(each[name][n], gradient)


OF_IMAGES = [
    nn.BatchNorm2d(4, track_running_stats=False),
    nn.BatchNorm2d(4).eval(),
    nn.GroupNorm(2, 4),
    nn.InstanceNorm2d(4, affine=True),
    nn.LayerNorm((4, 6, 6)),
    nn.RMSNorm((4, 6, 6)),
    nn.MaxPool2d(2),
    nn.AvgPool2d(2),
    nn.AdaptiveAvgPool2d(2),
    nn.AdaptiveMaxPool2d(2),
    nn.ZeroPad2d(1),
    *(nn.Conv2d(4, 4, 3, padding=1, padding_mode=each) for each in ("zeros", "circular")),
    nn.ConvTranspose2d(4, 3, 2),
]


@pytest.mark.parametrize("kernels", ["fused", "formula"])
@pytest.mark.parametrize("layer", OF_IMAGES, ids=str)
def test_gradients_of_each_batch_of_images_whose_channels_come_last(
    layer: torch.nn.Module, kernels: Kernels
) -> None:
    torch.manual_seed(0)
    layer = layer.double()
    x = torch.randn(3, 2, 6, 6, 4, dtype=torch.float64).movedim(-1, 2)
    parameters = dict(layer.named_parameters())

    def run(parameters: Tensors, x: Tensor) -> Tensor:
        return torch.func.functional_call(layer, parameters, (x,))

    t = torch.randn(3, *run(parameters, x[0]).shape, dtype=torch.float64)

    def loss(parameters: Tensors, x: Tensor, t: Tensor) -> Tensor:
        return (run(parameters, x) * t).sum()

    gradients = torch.func.grad(loss, argnums=(0, 1))
    with use_kernels(kernels):
        of_parameters, of_x = torch.func.vmap(gradients, in_dims=(None, 0, 0))(parameters, x, t)
        for n in range(3):
            expected, of_images = gradients(parameters, x[n], t[n])
            torch.testing.assert_close(of_x[n], of_images)
            torch.testing.assert_close({k: v[n] for k, v in of_parameters.items()}, expected)
        jacobian = torch.func.jacrev(partial(run, parameters))(x[0])
        x_0 = x[0].clone().requires_grad_()
        rows = [
            torch.autograd.grad(y, x_0, retain_graph=True)[0]
            for y in run(parameters, x_0).flatten()[:3]
        ]
    torch.testing.assert_close(jacobian.flatten(0, -5)[:3], torch.stack(rows))


def test_a_hessian_is_a_jacobian_of_a_jacobian() -> None:
    x = torch.randn(3, dtype=torch.float64)
    hessians = [
        torch.func.jacrev(torch.func.jacrev(lambda x, f=f: f(x, 0).sin().sum()))(x)
        for f in (ops.softmax, torch.nn.functional.softmax)
    ]
    torch.testing.assert_close(*hessians)


@pytest.mark.parametrize("layer", [nn.ReLU, nn.SiLU])
def test_a_layer_in_place_is_differentiated_too(layer: type[torch.nn.Module]) -> None:
    x = torch.randn(2, 3, dtype=torch.float64)

    def loss(x: Tensor, module: torch.nn.Module) -> Tensor:
        y = 2 * x
        module(y)
        return y.square().sum()

    ours, reference = (torch.func.grad(loss)(x, layer(inplace)) for inplace in (True, False))
    assert not ours.equal(reference)  # out of place y stays as it was
    torch.testing.assert_close(ours, torch.func.grad(lambda x: layer()(2 * x).square().sum())(x))


@pytest.mark.parametrize(
    "transform",
    [
        lambda f, x: torch.func.jvp(f, (x,), (x,)),
        lambda f, x: torch.func.jacfwd(f)(x),
        lambda f, x: torch.func.hessian(lambda x: f(x).sum())(x),
    ],
    ids=["jvp", "jacfwd", "hessian"],
)
def test_forward_mode_is_refused_and_not_wrong(transform: Any) -> None:
    with pytest.raises(NotImplementedError, match=r"tanh has no forward-mode .*jacrev\(jacrev"):
        transform(ops.tanh, torch.ones(2))


def test_dual_numbers_are_refused_and_not_wrong() -> None:
    forward_ad = torch.autograd.forward_ad
    with forward_ad.dual_level(), pytest.raises(NotImplementedError, match="jvp"):
        ops.tanh(forward_ad.make_dual(torch.ones(2), torch.ones(2)))


@pytest.mark.parametrize("kernels", ["fused", "formula"])
def test_max_pool_and_batch_norm_pass_all_of_gradcheck(kernels: str) -> None:
    x = torch.randn(2, 3, 4, 4, dtype=torch.float64, requires_grad=True)
    for layer in (nn.MaxPool2d(2, return_indices=True), nn.BatchNorm2d(3).double()):
        with use_kernels(kernels):
            assert torch.autograd.gradcheck(layer, x, check_undefined_grad=True)
