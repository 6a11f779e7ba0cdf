"""A small network as a drawing: units, weights between them, values and gradients on both."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from bptrain.monitor.explanation.links import Explanation, Link
from bptrain.monitor.explanation.numbers import number

MOST_UNITS, MOST_LAYERS = 6, 5
ACROSS, DOWN, TOP = 210, 120, 60  # between two layers, between two units, above the first
MOST_LABELS = 4  # of the weights into a layer


@dataclass
class _Layer:
    """Units of one layer; `weights` [O, I] lead to them from the layer before."""

    name: str
    values: list[float]
    gradients: list[float] | None = None
    weights: Tensor | None = None
    slopes: Tensor | None = None
    biases: list[float] = field(default_factory=list)


def network_of(explanation: Explanation) -> dict[str, Any] | None:
    """Return the drawing of a chain of small linear layers; None for any other network."""
    layers = _layers([link for link in explanation.links if not link.is_loss])
    if layers is None or len(layers) > MOST_LAYERS:
        return None
    if max(len(each.values) for each in layers) > MOST_UNITS:
        return None
    height = TOP + DOWN * max(len(each.values) for each in layers)
    nodes = [_nodes(layer, n, height) for n, layer in enumerate(layers)]
    return {
        "width": ACROSS * len(layers) + 120,
        "height": height,
        "nodes": [each for column in nodes for each in column],
        "edges": _edges(layers, nodes),
        "names": [{"x": 60 + ACROSS * n, "text": each.name} for n, each in enumerate(layers)],
        "loss": {
            "x": 60 + ACROSS * len(layers),
            "y": TOP / 2 + height / 2,
            "text": number(explanation.loss),
        },
    }


def _layers(links: Sequence[Link]) -> list[_Layer] | None:
    layers: list[_Layer] = []
    for link in links:
        values, upstream = link.output.flatten().tolist(), link.upstream
        assert upstream is not None
        gradients = upstream.flatten().tolist()
        if link.operation == "linear" and len(link.output) == 1 and link.output.dim() == 2:
            by_letter = {each.letter: each for each in link.arguments}
            weight, bias = by_letter["W"], by_letter.get("b")
            if not layers:
                layers.append(_Layer("x", by_letter["x"].value.flatten().tolist()))
            biases = bias.value.tolist() if bias else []
            layers.append(
                _Layer(link.title, values, gradients, weight.value, weight.gradient, biases)
            )
        elif layers and len(values) == len(layers[-1].values) and link.derivation:
            layers[-1].values = values
            layers[-1].gradients = gradients
            layers[-1].name += f", {link.title}"
        else:
            return None
    return layers or None


def _nodes(layer: _Layer, column: int, height: int) -> list[dict[str, Any]]:
    count = len(layer.values)
    first = TOP / 2 + (height - DOWN * (count - 1)) / 2
    return [
        {
            "x": 60 + ACROSS * column,
            "y": first + DOWN * unit,
            "value": number(value),
            "gradient": number(layer.gradients[unit]) if layer.gradients else "",
            "bias": number(layer.biases[unit]) if layer.biases else "",
        }
        for unit, value in enumerate(layer.values)
    ]


def _edges(layers: Sequence[_Layer], nodes: Sequence[list[dict[str, Any]]]) -> list[dict[str, Any]]:
    edges = []
    for column, layer in enumerate(layers[1:], start=1):
        assert layer.weights is not None
        largest = float(layer.weights.abs().max()) or 1.0
        for o, row in enumerate(layer.weights.tolist()):
            for i, weight in enumerate(row):
                start, end = nodes[column - 1][i], nodes[column][o]
                at = 0.3 if o > i else 0.34 if o < i else 0.42  # where lines do not cross
                slope = None if layer.slopes is None else float(layer.slopes[o, i])
                edges.append(
                    {
                        "x1": start["x"], "y1": start["y"], "x2": end["x"], "y2": end["y"],
                        "lx": start["x"] + at * (end["x"] - start["x"]),
                        "ly": start["y"] + at * (end["y"] - start["y"]),
                        "sign": "pos" if weight >= 0 else "neg",
                        "width": round(1 + 4 * abs(weight) / largest, 2),
                        "value": number(weight) if layer.weights.numel() <= MOST_LABELS else "",
                        "gradient": "" if slope is None else number(slope),
                    }
                )  # fmt: skip
    return edges
