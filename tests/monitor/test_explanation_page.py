"""The page of `explain`: self-contained, of bounded size, with the step's own numbers."""

from collections.abc import Callable
from importlib.resources import files
from pathlib import Path

import pytest
import torch
from html_pages import PICTURES, read
from small_files import CONFIGS

from bptrain.commands.explain import times_of
from bptrain.config import load_config
from bptrain.experiment.build import build
from bptrain.experiment.config import ExperimentConfig
from bptrain.experiment.explaining import explanations, sample_of
from bptrain.experiment.plan import plan
from bptrain.monitor.explanation.heat_map import heat_map, image, plane_map
from bptrain.monitor.explanation.numbers import number
from bptrain.monitor.explanation.page import About, page

LARGEST_BYTES = 4_000_000
SMALL = {
    "xor_tiny": [],
    "spirals_mlp": [],
    "digits_cnn": ["model.stages=[{channels: 4}, {channels: 6}]"],
    "digits_lbfgs": ["model.hidden=[8]"],
    "adding_gru": ["data.length=8", "model.hidden=5"],
    "copy_lstm": ["data.delay=2", "data.recall=2", "model.hidden=5"],
}


def page_of(name: str, overrides: list[str], times: list[int]) -> str:
    made = plan(load_config(ExperimentConfig, CONFIGS / f"{name}.yaml", overrides))
    experiment = build(made)
    told = list(explanations(made, experiment, sample_of(experiment, 0), times))
    return page(About(made.config.name, 0, made.config.optimizer.kind, 100), told)


@pytest.mark.parametrize("name", SMALL)
def test_a_page_is_well_formed_and_needs_nothing_from_elsewhere(name: str) -> None:
    content = page_of(name, SMALL[name], [0, 1])
    read(content)
    assert "url(" not in content
    assert "http" not in PICTURES.sub("", content)
    assert len(content.encode()) < LARGEST_BYTES
    assert "<math" in content


def test_the_slider_leads_through_training() -> None:
    content = page_of("xor_tiny", [], [0, 2, 5])
    assert 'max="2"' in content
    assert "before training" in content
    assert "after 5 steps of training" in content


def test_the_page_shows_the_numbers_of_the_step() -> None:
    made = plan(load_config(ExperimentConfig, CONFIGS / "xor_tiny.yaml", []))
    experiment = build(made)
    (told,) = explanations(made, experiment, sample_of(experiment, 1), [0])
    content = page(About(made.config.name, 1, "sgd", 100), [told])
    shown = [each.output for each in told.links] + [link.upstream for link in told.links]
    shown += [
        each for update in told.updates for each in (update.before, update.gradient, update.after)
    ]
    for value in shown:
        for each in value.flatten().tolist():
            assert f">{number(each)}<" in content


def test_a_name_from_a_config_cannot_write_into_the_page() -> None:
    made = plan(load_config(ExperimentConfig, CONFIGS / "xor_tiny.yaml", []))
    experiment = build(made)
    hostile = "</title><script>alert(1)</script>"
    (told,) = explanations(made, experiment, sample_of(experiment, 0), [0])
    content = page(About(hostile, 0, "<b>", 1), [told])
    assert hostile not in content
    assert content.count("<script>") == 1
    assert "Update: &lt;b&gt;" in content


def test_a_heat_map_is_bounded_and_shows_the_strongest_numbers() -> None:
    values = torch.zeros(500, 300)
    values[250, 150] = -5
    shown = heat_map(values)
    assert max(shown.width, shown.height) <= 48
    assert "strongest" in shown.note
    assert len(shown.source) < 2_000
    assert heat_map(torch.full((3, 3), torch.nan)).width == 3
    assert (heat_map(torch.randn(1, 40, 9, 9)).note) == "the first 16 of 40 planes"
    assert image(torch.rand(3, 8, 9))[1:3] == (9, 8)


def test_a_plane_says_how_many_rows_and_columns_it_stands_for() -> None:
    shown, covers = plane_map(torch.randn(50, 20))  # blocks of two rows and one column
    assert (shown.height, shown.width) == (25, 20)
    assert covers == (50, 20)
    assert plane_map(torch.randn(1, 97))[1] == (1, 99)  # 33 blocks of three


@pytest.mark.parametrize(("last", "count"), [(0, 8), (1, 8), (5, 8), (100, 8), (100, 2)])
def test_the_times_of_a_slider_begin_and_end_where_they_should(last: int, count: int) -> None:
    times = times_of(last, count)
    assert (times[0], times[-1]) == (0, last)
    assert times == sorted(set(times))
    assert len(times) <= max(count, 2)


def test_the_command_writes_the_page(bptrain: Callable, tmp_path: Path) -> None:
    shown = bptrain("explain", CONFIGS / "xor_tiny.yaml", "--html", "page.html", "--steps", "3")
    assert shown.exit_code == 0, shown.stderr
    assert "page.html" in shown.stdout
    assert "after 3 steps of training" in (tmp_path / "page.html").read_text(encoding="utf-8")


@pytest.mark.parametrize("place", ["missing/page.html", "."])
def test_a_page_that_cannot_be_written_is_a_storage_error(bptrain: Callable, place: str) -> None:
    shown = bptrain("explain", CONFIGS / "xor_tiny.yaml", "--html", place, "--steps", "3")
    assert shown.exit_code == 5
    assert "cannot be written" in shown.stderr
    assert len(shown.stderr.splitlines()) <= 6


def test_the_templates_are_part_of_the_package() -> None:
    names = {each.name for each in (files("bptrain.monitor.explanation") / "templates").iterdir()}
    assert {"explanation.html.jinja", "explanation.css", "explanation.js"} <= names
