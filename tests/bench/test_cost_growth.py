"""Costs over sizes: which are measured, and how their exponents are told. No time is asserted."""

from pathlib import Path

import pytest

from bptrain.bench import engines
from bptrain.bench.cost_growth import SWEEPS, Curve, Sweep, draw, measure_sweep, table_of
from bptrain.bench.engines import ByAutograd
from bptrain.bench.power_law import PowerLaw
from bptrain.bench.workloads import mlp

SMALL = Sweep("MLP", "batch", (2, 4, 8), lambda batch: mlp(batch, (3,)))


@pytest.fixture(autouse=True)
def autograd_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Measure one engine of ours, whichever others there are."""
    monkeypatch.setattr(engines, "ENGINES", {"autograd": ByAutograd})


def test_time_and_memory_of_both_sides_are_measured_at_each_size() -> None:
    curves = measure_sweep(SMALL, turns=1)
    names = {(curve.alternative, curve.cost) for curve in curves}
    assert names == {
        (side, cost)
        for side in ("torch.nn", "bptrain, autograd")
        for cost in ("step", "kept", "peak")
    }
    assert all(len(curve.values) == 3 for curve in curves)


def test_what_is_kept_grows_in_proportion_to_the_batch() -> None:
    curves = measure_sweep(SMALL, turns=1)
    kept = next(each for each in curves if each.cost == "kept" and "bptrain" in each.alternative)
    assert kept.law.exponent == pytest.approx(1, abs=0.01)


def test_the_table_has_a_line_for_each_alternative_and_the_chart_is_drawn(tmp_path: Path) -> None:
    law = PowerLaw(0.5, 1.0)
    curves = [Curve("ours", cost, [1.0, 1.4, 2.0], law) for cost in ("step", "kept", "peak")]
    cell = "0.50 (1 to 2 {})"
    cells = " | ".join([cell.format("ms"), cell.format("MB"), cell.format("MB")])
    assert table_of([(SMALL, curves)]).splitlines()[2] == f"| MLP | batch 2 to 8 | ours | {cells} |"
    draw([(SMALL, curves)], tmp_path / "growth.png")
    assert (tmp_path / "growth.png").read_bytes().startswith(b"\x89PNG")


def test_batch_width_depth_and_time_steps_grow() -> None:
    assert [sweep.axis for sweep in SWEEPS] == ["batch", "width", "depth", "time steps"]
