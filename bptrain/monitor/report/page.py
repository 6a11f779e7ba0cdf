"""A run, or two side by side, as one self-contained HTML page that runs no script."""

import base64
import json
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from bptrain import tags
from bptrain.errors import shorten
from bptrain.monitor.explanation.numbers import number
from bptrain.monitor.html_page import rendered
from bptrain.monitor.report.curves import HEIGHT, WIDTH, Chart, Series, chart, logged
from bptrain.monitor.report.gradient_flow import (
    by_depth,
    by_time,
    color_at,
    heat_map,
    limits_of,
)
from bptrain.monitor.report.run_view import RunView

LONGEST_VALUE = 400  # characters of a value of a config or environment
STYLES = {"train": "c0", "val": "c1", "test": "c2"}  # of the only run's splits
RUN_STYLES = {"train": "c{} dashed", "val": "c{}", "test": "c{}"}  # of two runs'
NO_GRADIENTS = "gradients of activations were not observed: monitor.level standard or full does so"


class Difference(NamedTuple):
    """What two runs do not have in common; `change` of a number, from the first to the second."""

    name: str
    first: str
    second: str
    change: str = ""


def page(runs: Sequence[RunView], title: str) -> str:
    """Return the page of a run, or of two."""
    limits = limits_of(each.history for each in runs)
    content = {
        "title": title,
        "runs": runs,
        "size": (WIDTH, HEIGHT),
        "curves": curves(runs),
        "training": training(runs),
        "flows": [
            (heat_map(each.history, limits), by_depth(each.history), by_time(each.history))
            for each in runs
        ],
        "no_gradients": NO_GRADIENTS,
        "config_differences": config_differences(runs),
        "result_differences": result_differences(runs),
        "number": lambda value: "" if value is None else number(value),
        "text": value_text,
        "shortened": shorten,
        "color_at": color_at,
        "sections": sections,
        "data_url": data_url,
    }
    return rendered("bptrain.monitor.report", "report.html.jinja", content)


def curves(runs: Sequence[RunView]) -> list[Chart]:
    """Return the curves of the loss and of each metric."""
    names = dict.fromkeys(each.name for run in runs for each in run.results)
    found = [_curve(runs, name) for name in names]
    return [each for each in found if each is not None]


def _curve(runs: Sequence[RunView], name: str) -> Chart | None:
    series = []
    for place, run in enumerate(runs):
        for split in STYLES:
            style = STYLES[split] if len(runs) == 1 else RUN_STYLES[split].format(place)
            named = _named(runs, place, split)
            found = logged(run.history, f"{split}/{name}", named, style)
            series += [found] if found.points else []
    return chart(name.replace("_", " "), series, marks=_marks(runs))


def training(runs: Sequence[RunView]) -> list[Chart]:
    """Return the curves of the gradient's norm and of the learning rate."""
    norms: list[Series] = []
    rates: list[Series] = []
    for place, run in enumerate(runs):
        colors = ("c0", "c1") if len(runs) == 1 else (f"c{place}", f"c{place} dashed")
        for tag, what, style in (
            (tags.GRAD_TOTAL, "before clipping", colors[0]),
            (tags.GRAD_TOTAL_CLIPPED, "after clipping", colors[1]),
        ):
            norms.append(logged(run.history, tag, _named(runs, place, what), style))
        rate = logged(run.history, tags.LEARNING_RATE, _named(runs, place, "rate"), colors[0])
        rates.append(rate)
    clipped = any(each.points for each in norms[1::2])
    if not clipped:
        norms = [
            each._replace(name=each.name.removesuffix("before clipping").strip(" ,") or "norm")
            for each in norms
        ]
    drawn = [
        chart("gradient norm", [each for each in norms if each.points], is_log=True),
        chart("learning rate", [each for each in rates if each.points], is_log=False),
    ]
    return [each for each in drawn if each is not None]


def _named(runs: Sequence[RunView], place: int, what: str) -> str:
    return what if len(runs) == 1 else f"{'AB'[place]}, {what}"


def _marks(runs: Sequence[RunView]) -> list[tuple[int, str]]:
    """Return the step of the best validation of each run."""
    return [
        (run.best_step, "best" if len(runs) == 1 else f"best {'AB'[place]}")
        for place, run in enumerate(runs)
        if run.best_step is not None
    ]


def config_differences(runs: Sequence[RunView]) -> list[Difference]:
    """Return the keys of the config that two runs have otherwise."""
    if len(runs) < 2:
        return []
    one, other = (run.config for run in runs)
    keys = [key for key in dict.fromkeys([*one, *other]) if one.get(key) != other.get(key)]
    return [Difference(key, *(_value(each, key) for each in (one, other))) for key in keys]


def _value(values: Mapping[str, Any], key: str) -> str:
    return value_text(values[key]) if key in values else ""


def result_differences(runs: Sequence[RunView]) -> list[Difference]:
    """Return the metrics of two runs at the best step and on the test split, and their change."""
    if len(runs) < 2:
        return []
    found = []
    one, other = ({each.name: each for each in run.results} for run in runs)
    for name in dict.fromkeys([*one, *other]):
        for stage, what in (("train", "train"), ("best", "best val"), ("test", "test")):
            values = [getattr(each.get(name), stage, None) for each in (one, other)]
            if values == [None, None]:
                continue
            first, second = ("" if value is None else number(value) for value in values)
            found.append(
                Difference(f"{what} {name}".replace("_", " "), first, second, _change(*values))
            )
    return found


def _change(one: float | None, other: float | None) -> str:
    if one is None or other is None:
        return ""
    return f"{'+' * (other > one)}{number(other - one)}"


def sections(values: Mapping[str, Any]) -> list[list[tuple[str, Any]]]:
    """Return keys and values by the part of the key before its first dot; the others together."""
    found: dict[str, list[tuple[str, Any]]] = {}
    for key, value in values.items():
        section, dot, _ = key.partition(".")
        found.setdefault(section if dot else "", []).append((key, value))
    return list(found.values())


def value_text(value: Any) -> str:
    """Return a plain value as text."""
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return shorten(text, LONGEST_VALUE)


def data_url(png: bytes) -> str:
    """Return a picture as an address that holds it."""
    return f"data:image/png;base64,{base64.b64encode(png).decode()}"
