"""The page of a report: curves, nothing that can run, and a line for what is left out."""

from math import inf, nan
from typing import Any

import pytest
from html_pages import read

from bptrain.monitor.report.axis import axis_of, round_numbers, steps_axis
from bptrain.monitor.report.curves import HEIGHT, MOST_POINTS, WIDTH, chart, logged, thinned
from bptrain.monitor.report.gradient_flow import (
    MOST_COLUMNS,
    MOST_ROWS,
    by_depth,
    by_time,
    color_at,
    heat_map,
    limits_of,
)
from bptrain.monitor.report.page import config_differences, page, result_differences
from bptrain.monitor.report.run_view import Evaluated, Figure, Result, RunView, Sample
from bptrain.monitor.verdicts import History, Verdict

HOSTILE = "</title><script>alert(1)</script>\"'><img src=x onerror=alert(1)>"
LEFT_OUT = Evaluated("", [], [], {"figures": "no figures here", "samples": "no samples here"})


def line(step: int, layers: int = 3, **values: Any) -> dict[str, Any]:
    norms = {f"grad/activation/layer{n}": 10.0 ** (n - layers) for n in range(layers)}
    norms |= {f"grad/layer/layer{n}": 10.0 ** (n - layers) for n in range(layers)}
    return {"step": step, "train/loss": 1 / (step + 1), "train/lr": 0.1, **norms, **values}


def view(lines: list[dict[str, Any]], **changes: Any) -> RunView:
    results = [Result("loss", 0.5, None, 0.4, 0.6), Result("accuracy", None, 0.9, 0.8, None)]
    config = {"seed": 0, "model.kind": "mlp", "model.hidden": [8]}
    given = RunView(
        *("a", "runs/a", {"status": "finished"}, results, 2, History(lines), [], config),
        {"torch": "2"},
        LEFT_OUT,
    )
    return given._replace(**changes)


def test_the_page_of_a_run_is_well_formed_and_runs_nothing() -> None:
    content = page([view([line(n, **{"val/loss": 0.5}) for n in range(1, 9)])], "a")
    found = read(content)
    assert "script" not in found.tags
    assert "default-src 'none'" in content
    text = " ".join(found.text)
    for said in ("loss", "learning rate", "Gradient norm by depth", "model.hidden"):
        assert said in text, said
    assert "layer0, step 8: 0.001" in text


def test_what_is_missing_is_said() -> None:
    text = " ".join(read(page([view([], results=[], environment={})], "a")).text)
    for said in (
        "No metrics: nothing was logged yet",
        "No verdict: nothing was logged yet",
        "No curves: no number was logged yet",
        "No heat map: ",
        "No norms by depth",
        "no figures here",
        "no samples here",
        "environment.json cannot be read",
    ):
        assert said in text, said


def test_no_name_from_data_configs_or_logs_can_write_into_the_page() -> None:
    lines = [
        line(
            n,
            **{
                f"val/{HOSTILE}": 1.0,
                f"grad/activation/{HOSTILE}": 1.0,
                f"grad/layer/{HOSTILE}": 1,
            },
        )
        | {f"grad/time/{HOSTILE}": [1.0, 2.0], "train/loss": HOSTILE}
        for n in (1, 2)
    ]
    sample = Sample(0, 1.0, HOSTILE, HOSTILE, None, False, {HOSTILE: HOSTILE})
    evaluated = Evaluated(HOSTILE, [Figure(HOSTILE, rows=[[HOSTILE], [HOSTILE]])], [sample], {})
    verdict = Verdict(HOSTILE, 1, HOSTILE, HOSTILE, {HOSTILE: 1.0}, (HOSTILE,), HOSTILE)
    run = view(
        lines,
        name=HOSTILE,
        folder=HOSTILE,
        facts={HOSTILE: HOSTILE},
        results=[Result(HOSTILE, 1.0, 1.0, 1.0, 1.0)],
        verdicts=[verdict],
        config={HOSTILE: HOSTILE, f"{HOSTILE}.{HOSTILE}": [HOSTILE]},
        environment={HOSTILE: {HOSTILE: HOSTILE}},
        evaluated=evaluated,
        notes=[HOSTILE],
    )
    for runs in ([run], [run, run]):
        content = page(runs, HOSTILE)
        found = read(content)
        assert "<script" not in content
        assert "<img" not in content
        assert not found.tags & {"script", "img"}


@pytest.mark.parametrize(
    "value", [None, nan, inf, -inf, 0.0, -1.0, 1e-320, 1.7e308, 10**400, True, "text", [1.0], {}]
)
def test_no_number_of_a_log_breaks_the_page(value: object) -> None:
    tags = ("train/loss", "val/loss", "grad/total", "train/lr", "grad/activation/layer1")
    broken = {**dict.fromkeys([*tags, "grad/layer/layer1"], value), "grad/time/lstm": [value, 1.0]}
    for lines in ([line(3, **broken)], [line(1), line(3, **broken), line(4)]):
        read(page([view(lines)], "a"))


