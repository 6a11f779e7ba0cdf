"""What the page shows of the explanations of several steps: texts, formulas and pictures.

Every step of the slider is a frame. What differs between steps is a list with an entry for each
frame; a list of one entry is the same in all of them.
"""

import re
from collections.abc import Sequence
from math import isfinite, log10
from typing import Any, NamedTuple

from markupsafe import Markup, escape
from torch import Tensor

from bptrain.monitor.explanation.heat_map import Picture, heat_map, image, is_image, plane_map
from bptrain.monitor.explanation.links import (
    Argument,
    Explanation,
    FollowedWeight,
    Link,
    Part,
    ThroughTime,
    WeightUpdate,
    Window,
)
from bptrain.monitor.explanation.mathml import inline, line
from bptrain.monitor.explanation.numbers import (
    element,
    exact,
    is_small,
    number,
    rows,
    shape,
    summary,
)

PRIME = "\N{PRIME}"
ROUNDING = 1e-6  # of float32


class Cell(NamedTuple):
    """A number of a small tensor, and its part of the largest magnitude, from -1 to 1."""

    text: str
    strength: float


class View(NamedTuple):
    """A tensor: its numbers where they are few, else a picture and what describes them."""

    shape: str
    cells: list[list[Cell]]
    picture: Picture | None = None
    summary: str = ""
    is_image: bool = False


def view_of(tensor: Tensor) -> View:
    """Return a tensor as numbers, or as a heat map."""
    if is_small(tensor):
        return View(shape(tensor), _cells(tensor))
    if not tensor.numel() or bool((tensor == tensor.flatten()[0]).all()):
        return View(shape(tensor), [], summary=summary(tensor))
    return View(shape(tensor), [], heat_map(tensor), summary(tensor))


def _cells(tensor: Tensor) -> list[list[Cell]]:
    table = tensor.detach().double().reshape(-1, tensor.shape[-1] if tensor.dim() else 1)
    largest = max(
        (abs(each) for row in table.tolist() for each in row if isfinite(each)), default=0
    )
    return [
        [
            Cell(text, value / largest if largest and isfinite(value) else 0.0)
            for text, value in zip(texts, values, strict=True)
        ]
        for texts, values in zip(rows(tensor), table.tolist(), strict=True)
    ]


def sample_view(sample: Tensor, row: int) -> View:
    """Return the batch's tensor of samples; of images the explained one."""
    if is_image(sample):
        return View(shape(sample), [], image(sample[row]), summary(sample[row]), is_image=True)
    return view_of(sample)


def framed(views: Sequence[Any]) -> list[Any]:
    """Return the entries of all frames, or one that is the same in all of them."""
    return [views[0]] if all(each == views[0] for each in views) else list(views)


def card_of(links: Sequence[Link], row: int) -> dict[str, Any]:
    """Return what is shown of one link, given it in each frame."""
    first, derivation = links[0], links[0].derivation
    wanted = [n for n, each in enumerate(first.arguments) if each.gradient is not None]
    return {
        "number": first.number,
        "title": first.title,
        "operation": first.operation,
        "about": inline(derivation.title) if derivation else "",
        "shapes": [line(each) for each in derivation.shapes] if derivation else [],
        "source": derivation.source if derivation else "",
        "forward": [line(each) for each in derivation.forward] if derivation else [],
        "options": ", ".join(f"{name} {each}" for name, each in first.options.items()),
        "python": first.python,
        "letter": _letter(first.letter),
        "upstream_letter": inline(f"{first.letter}'"),
        "is_loss": first.is_loss,
        "arguments": [
            {
                "letter": _letter(each.letter),
                "name": each.name,
                "views": framed([_argument(link.arguments[n], row) for link in links]),
            }
            for n, each in enumerate(first.arguments)
        ],
        "output": framed([view_of(link.output) for link in links]),
        "shape": shape(first.output),
        "upstream": framed([view_of(_upstream(link)) for link in links]),
        "flow": [_flow(link) for link in links],
        "gradients": [_gradient(links, n) for n in wanted],
    }


def _letter(letter: str) -> Markup:
    """Return a letter of a derivation, set; a word, such as running_m, as it is."""
    return inline(letter) if re.match(r"[A-Za-z](?:['_]|$)", letter) else escape(letter)


def _argument(argument: Argument, row: int) -> View:
    is_sample = argument.name == "the sample"
    return sample_view(argument.value, row) if is_sample else view_of(argument.value)


def _upstream(link: Link) -> Tensor:
    assert link.upstream is not None
    return link.upstream


def _flow(link: Link) -> dict[str, Any]:
    """Return the norm of the gradient at a link, and its place on a scale of decades."""
    norm = float(_upstream(link).double().norm())
    decades = log10(norm) if norm > 0 and isfinite(norm) else -8.0
    return {"norm": number(norm), "height": round(min(100.0, max(2.0, 12.5 * (decades + 6))))}


def _gradient(links: Sequence[Link], place: int) -> dict[str, Any]:
    """Return the gradient by one argument: its rule, the parts of elements, and the whole."""
    link, argument = links[0], links[0].arguments[place]
    rules = link.derivation.rules_for(argument.letter) if link.derivation else []
    is_value = argument.name.startswith(("y of", "h of", "the "))
    return {
        "letter": _letter(f"{argument.letter}'"),
        "name": "" if is_value else argument.name,
        "rules": [
            {"formula": [line(each) for each in rule.formula], "because": inline(rule.because)}
            for rule in rules
        ],
        "frames": framed([_chain(link, link.arguments[place]) for link in links]),
    }


