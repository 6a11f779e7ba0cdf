"""The share of the time that observing takes."""

import pytest
import torch

from bptrain.monitor.overhead import Overhead


def of(*steps: tuple[float, bool]) -> Overhead:
    overhead = Overhead(torch.device("cpu"))
    for seconds, is_observed in steps:
        overhead.add(10.0, 10.0 + seconds, is_observed)
    return overhead


def test_it_is_what_observed_steps_take_longer() -> None:
    plain = [(1.0, False)] * 17
    assert of(*plain, (1.0, False), (2.0, True)).share() == pytest.approx(1 / 20)
    assert of(*plain, (2.5, True), (2.5, True), (9.0, False)).share() == pytest.approx(3 / 31)


def test_it_goes_on_after_it_was_read() -> None:
    overhead = of((1.0, False), (2.0, True))
    assert overhead.share() == pytest.approx(1 / 3)
    overhead.add(0.0, 3.0, is_observed=True)
    assert overhead.share() == pytest.approx(3 / 6)
    assert overhead.share() == pytest.approx(3 / 6)


def test_a_share_beyond_its_limit_names_the_key_that_holds_it() -> None:
    costly = of(*[(1.0, False)] * 90, *[(3.0, True)] * 5)  # 10 of 105
    assert "monitoring took 9.5% of the time" in costly.excess(0.03)
    assert "monitor.max_overhead=0.009 would hold it" in costly.excess(0.03)
    assert costly.excess(0.1) == ""
    assert costly.excess(None) == ""
    assert of(*[(1.0, False)] * 30, *[(3.0, True)] * 4).excess(0.03) == ""  # too few to tell


def test_without_steps_of_both_kinds_it_is_not_known() -> None:
    assert of((1.0, False)).share() is None
    assert of((1.0, True)).share() is None


def test_the_clock_runs() -> None:
    overhead = Overhead(torch.device("cpu"))
    first, second = overhead.now(), overhead.now()
    assert isinstance(first, float)
    assert isinstance(second, float)
    assert second >= first
