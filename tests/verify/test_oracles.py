"""The three test oracles over the whole table: finite differences, torch's reference, form."""

import statistics
from collections.abc import Callable
from functools import cache
from importlib import import_module
from pathlib import Path

import pytest
import torch
from cases import CASES
from cases.case import Case, differentiated
from every_case import ALL, SMOOTH, every_case, every_device
from torch import Tensor

from bptrain import ops
from bptrain.ops.kernels import use_kernels
from bptrain.verify.finite_differences import TOLERANCE, gradcheck
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
    names = differentiated(case, tensors)
    found = gradcheck(lambda moved: case.ours(case.constraint(moved)), tensors, names, seed=1)
    assert len(found) == len(names) > 0
    assert [each for each in found if each.relative_error > TOLERANCE] == []


@every_device
@ALL
def test_float64_agrees_with_torch(case: Case, device: str) -> None:
    if case.random and device != "cpu":
        pytest.skip("torch's CUDA kernels draw their masks in another order")
    tensors = case.draw(torch.float64, device)
    ours, reference = (
        outcomes(f, tensors, differentiated(case, tensors), 1) for f in (case.ours, case.expected)
    )
    assert [each for each in parity(ours, reference) if each.relative_error > SAME] == []


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
        return outcomes_of_all(case, tensors, case.ours, case.expected)

    ours, reference, _ = both(0)
    assert {k: v.dtype for k, v in ours.items()} == {k: v.dtype for k, v in reference.items()}
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
        return outcomes_of_all(
            case, tensors, under_autocast(case.ours), under_autocast(case.expected)
        )

    ours, reference, _ = both(0)
    assert {k: v.dtype for k, v in ours.items()} == {k: v.dtype for k, v in reference.items()}
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
    ours = outcomes(case.ours, tensors, differentiated(case, tensors), 1)
    for name in differentiated(case, tensors):
        gradient, tensor = ours.get(GRADIENT + name), tensors[name]
        if gradient is not None:
            assert form(gradient) == form(tensor), name


def widened(tensors: Tensors) -> Tensors:
    return {k: v.double() if v.is_floating_point() else v for k, v in tensors.items()}


def outcomes_of_all(
    case: Case,
    tensors: Tensors,
    ours: Callable[[Tensors], Tensors],
    reference: Callable[[Tensors], Tensors],
) -> tuple[Tensors, Tensors, Tensors]:
    """Return the outcomes of ours, of torch's and of torch's in float64."""
    given = ((ours, tensors), (reference, tensors), (case.expected, widened(tensors)))
    mine, theirs, exact = (outcomes(f, t, differentiated(case, tensors), 1) for f, t in given)
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
            ours, reference, exact = both(seed)
            for mine, theirs in zip(parity(ours, exact), parity(reference, exact), strict=True):
                pair = (mine.relative_error, theirs.relative_error)
                errors.setdefault(mine.tensor, []).append(pair)
        means = {k: tuple(map(statistics.fmean, zip(*v, strict=True))) for k, v in errors.items()}
        return {k: pair for k, pair in means.items() if not pair[0] <= 1.5 * pair[1] + floor}

    # Where many roundings follow one another, as in a scan over time, one draw of a few elements
    # says little about two equally good formulas; the worse formula is worse in the mean, too.
    if worse(range(1)):
        assert worse(range(MORE_DRAWS)) == {}


def form(tensor: Tensor) -> tuple[torch.Size, torch.dtype, torch.device]:
    return tensor.shape, tensor.dtype, tensor.device


@ALL
def test_the_formulas_compute_what_the_kernels_do(
    case: Case, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in map(import_module, WITH_KERNELS):
        for name, function in list(vars(module).items()):
            if hasattr(function, "written_out"):
                monkeypatch.setattr(module, name, function.written_out)
    tensors = case.draw(torch.float64, "cpu")
    names = differentiated(case, tensors)
    reference = outcomes(case.expected, tensors, names, 1)
    with use_kernels("formula"):
        ours = outcomes(case.ours, tensors, names, 1)
    found = parity(ours, reference, NOISE)
    assert [each for each in found if each.relative_error > same(reference)] == []


@SMOOTH
def test_the_formulas_agree_with_finite_differences(case: Case) -> None:
    tensors = case.draw(torch.float64, "cpu")
    with use_kernels("formula"):
        found = gradcheck(
            lambda moved: case.ours(case.constraint(moved)),
            tensors,
            differentiated(case, tensors),
            seed=1,
        )
    assert [each for each in found if each.relative_error > TOLERANCE] == []
