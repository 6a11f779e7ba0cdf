"""The three referees over the whole table: finite differences, torch's twin, form."""

import statistics
from collections.abc import Callable
from functools import cache
from importlib import import_module
from pathlib import Path

import pytest
import torch
from cases import CASES
from cases.case import Case, wanted
from referees import ALL, SMOOTH, every_case, every_device
from torch import Tensor

from bptrain import ops
from bptrain.ops.kernels import use_kernels
from bptrain.verify.gradcheck import TOLERANCE, gradcheck
from bptrain.verify.named_tensors import Tensors
from bptrain.verify.parity import GRADIENT, NOISE, SAME, outcomes, parity, same

WITH_KERNELS = [
    f"bptrain.ops.{path.stem}"
    for path in sorted(Path(ops.__file__).parent.glob("*.py"))
    if "@carried_out_by" in path.read_text()
]
NARROW = [(case, dtype) for case in CASES for dtype in case.dtypes]
MORE_DRAWS = 24


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

    @cache
    def both(seed: int) -> tuple[Tensors, Tensors, Tensors]:
        tensors = case.draw(dtype, device, seed)
        return judged(case, tensors, case.ours, case.twin)

    ours, twin, _ = both(0)
    assert {k: v.dtype for k, v in ours.items()} == {k: v.dtype for k, v in twin.items()}
    assert_no_worse(both, dtype)


@every_device
@every_case([case for case in CASES if torch.bfloat16 in case.dtypes])
def test_autocast_gives_torchs_dtypes_and_errs_no_more(case: Case, device: str) -> None:
    if case.random and device != "cpu":
        pytest.skip("torch's CUDA kernels draw their masks in another order")

    def under_autocast(function: Callable[[Tensors], Tensors]) -> Callable[[Tensors], Tensors]:
        def run(given: Tensors) -> Tensors:
            with torch.autocast(device, torch.bfloat16):
                return function(given)

        return run

    @cache
    def both(seed: int) -> tuple[Tensors, Tensors, Tensors]:
        tensors = case.draw(torch.float32, device, seed)
        return judged(case, tensors, under_autocast(case.ours), under_autocast(case.twin))

    ours, twin, _ = both(0)
    assert {k: v.dtype for k, v in ours.items()} == {k: v.dtype for k, v in twin.items()}
    if not case.random:
        assert_no_worse(both, torch.bfloat16)


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


def judged(
    case: Case,
    tensors: Tensors,
    ours: Callable[[Tensors], Tensors],
    twin: Callable[[Tensors], Tensors],
) -> tuple[Tensors, Tensors, Tensors]:
    """Return the outcomes of ours, of torch's and of torch's in float64."""
    given = ((ours, tensors), (twin, tensors), (case.twin, widened(tensors)))
    mine, theirs, exact = (outcomes(f, t, wanted(case, tensors), 1) for f, t in given)
    return mine, theirs, exact


def assert_no_worse(
    both: Callable[[int], tuple[Tensors, Tensors, Tensors]], dtype: torch.dtype
) -> None:
    # half a unit in the last place is what any rounding of the result costs; two of them allow
    # the upstream gradient, rounded to the dtype before either of us sees it
    floor = 2 * torch.finfo(dtype).eps

    def worse(seeds: range) -> dict[str, tuple[float, float]]:
        """Return the tensors whose mean error over the draws is too large, and both errors."""
        errors: dict[str, list[tuple[float, float]]] = {}
        for seed in seeds:
            ours, twin, exact = both(seed)
            for mine, theirs in zip(parity(ours, exact), parity(twin, exact), strict=True):
                pair = (mine.relative_error, theirs.relative_error)
                errors.setdefault(mine.tensor, []).append(pair)
        means = {k: tuple(map(statistics.fmean, zip(*v, strict=True))) for k, v in errors.items()}
        return {k: pair for k, pair in means.items() if not pair[0] <= 1.5 * pair[1] + floor}

    # Where many roundings follow one another, as in a walk over time, one draw of a few elements is
    # a lottery between two equally good formulas; the worse formula is worse in the mean, too.
    if worse(range(1)):
        assert worse(range(MORE_DRAWS)) == {}


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
    with use_kernels("formula"):
        ours = outcomes(case.ours, tensors, wanted(case, tensors), 1)
    twin = outcomes(case.twin, tensors, wanted(case, tensors), 1)
    found = parity(ours, twin, NOISE)
    assert [each for each in found if each.relative_error > same(twin)] == []
