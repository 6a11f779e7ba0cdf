"""Are two runs the same, bit for bit? Weights, optimizer, all other state, and every curve.

What is measured is left out: `time_s` and `perf/*`.
"""

import json
from collections.abc import Callable, Iterator, Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any, NamedTuple

import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch import Tensor

from bptrain import tags
from bptrain.rundir.checkpoint import last_first, read_checkpoint

MEASURED = ("time_s", tags.MEASURED)
POSITIONS = ("log",)  # sizes of files, which hold times
ON_BOARD: dict[str, Callable[[Any], Any]] = {  # what is compared of each kind of event
    "scalars": lambda event: event.value,
    "images": lambda event: sha256(event.encoded_image_string).hexdigest(),
    "histograms": lambda event: event.histogram_value,
    "tensors": lambda event: sha256(event.tensor_proto.SerializeToString()).hexdigest(),
}


class RunPart(NamedTuple):
    """How much of one kind was compared, and what differs; "" for nothing."""

    what: str
    compared: int
    difference: str


def compare_runs(first: Path, second: Path) -> list[RunPart]:
    """Return how the last states and the curves of two runs compare.

    Raises CheckpointError if one of them has no valid last checkpoint.
    """
    states = [read_checkpoint(last_first(run / "checkpoints")[0]) for run in (first, second)]
    rests = [state.rest() for state in states]
    plain = [flat({**each.metrics, **rest}) for each, (rest, _) in zip(states, rests, strict=True)]
    lines, boards = ([read(run) for run in (first, second)] for read in (metrics_of, board_of))
    return [
        compare("weights and buffers", states[0].model, states[1].model),
        compare("optimizer, averages, generators", rests[0][1], rests[1][1]),
        compare("position, schedule, scaler", *plain),
        compare("metrics.jsonl", *lines),
        compare("TensorBoard", *boards),
    ]


def compare(what: str, first: Mapping[str, Any], second: Mapping[str, Any]) -> RunPart:
    """Return the first difference of two mappings."""
    names = sorted({*first, *second})
    return RunPart(what, len(names), next(differing(names, first, second), ""))


def differing(
    names: list[str], first: Mapping[str, Any], second: Mapping[str, Any]
) -> Iterator[str]:
    """Yield a description of each difference."""
    for name in names:
        if name not in first or name not in second:
            yield f"{name} is in {'the first' if name in first else 'the second'} alone"
        elif isinstance(first[name], Tensor):
            if not same(first[name], second[name]):
                yield f"{name} differs{by_how_much(first[name], second[name])}"
        elif first[name] != second[name]:
            yield f"{name}: {first[name]} and {second[name]}"


def same(first: Tensor, second: Tensor) -> bool:
    """Tell whether two tensors hold the same bits."""
    alike = (first.dtype, first.shape) == (second.dtype, second.shape)
    return alike and torch.equal(
        first.contiguous().view(-1).view(torch.uint8),
        second.contiguous().view(-1).view(torch.uint8),
    )


def by_how_much(first: Tensor, second: Tensor) -> str:
    """Return the largest difference as text, if there is a number for it."""
    if first.shape != second.shape or not first.is_floating_point():
        return ""
    return f" by up to {float((first.double() - second.double()).abs().max()):.3g}"


def metrics_of(run: Path) -> dict[str, float]:
    """Return the numbers of `metrics.jsonl` by line, step and name; an extra line shows."""
    found: dict[str, float] = {}
    for number, line in enumerate((run / "metrics.jsonl").read_text().splitlines(), start=1):
        record = json.loads(line)
        step = record["step"]
        found |= {f"line {number}, step {step}, {k}": v for k, v in flat(record).items()}
    return found


def board_of(run: Path) -> dict[str, Any]:
    """Return what is on the board by tag and place in its curve; a repeated point shows."""
    board = EventAccumulator(str(run / "tensorboard"), dict.fromkeys(ON_BOARD, 0))
    board.Reload()
    tags_of = board.Tags()
    found = {
        f"{tag}, point {number}, step {event.step}": content(event)
        for kind, content in ON_BOARD.items()
        for tag in tags_of[kind]
        if not is_measured(tag)
        for number, event in enumerate(getattr(board, kind.capitalize())(tag), start=1)
    }
    graph = board.Graph().SerializeToString() if tags_of["graph"] else b""
    return {**found, "graph": sha256(graph).hexdigest()}


def flat(tree: Any, path: str = "") -> dict[str, Any]:
    """Return the plain values of a tree by path, but for measured values and file positions."""
    if isinstance(tree, dict):
        items = [(k, v) for k, v in tree.items() if not is_measured(k) and k not in POSITIONS]
    elif isinstance(tree, list):
        items = [(str(number), each) for number, each in enumerate(tree)]
    else:
        return {path: tree}
    return {k: v for name, each in items for k, v in flat(each, f"{path}/{name}").items()}


def is_measured(name: str) -> bool:
    """Tell whether a value is measured: a time, a rate, an amount of memory."""
    return name.startswith(MEASURED)
