"""The explanations of several steps as one self-contained HTML page."""

from collections.abc import Sequence
from typing import Any, NamedTuple

from bptrain.monitor.explanation.links import Explanation
from bptrain.monitor.explanation.network import network_of
from bptrain.monitor.explanation.numbers import number
from bptrain.monitor.explanation.views import (
    card_of,
    formula,
    framed,
    loss_points,
    scan_view,
    update_view,
    weight_view,
    window_view,
)
from bptrain.monitor.html_page import rendered


class About(NamedTuple):
    """What the page says of the experiment.

    name       of the config
    sample     number of the explained sample
    optimizer  its kind
    total      steps of the run
    """

    name: str
    sample: int
    optimizer: str
    total: int


def page(about: About, told: Sequence[Explanation]) -> str:
    """Return the page; the explanations are of one model, in the order of training."""
    content = {"about": about, "formula": formula, **_content(told)}
    return rendered("bptrain.monitor.explanation", "explanation.html.jinja", content)


def _content(told: Sequence[Explanation]) -> dict[str, Any]:
    links = zip(*[each.links for each in told], strict=True)
    cards = [card_of(same, told[0].row) for same in links]
    return {
        "frames": [
            {
                "step": each.step,
                "loss": number(each.loss),
                "lr": number(each.lr),
                "norm": number(each.norms[0]),
                "clipped": number(each.norms[1]) if each.norms[1] < each.norms[0] else "",
            }
            for each in told
        ],
        "loss_points": loss_points(told),
        "row": told[0].row,
        "cards": cards,
        "networks": framed([network_of(each) for each in told]),
        "windows": [[window_view(each) for each in one.windows] for one in told],
        "scans": [[scan_view(each) for each in one.scans] for one in told],
        "updates": [
            update_view(same) for same in zip(*[each.updates for each in told], strict=True)
        ],
        "weights": [weight_view(each.weight) for each in told],
    }
