"""The pictures of how gradients flow: which are drawn, when, and what they show."""

import json
from typing import Any

import numpy as np
import pytest

from bptrain.monitor.flow_pictures import flow_pictures, flow_pictures_are_due
from bptrain.plots.gradient_flow import flow_by_depth, flow_over_steps

LAYERS = [f"linear{number}" for number in range(1, 6)]


def line(step: int, norms: list[float | None], **more: Any) -> dict[str, Any]:
    """Return a line of the log with norms by layer, and other values between them."""
    known = zip(LAYERS, norms, strict=False)
    by_layer = {f"grad/activation/{layer}": norm for layer, norm in known}
    return {"step": step, "train/loss": 1.0, **by_layer, "perf/step_ms": 1.0, **more}


def vanishing(step: int) -> list[float | None]:
    return [10.0 ** -(4 - depth) * (1 + step / 100) for depth in range(5)]


def test_a_network_has_its_flow_by_depth_and_by_step() -> None:
    lines = [line(step, vanishing(step)) for step in (10, 20, 30)]
    assert [tag for tag, _ in flow_pictures(lines)] == ["Flow/by_depth", "Flow/by_step"]


def test_each_recurrent_layer_has_its_flow_over_time() -> None:
    series = {"grad/time/lstm.l0": [1e-3, 1e-2, 0.1], "grad/time/lstm.l1": [1.0, 1.0, 1.0]}
    lines = [line(step, [0.5], **series) for step in (10, 20)]
    shown = [tag for tag, _ in flow_pictures(lines)]
    assert shown == ["Flow/by_time/lstm.l0", "Flow/by_time/lstm.l1"]  # and no depth of one layer


def test_a_run_that_has_hardly_begun_or_logs_no_norms_has_no_picture() -> None:
    without = [{"step": step, "grad/layer/linear1": 1.0} for step in range(1, 9)]
    assert not list(flow_pictures([]))
    assert not list(flow_pictures(without))
    assert not list(flow_pictures([*without, line(9, vanishing(9))]))


def test_the_lines_of_a_file_give_the_pictures_of_those_in_memory() -> None:
    lines = [line(step, [0.1 / step, float("nan"), 1 / 3, 0.0, 2.0**-40]) for step in (10, 20, 30)]
    text = json.dumps(lines).replace("NaN", "null")
    in_memory, from_file = dict(flow_pictures(lines)), dict(flow_pictures(json.loads(text)))
    assert in_memory.keys() == from_file.keys() == {"Flow/by_depth", "Flow/by_step"}
    for tag, picture in in_memory.items():
        assert np.array_equal(picture, from_file[tag])


def test_gradients_that_are_0_everywhere_have_no_place_on_a_logarithmic_axis() -> None:
    nothing = {"grad/time/rnn": [0.0, 0.0]}
    assert not list(flow_pictures([line(step, [0.0, 0.0], **nothing) for step in (1, 2)]))


def test_pictures_become_rare() -> None:
    drawn = [count for count in range(1, 70) if flow_pictures_are_due(line(count, [1.0]), count)]
    assert drawn == [2, 4, 8, 16, 32, 64]
    assert not flow_pictures_are_due({"train/loss": 1.0}, 4)  # this line was not observed


@pytest.mark.parametrize("steps", [2, 1000])
def test_a_long_run_takes_no_larger_pictures(steps: int) -> None:
    lines = [line(step, vanishing(step)) for step in range(1, steps + 1)]
    assert {picture.shape for _, picture in flow_pictures(lines)} == {(360, 500, 3)}


def test_in_the_picture_by_step_the_first_layer_is_below_and_time_goes_right() -> None:
    norms = np.array([[1e-6, 1.0], [1e-3, 1.0]])  # of two steps, each of two layers
    picture = flow_over_steps(norms, [1, 2], ["first", "last"]).astype(int)
    height, width = picture.shape[:2]
    left, right, top, bottom = width * 35 // 100, width * 75 // 100, height // 4, height * 3 // 4
    brightness = {place: picture[place].sum() for place in [(top, left), (top, right)]}
    brightness |= {place: picture[place].sum() for place in [(bottom, left), (bottom, right)]}
    assert brightness[top, left] == brightness[top, right] > brightness[bottom, right]
    assert brightness[bottom, right] > brightness[bottom, left]


def test_the_axis_by_depth_is_logarithmic() -> None:
    """A gradient that shrinks by the same factor in each layer is a straight line."""
    norms = np.array([[1e-8, 1e-6, 1e-4, 1e-2, 1.0]])
    picture = flow_by_depth(norms, [1], LAYERS).astype(int)
    colored = np.ptp(picture, axis=2) > 100  # the line, in a color; all else is gray
    rows, columns = np.nonzero(colored[:, picture.shape[1] * 2 // 5 :])  # right of the legend
    slope, start = np.polyfit(columns, rows, 1)
    assert slope < -0.1
    assert np.abs(rows - (slope * columns + start)).max() < 8