def _chain(link: Link, argument: Argument) -> dict[str, Any]:
    gradient = argument.gradient
    parts = [part for part in link.parts if argument.letter in part.slopes]
    return {
        "parts": [_part(link, argument.letter, part) for part in parts],
        "is_sum": link.is_whole and len(parts) > 1,
        "is_one": link.is_whole and len(parts) == 1,
        "total": None if gradient is None else view_of(gradient),
    }


def _part(link: Link, letter: str, part: Part) -> dict[str, Any]:
    name, slope = element(link.letter, part.at), part.slopes[letter]
    product = part.upstream * slope
    return {
        "upstream": f"{element(link.letter + PRIME, part.at)} = {number(part.upstream)}",
        "local": f"d{name}/d{letter}",
        "slope": view_of(slope),
        "product": view_of(product) if is_small(product) else View("", [], None, summary(product)),
    }


def update_view(updates: Sequence[WeightUpdate]) -> dict[str, Any]:
    """Return a parameter before and after the optimizer's step, given it in each frame."""
    return {
        "name": updates[0].name,
        "frames": [
            {
                "before": view_of(each.before),
                "gradient": None if each.gradient is None else view_of(each.gradient),
                "change": view_of(each.after - each.before),
                "after": view_of(each.after),
            }
            for each in updates
        ],
    }


def weight_view(weight: FollowedWeight | None) -> dict[str, Any] | None:
    """Return the followed weight: its path, the product of the chain, and its check."""
    if weight is None:
        return None
    factors, before = [], 1.0
    for each in weight.path:
        factors.append(number(each.movement / before) if before else "0")
        before = each.movement
    below, loss, above = weight.losses
    largest = max((abs(each.total) for each in weight.path), default=0.0) or 1.0
    return {
        "name": element(weight.name, weight.at),
        "value": number(weight.value),
        "path": [
            {
                "link": each.link,
                "title": each.title,
                "at": str(list(each.at)) if each.at else "",
                "movement": number(each.movement),
                "gradient": number(each.gradient),
                "product": number(each.movement * each.gradient),
                "movers": f"{each.movers:,}",
                "total": number(each.total),
                "share": round(100 * abs(each.total) / largest),
            }
            for each in weight.path
        ],
        "factors": list(reversed(factors)) if weight.is_one_path else [],
        "gradient": number(weight.gradient),
        "chain": exact(weight.gradient),
        "measured": exact(weight.measured),
        "distance": f"{weight.distance:g}",
        "below": exact(below),
        "loss": exact(loss),
        "above": exact(above),
    }


def window_view(window: Window) -> dict[str, Any]:
    """Return one output pixel of a convolution, forward and back."""
    top, left, height, width = window.corner
    plane, (rows_of_plane, columns) = plane_map(window.plane)
    covered = float((window.patch * window.kernel).sum())
    return {
        "link": window.link,
        "title": window.title,
        "pixel": element("y", window.at),
        "value": number(window.value),
        "upstream": number(window.upstream),
        "channel": window.channel,
        "plane": plane,
        "scatter": plane_map(window.scatter)[0],
        "frame": {  # of the window in the plane, in percent
            "left": 100 * left / columns,
            "top": 100 * top / rows_of_plane,
            "width": 100 * width / columns,
            "height": 100 * height / rows_of_plane,
        },
        "patch": view_of(window.patch),
        "kernel": view_of(window.kernel),
        "sum": number(covered),
        "rest": number(window.rest if abs(window.rest) > ROUNDING * abs(covered) else 0.0),
        "handed": view_of(window.upstream * window.kernel),
    }


def scan_view(scan: ThroughTime) -> dict[str, Any]:
    """Return the gradient of one time step carried back: two curves over time, and a heat map."""
    carried = scan.carried.double().norm(dim=1).tolist()
    complete = scan.complete.double().norm(dim=1).tolist()
    both = [log10(each) for each in (*carried, *complete) if each > 0 and isfinite(each)]
    low, high = (min(both), max(both)) if both else (-1.0, 0.0)
    high = high if high > low else low + 1
    return {
        "link": scan.link,
        "title": scan.title,
        "cell": scan.cell,
        "about": inline(scan.derivation.title) if scan.derivation else "",
        "rules": [
            {"formula": [line(each) for each in rule.formula], "because": inline(rule.because)}
            for rule in (scan.derivation.backward if scan.derivation else ())
        ],
        "step": scan.step,
        "last": len(carried) - 1,
        "carried": _curve(carried, low, high),
        "complete": _curve(complete, low, high),
        "low": number(10**low),
        "high": number(10**high),
        "at_step": number(carried[scan.step]),
        "at_start": number(carried[0]),
        "heat": heat_map(scan.carried.T),
    }


def _curve(norms: Sequence[float], low: float, high: float) -> str:
    """Return the points of a curve of norms over time, in a field of 600 by 160."""
    scale = 600 / max(1, len(norms) - 1)
    points = []
    for t, norm in enumerate(norms):
        if norm > 0 and isfinite(norm):
            points.append(f"{t * scale:.1f},{160 * (high - log10(norm)) / (high - low):.1f}")
    return " ".join(points)


def formula(text: str) -> Markup:
    """Return a formula of the page's own words, set as those of the derivations."""
    return inline(text)


def loss_points(explanations: Sequence[Explanation]) -> str:
    """Return the points of the curve of the losses, in a field of 100 by 24."""
    losses = [each.loss if isfinite(each.loss) else 0.0 for each in explanations]
    low, high = min(losses), max(losses)
    scale = 100 / max(1, len(losses) - 1)
    span = (high - low) or 1.0
    return " ".join(
        f"{n * scale:.1f},{22 - 20 * (loss - low) / span:.1f}" for n, loss in enumerate(losses)
    )
