"""The exponents of costs that are known."""

import pytest

from bptrain.bench.power_law import fit_power_law


@pytest.mark.parametrize("exponent", [0.0, 0.5, 1.0, 2.0])
def test_the_exponent_of_an_exact_power_law_is_found(exponent: float) -> None:
    x = [10, 20, 50, 400]
    law = fit_power_law(x, [3e-6 * each**exponent for each in x])
    assert law.exponent == pytest.approx(exponent, abs=1e-12)
    assert law.factor == pytest.approx(3e-6)
    assert law.at(1000) == pytest.approx(3e-6 * 1000**exponent)


def test_the_fit_is_by_least_squares_on_logarithms() -> None:
    # log y = 0, 1, 0 over log x = 0, 1, 2: a horizontal line through the mean
    e = 2.718281828459045
    law = fit_power_law([1, e, e * e], [1, e, 1])
    assert law.exponent == pytest.approx(0, abs=1e-12)
    assert law.factor == pytest.approx(e ** (1 / 3))


@pytest.mark.parametrize(
    ("x", "y"), [([1], [1]), ([2, 2], [1, 3]), ([1, 2], [0, 1]), ([1, 2], [1]), ([], [])]
)
def test_what_has_no_power_law_is_refused(x: list[float], y: list[float]) -> None:
    with pytest.raises(ValueError, match="no power law"):
        fit_power_law(x, y)
