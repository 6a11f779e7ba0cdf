"""The three referees over the whole table: finite differences, torch's twin, form."""

from importlib import import_module
from pathlib import Path

import pytest
import torch
from referees import ALL, SMOOTH, every_case, every_device
from torch import Tensor

from bptrain import ops
from bptrain.verify.case import Case, Tensors, wanted
from bptrain.verify.cases import CASES
from bptrain.verify.gradcheck import TOLERANCE, gradcheck
from bptrain.verify.parity import GRADIENT, NOISE, SAME, outcomes, parity, same

WITH_KERNELS = [
    f"bptrain.ops.{path.stem}"
    for path in sorted(Path(ops.__file__).parent.glob("*.py"))
    if "@carried_out_by" in path.read_text()
]
NARROW = [(case, dtype) for case in CASES for dtype in case.dtypes]


@every_device
@SMOOTH
def test_gradients_agree_with_finite_differences(case: Case, device: str) -> None:
    tensors = case.draw(torch.float64, device)
    names = wanted(case, tensors)
    found = gradcheck(lambda moved: case.ours(case.constraint(moved)), tensors, names, seed=1)
    assert len(found) == len(names) > 0
    assert [each for each in found if each.relative_error > TOLERANCE] == []


@every_device
@ALL
def test_float64_agrees_with_torch(case: Case, device: str) -> None:
    if case.random and device != "cpu":
        pytest.skip("torch's CUDA kernels draw their masks in another order")
    tensors = case.draw(torch.float64, device)
    ours, twin = (outcomes(f, tensors, wanted(case, tensors), 1) for f in (case.ours, case.twin))
    assert [each for each in parity(ours, twin) if each.relative_error > SAME] == []


@every_device
@pytest.mark.parametrize(
    ("case", "dtype"), NARROW, ids=[f"{case.label} {str(dtype)[6:]}" for case, dtype in NARROW]
)
def test_narrow_dtypes_err_no_more_than_torch(case: Case, dtype: torch.dtype, device: str) -> None:
    if case.random:
        pytest.skip("dtypes draw different masks; float64 and autocast show the arithmetic")
    tensors = case.draw(dtype, device)
    names = wanted(case, tensors)
    exact = outcomes(case.twin, widened(tensors), names, 1)
    ours, twin = (outcomes(f, tensors, names, 1) for f in (case.ours, case.twin))
    assert {k: v.dtype for k, v in ours.items()} == {k: v.dtype for k, v in twin.items()}
    assert_no_worse(ours, twin, exact, dtype)


@every_device
@every_case([case for case in CASES if torch.bfloat16 in case.dtypes])
def test_autocast_gives_torchs_dtypes_and_errs_no_more(case: Case, device: str) -> None:
    tensors = case.draw(torch.float32, device)
    names = wanted(case, tensors)
    if case.random and device != "cpu":
        pytest.skip("torch's CUDA kernels draw their masks in another order")
    found = []
    for function in (case.ours, case.twin):

        def under_autocast(given: Tensors, function: object = function) -> Tensors:
            with torch.autocast(device, torch.bfloat16):
                return function(given)

        found.append(outcomes(under_autocast, tensors, names, 1))
    ours, twin = found
    assert {k: v.dtype for k, v in ours.items()} == {k: v.dtype for k, v in twin.items()}
    if not case.random:
        exact = outcomes(case.twin, widened(tensors), names, 1)
        assert_no_worse(ours, twin, exact, torch.bfloat16)


@every_device
@ALL
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16], ids=str)
def test_gradients_have_their_tensors_shape_dtype_and_device(
    case: Case, dtype: torch.dtype, device: str
) -> None:
    if dtype not in (torch.float64, *case.dtypes):
        pytest.skip("torch has no such kernel either")
    tensors = case.draw(dtype, device)
    ours = outcomes(case.ours, tensors, wanted(case, tensors), 1)
    for name in wanted(case, tensors):
        gradient, tensor = ours.get(GRADIENT + name), tensors[name]
        if gradient is not None:
            assert form(gradient) == form(tensor), name


def widened(tensors: Tensors) -> Tensors:
    return {k: v.double() if v.is_floating_point() else v for k, v in tensors.items()}


def assert_no_worse(ours: Tensors, twin: Tensors, exact: Tensors, dtype: torch.dtype) -> None:
    # half a unit in the last place is what any rounding of the result costs; two of them allow
    # the upstream gradient, rounded to the dtype before either of us sees it
    floor = 2 * torch.finfo(dtype).eps
    for mine, theirs in zip(parity(ours, exact), parity(twin, exact), strict=True):
        assert mine.relative_error <= 1.5 * theirs.relative_error + floor, (mine, theirs)


def form(tensor: Tensor) -> tuple[torch.Size, torch.dtype, torch.device]:
    return tensor.shape, tensor.dtype, tensor.device


@ALL
def test_what_is_written_out_is_what_the_kernels_compute(
    case: Case, monkeypatch: pytest.MonkeyPatch
) -> None:
    # the formulas stand in the place of the fused kernels that carry them out
    for module in map(import_module, WITH_KERNELS):
        for name, function in list(vars(module).items()):
            if hasattr(function, "written_out"):
                monkeypatch.setattr(module, name, function.written_out)
    tensors = case.draw(torch.float64, "cpu")
    ours, twin = (outcomes(f, tensors, wanted(case, tensors), 1) for f in (case.ours, case.twin))
    found = parity(ours, twin, NOISE)
    assert [each for each in found if each.relative_error > same(twin)] == []
