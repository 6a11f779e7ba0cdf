"""The three test oracles over the whole table: finite differences, torch's own, shape and dtype."""

import statistics
from collections.abc import Callable
from functools import cache

import pytest
import torch
from case_groups import every_case
from cases import CASES
from cases.case import Case, differentiated
from every_case import ALL, SMOOTH, every_device, is_later, kernels_of, sparing_modules

from bptrain.ops.kernels import use_kernels
from bptrain.verify.finite_differences import TOLERANCE, Sampling, differences, gradcheck
from bptrain.verify.named_tensors import Tensors
from bptrain.verify.parity import GRADIENT, NOISE, SAME, outcomes, parity, same

HAVE_NARROW = [case for case in CASES if case.dtypes]
NARROW = sparing_modules(HAVE_NARROW)
LATER = is_later(HAVE_NARROW)
NUMBERS = {case.label: number for number, case in enumerate(HAVE_NARROW)}
# The element of the largest gradient is moved alone, and all of them along a random direction,
# which shows an error in any element; `scripts/sweep` moves each alone.
A_FEW = Sampling(elements=1, directions=1)
MORE_DRAWS = 24


@every_device
@SMOOTH
def test_gradients_agree_with_finite_differences(case: Case, device: str) -> None:
    tensors = case.draw(torch.float64, device)
    names = differentiated(case, tensors)
    for kernels in kernels_of(case, device):
        with use_kernels(kernels):
            found = list(differences(projected(case), tensors, names, 1, A_FEW))
        assert [each.name for each in found] == names != []
        assert [each for each in found if each.is_wrong or each.found is None] == [], kernels


@pytest.mark.slow
@every_device
@SMOOTH
def test_every_element_agrees_with_finite_differences(case: Case, device: str) -> None:
    tensors = case.draw(torch.float64, device)
    names = differentiated(case, tensors)
    for kernels in kernels_of(case, device):
        with use_kernels(kernels):
            found = gradcheck(projected(case), tensors, names, seed=1)
        assert len(found) == len(names) > 0
        assert [each for each in found if each.relative_error > TOLERANCE] == [], kernels


def projected(case: Case) -> Callable[[Tensors], Tensors]:
    return lambda moved: case.ours(case.constraint(moved))


@every_device
@ALL
def test_float64_agrees_with_torch(case: Case, device: str) -> None:
    if case.random and device != "cpu":
        pytest.skip("torch's CUDA kernels draw their masks in another order")
    tensors = case.draw(torch.float64, device)
    names = differentiated(case, tensors)
    ours, reference = (outcomes(f, tensors, names, 1) for f in (case.ours, case.expected))
    assert [each for each in parity(ours, reference) if each.relative_error > SAME] == []
    assert_gradients_match_their_tensors(ours, tensors, names)
    if "fused" not in kernels_of(case, device):
        return  # there is no kernel: what agrees with torch above is the formula
    with use_kernels("formula"):
        ours = outcomes(case.ours, tensors, names, 1)
    found = parity(ours, reference, NOISE)
    assert [each for each in found if each.relative_error > same(reference)] == [], "the formula"
    assert_gradients_match_their_tensors(ours, tensors, names)


@every_device
@NARROW
def test_narrow_dtypes_err_no_more_than_torch(case: Case, device: str) -> None:
    check_dtypes(case, [each for each in case.dtypes if each is not left_out(case)], device)


@pytest.mark.slow
@every_device
@every_case([case for case in HAVE_NARROW if LATER(case)])
def test_the_dtypes_left_out_do_neither(case: Case, device: str) -> None:
    check_dtypes(case, [each for each in case.dtypes if each is left_out(case)], device)


def left_out(case: Case) -> torch.dtype | None:
    """Return one of the two 16-bit dtypes by turns, for cases after the first of an operation."""
    is_odd = NUMBERS[case.label] % 2
    return (torch.bfloat16 if is_odd else torch.float16) if LATER(case) else None


def check_dtypes(case: Case, dtypes: list[torch.dtype], device: str) -> None:
    for dtype in dtypes:
        if case.random:  # dtypes draw other masks; float64 and autocast show the arithmetic
            tensors = case.draw(dtype, device)
            names = differentiated(case, tensors)
            ours = outcomes(case.ours, tensors, names, 1)
            assert_gradients_match_their_tensors(ours, tensors, names)
        else:
            check_narrow(case, dtype, device)


def check_narrow(case: Case, dtype: torch.dtype, device: str) -> None:
    @cache
    def both(seed: int) -> tuple[Tensors, Tensors, Tensors]:
        tensors = case.draw(dtype, device, seed)
        return outcomes_of_all(case, tensors, case.ours, case.expected)

    tensors = case.draw(dtype, device)
    ours, reference, _ = both(0)
    assert_gradients_match_their_tensors(ours, tensors, differentiated(case, tensors))
    assert {k: v.dtype for k, v in ours.items()} == {k: v.dtype for k, v in reference.items()}
    assert_no_worse(both, dtype)


@every_device
@sparing_modules([case for case in CASES if torch.bfloat16 in case.dtypes])
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
            case, tensors, under_autocast(case.ours), under_autocast(skipped_without(case.expected))
        )

    ours, reference, _ = both(0)
    assert {k: v.dtype for k, v in ours.items()} == {k: v.dtype for k, v in reference.items()}
    if not case.random:
        assert_no_worse(both, torch.bfloat16)


def skipped_without(function: Callable[[Tensors], Tensors]) -> Callable[[Tensors], Tensors]:
    """Return torch's function, which skips the case where oneDNN has no kernel for this CPU.

    A torch.nn.LSTM in bfloat16 raises on CPUs without AVX-512, in place of using torch's own code.
    """

    def run(given: Tensors) -> Tensors:
        try:
            return function(given)
        except RuntimeError as error:
            if "could not create a primitive descriptor" not in str(error):
                raise
            pytest.skip("torch.nn has no kernel for this case on this CPU")

    return run


def assert_gradients_match_their_tensors(ours: Tensors, tensors: Tensors, names: list[str]) -> None:
    for name in names:
        gradient, tensor = ours.get(GRADIENT + name), tensors[name]
        if gradient is not None:
            assert gradient.shape == tensor.shape, name
            assert gradient.dtype == tensor.dtype, name
            assert gradient.device == tensor.device, name


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
        assert worse(range(MORE_DRAWS)) == {}, dtype
