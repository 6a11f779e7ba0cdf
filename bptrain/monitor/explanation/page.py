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


def page(about: About, explanations: Sequence[Explanation]) -> str:
    """Return the page; the explanations are of one model, in the order of training."""
    content = {"about": about, "formula": formula, **_content(explanations)}
    return rendered("bptrain.monitor.explanation", "explanation.html.jinja", content)


def _content(explanations: Sequence[Explanation]) -> dict[str, Any]:
    links = zip(*[each.links for each in explanations], strict=True)
    cards = [card_of(same, explanations[0].row) for same in links]
    return {
        "frames": [
            {
                "step": each.step,
                "loss": number(each.loss),
                "lr": number(each.lr),
                "norm": number(each.norms[0]),
                "clipped": number(each.norms[1]) if each.norms[1] < each.norms[0] else "",
            }
            for each in explanations
        ],
        "loss_points": loss_points(explanations),
        "row": explanations[0].row,
        "cards": cards,
        "networks": framed([network_of(each) for each in explanations]),
        "windows": [[window_view(each) for each in one.windows] for one in explanations],
        "scans": [[scan_view(each) for each in one.scans] for one in explanations],
        "updates": [
            update_view(same) for same in zip(*[each.updates for each in explanations], strict=True)
        ],
        "weights": [weight_view(each.weight) for each in explanations],
    }
