"""Pictures of how the gradient flows through a network, from what a run has logged.

Flow/by_depth           its norm at each layer's output over the layers, on a logarithmic axis
Flow/by_step            the same as colors, layer by step
Flow/by_time/<layer>    its norm at the state of a recurrent layer over the time steps

They are drawn from the lines of the log, so that a resumed run draws what one that never stopped
does; and rarely, after 2, 4, 8, ... lines with such norms and at the end of the run, so that a long
run has few of them.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bptrain import tags
from bptrain.monitor.time_profile import MOST_STEPS
from bptrain.plots.canvas import Picture
from bptrain.plots.gradient_flow import flow_by_depth, flow_by_time_step, flow_over_steps

MOST_LINES = 5  # curves in a picture
MOST_COLUMNS = 200  # steps in a picture of colors
MOST_LAYERS_OVER_TIME = 4  # recurrent layers that have a picture of their own
BY_LAYER, OVER_TIME = tags.activation_gradient(""), tags.time_gradient("")

Line = Mapping[str, Any]


def flow_pictures_are_due(values: Mapping[str, float], lines: int) -> bool:
    """Tell whether pictures are due after a line of the log.

    lines  with norms so far, this one included
    """
    return shows_flow(values) and lines > 1 and lines & (lines - 1) == 0


def shows_flow(line: Line) -> bool:
    """Tell whether a line holds norms of gradients by layers' outputs."""
    return any(tag.startswith(BY_LAYER) for tag in line)


def flow_pictures(lines: Sequence[Line]) -> Iterator[tuple[str, Picture]]:
    """Yield the pictures of the lines of a log by tag: none of fewer than two with norms."""
    shown = [line for line in lines if shows_flow(line)]
    if len(shown) < 2:
        return
    of_layers = [tag for tag in shown[-1] if tag.startswith(BY_LAYER)]
    names = [tag.removeprefix(BY_LAYER) for tag in of_layers]
    if len(names) > 1:
        columns, few = _evenly(shown, MOST_COLUMNS), _evenly(shown, MOST_LINES)
        known = [
            _norms([line.get(tag) for tag in of_layers] for line in each) for each in (few, columns)
        ]
        if (known[1] > 0).any():
            yield (tags.flow("by_depth"), flow_by_depth(known[0], _steps(few), names))
            yield (tags.flow("by_step"), flow_over_steps(known[1], _steps(columns), names))
    yield from _over_time(shown)


def _over_time(shown: Sequence[Line]) -> Iterator[tuple[str, Picture]]:
    """Yield a picture for each recurrent layer."""
    recurrent = [tag for tag in shown[-1] if tag.startswith(OVER_TIME)]
    for tag in recurrent[:MOST_LAYERS_OVER_TIME]:
        length = len(shown[-1][tag])
        few = _evenly([line for line in shown if len(line.get(tag, ())) == length], MOST_LINES)
        norms = _norms(line[tag] for line in few)
        if length > 1 and (norms > 0).any():
            layer = tag.removeprefix(OVER_TIME)
            picture = flow_by_time_step(norms, _steps(few), layer, length < MOST_STEPS)
            yield (tags.flow(f"by_time/{layer}"), picture)


def _norms(rows: Any) -> NDArray[np.float64]:
    """Return numbers of the log as an array; None, which stands for no number, becomes NaN."""
    return np.array([[np.nan if each is None else each for each in row] for row in rows])


def _steps(lines: Sequence[Line]) -> list[int]:
    return [line["step"] for line in lines]


def _evenly(lines: Sequence[Line], most: int) -> list[Line]:
    """Return at most so many of the lines, evenly from the first to the last one."""
    if len(lines) <= most:
        return list(lines)
    return [lines[round(k * (len(lines) - 1) / (most - 1))] for k in range(most)]
