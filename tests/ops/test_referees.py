"""The three referees over the whole table of operations."""

import pytest
import torch
from torch import Tensor

from bptrain.verify.cases import OPS, Inputs, OpCase
from bptrain.verify.gradcheck import TOLERANCE, gradcheck
from bptrain.verify.parity import outcomes, parity

DEVICES = [
    "cpu",
    pytest.param(
        "cuda",
        marks=[
            pytest.mark.cuda,
            pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
        ],
    ),
]
every_case = pytest.mark.parametrize("case", OPS, ids=lambda case: f"{case.op}: {case.name}")
every_device = pytest.mark.parametrize("device", DEVICES)


def draw(case: OpCase, dtype: torch.dtype, device: str, seed: int = 0) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return case.arguments(Inputs(generator, dtype, torch.device(device)))


def differentiable(case: OpCase, tensors: dict[str, Tensor]) -> list[str]:
    return [
        name
        for name, tensor in tensors.items()
        if tensor.is_floating_point() and name not in case.constants
    ]


@every_device
@pytest.mark.parametrize(
    "case", [case for case in OPS if case.smooth], ids=lambda case: f"{case.op}: {case.name}"
)
def test_gradients_agree_with_finite_differences(case: OpCase, device: str) -> None:
    tensors = draw(case, torch.float64, device)
    wanted = differentiable(case, tensors)
    found = gradcheck(
        lambda **leaves: case.ours(**leaves, **case.options),
        tensors,
        wanted,
        torch.Generator().manual_seed(1),
    )
    assert len(found) == len(wanted) > 0
    assert [each for each in found if each.relative_error > TOLERANCE] == []


@every_device
@every_case
def test_float64_agrees_with_torch(case: OpCase, device: str) -> None:
    tensors = draw(case, torch.float64, device)
    wanted = differentiable(case, tensors)
    ours, twins = (
        outcomes(lambda f=f, **leaves: f(**leaves, **case.options), tensors, wanted, 1)
        for f in (case.ours, case.twin)
    )
    # 1e-12: both round the same few operations, in another order at most
    assert [each for each in parity(ours, twins) if each.relative_error > 1e-12] == []


@every_device
@every_case
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16], ids=str)
def test_narrow_dtypes_err_no_more_than_torch(
    case: OpCase, dtype: torch.dtype, device: str
) -> None:
    tensors = draw(case, dtype, device)
    wanted = differentiable(case, tensors)
    exact_tensors = {
        name: tensor.double() if tensor.is_floating_point() else tensor
        for name, tensor in tensors.items()
    }

    def run(function: object, inputs: dict[str, Tensor]) -> dict[str, Tensor]:
        return outcomes(lambda **leaves: function(**leaves, **case.options), inputs, wanted, 1)

    exact = run(case.twin, exact_tensors)
    ours, twins = run(case.ours, tensors), run(case.twin, tensors)
    # half a unit in the last place is what any rounding of the result costs; two of them allow
    # the upstream gradient, rounded to the dtype before either of us sees it
    floor = 2 * torch.finfo(dtype).eps
    for mine, theirs in zip(parity(ours, exact), parity(twins, exact), strict=True):
        assert mine.relative_error <= 1.5 * theirs.relative_error + floor, (mine, theirs)


@every_device
@every_case
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16], ids=str)
def test_gradients_have_their_tensors_shape_dtype_and_device(
    case: OpCase, dtype: torch.dtype, device: str
) -> None:
    tensors = draw(case, dtype, device)
    wanted = differentiable(case, tensors)
    ours = outcomes(
        lambda **leaves: case.ours(**leaves, **case.options), tensors, wanted, upstream_seed=1
    )
    for name in wanted:
        gradient, tensor = ours[name], tensors[name]
        assert (gradient.shape, gradient.dtype, gradient.device) == (
            tensor.shape,
            tensor.dtype,
            tensor.device,
        )
    twin = case.twin(**tensors, **case.options)
    assert (ours["output"].shape, ours["output"].dtype) == (twin.shape, twin.dtype)


@every_case
def test_inputs_are_never_modified(case: OpCase) -> None:
    tensors = draw(case, torch.float64, "cpu")
    before = {name: tensor.clone() for name, tensor in tensors.items()}
    outcomes(
        lambda **leaves: case.ours(**leaves, **case.options),
        tensors,
        differentiable(case, tensors),
        upstream_seed=1,
    )
    for name, tensor in tensors.items():
        torch.testing.assert_close(tensor, before[name], rtol=0, atol=0, equal_nan=True)


@every_case
def test_any_subset_of_gradients_equals_the_whole(case: OpCase) -> None:
    tensors = draw(case, torch.float64, "cpu")
    wanted = differentiable(case, tensors)

    def run(names: list[str]) -> dict[str, Tensor]:
        return outcomes(lambda **leaves: case.ours(**leaves, **case.options), tensors, names, 1)

    whole = run(wanted)
    for name in wanted:
        torch.testing.assert_close(run([name])[name], whole[name], rtol=0, atol=0, equal_nan=True)


@every_case
def test_second_derivatives_are_refused_clearly(case: OpCase) -> None:
    tensors = draw(case, torch.float64, "cpu")
    name = differentiable(case, tensors)[0]
    tensors[name] = tensors[name].clone().requires_grad_()
    output = case.ours(**tensors, **case.options)
    upstream = torch.ones_like(output, requires_grad=True)
    (gradient,) = torch.autograd.grad(output, tensors[name], upstream, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        gradient.sum().backward()