def test_a_number_that_was_not_finite_is_a_gap_and_a_cross() -> None:
    lines = [{"step": n, "train/loss": None if n == 3 else 1.0 + n} for n in range(1, 6)]
    drawn = chart("loss", [logged(History(lines), "train/loss", "train", "c0")])
    assert drawn is not None
    assert [len(part.split()) for part in drawn.lines[0].parts] == [2, 2]
    assert drawn.lost == [pytest.approx(3 / 5 * WIDTH)]
    assert "cross" in drawn.note


def test_a_curve_lies_where_its_numbers_say() -> None:
    lines = [{"step": step, "a": value} for step, value in ((0, 0.0), (50, 1.0), (100, 0.5))]
    drawn = chart("a", [logged(History(lines), "a", "a", "c0")], is_log=False)
    assert drawn is not None
    points = [tuple(map(float, pair.split(","))) for pair in drawn.lines[0].parts[0].split()]
    assert [x for x, _ in points] == [0, WIDTH / 2, WIDTH]
    heights = [HEIGHT - y for _, y in points]
    assert heights[2] - heights[0] == pytest.approx((heights[1] - heights[0]) / 2, abs=0.2)
    assert chart("a", [logged(History(lines), "b", "b", "c0")]) is None


def test_a_long_curve_keeps_its_peaks() -> None:
    points = [(n, 0.0) for n in range(10_000)]
    points[1234], points[7777] = (1234, 9.0), (7777, -9.0)
    kept = thinned(points)
    assert len(kept) <= MOST_POINTS
    assert {(1234, 9.0), (7777, -9.0)} <= set(kept)
    assert kept == sorted(kept)


@pytest.mark.parametrize(
    "values",
    [
        [0.0],
        [5.0],
        [1.0, 2.0],
        [0.0, 1e-9],
        [1e-300, 1e300],
        [-1.7e308, 1.7e308],
        [5e-324],
        [3, 3e4],
    ],
)
@pytest.mark.parametrize("is_log", [None, True, False])
def test_ticks_lie_on_their_axis(values: list[float], is_log: bool | None) -> None:
    axis = axis_of(values, is_log)
    places = [tick.at for tick in axis.ticks()]
    assert 1 <= len(places) <= 12
    assert all(0 <= place <= 1 for place in places)
    assert all(0 <= axis.at(value) <= 1 for value in values)


def test_ticks_are_round() -> None:
    assert round_numbers(0.13, 0.87) == [0.2, 0.4, 0.6, 0.8]
    assert [tick.label for tick in axis_of([1e-6, 1.0]).ticks()][-1] == "1"
    assert [tick.label for tick in steps_axis([1, 3]).whole_ticks()] == ["0", "1", "2", "3"]


def test_the_heat_map_colors_norms_by_their_logarithm() -> None:
    lines = [line(n) for n in range(1, 4)]
    lines[1]["grad/activation/layer0"], lines[2]["grad/activation/layer0"] = 0.0, None
    history = History(lines)
    found = heat_map(history, limits_of([history]))
    assert found is not None
    assert found.layers == ["layer0", "layer1", "layer2"]
    assert [cell.color for cell in found.rows[0]] == [color_at(0), "zero", "lost"]
    assert [row[0].color for row in found.rows] == [color_at(0), color_at(0.5), color_at(1)]
    assert found.rows[2][1].says == "layer2, step 2: 0.1"


def test_a_large_heat_map_is_bounded_and_says_what_it_shows() -> None:
    history = History([line(n, layers=50) for n in range(1, 100)])
    found = heat_map(history, limits_of([history]))
    assert found is not None
    assert (len(found.rows), len(found.rows[0])) == (MOST_ROWS, MOST_COLUMNS)
    assert (found.layers[0], found.layers[-1]) == ("layer0", "layer49")
    assert found.note == "32 of 50 layers, 48 of 99 observed steps"


def test_norms_by_depth_and_by_time_are_of_several_steps() -> None:
    lines = [line(n, **{"grad/time/lstm": [0.1, 0.2, 0.4]}) for n in range(1, 30)]
    depth, times = by_depth(History(lines)), by_time(History(lines))
    assert depth is not None
    assert [each.name for each in depth.lines] == [f"step {n}" for n in (1, 8, 15, 22, 29)]
    assert [tick.label for tick in depth.x_ticks] == ["layer0", "layer1", "layer2"]
    assert [each.title for each in times] == ["Gradient norm by time step: lstm"]
    assert by_depth(History([])) is None
    assert by_time(History([])) == []


def test_two_runs_are_laid_over_each_other_and_their_differences_listed() -> None:
    first = view([line(n) for n in range(1, 5)])
    second = view(
        [line(n) for n in range(1, 9)],
        name="b",
        config={"seed": 0, "model.kind": "cnn", "model.stages": 2},
        results=[Result("loss", 0.5, None, 0.3, None)],
    )
    text = " ".join(read(page([first, second], "a and b")).text)
    for said in ("A, train", "B, train", "Config that differs", "Metrics that differ"):
        assert said in text
    named = {each.name: (each.first, each.second) for each in config_differences([first, second])}
    assert named == {
        "model.kind": ("mlp", "cnn"),
        "model.hidden": ("[8]", ""),
        "model.stages": ("", "2"),
    }
    changes = {each.name: each.change for each in result_differences([first, second])}
    assert changes["best val loss"] == "\N{MINUS SIGN}0.1"
    assert changes["test loss"] == ""
    assert config_differences([first, first]) == []
