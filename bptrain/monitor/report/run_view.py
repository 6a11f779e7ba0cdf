"""What the page shows of a run, in words and numbers."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from bptrain.monitor.explanation.heat_map import Picture
from bptrain.monitor.verdicts import History, Verdict


class Result(NamedTuple):
    """A metric: its name, and its value at each stage; None where there is none.

    baselines  the value of each baseline, on the test split or else on the validation split
    """

    name: str
    train: float | None
    validation: float | None
    best: float | None
    test: float | None
    baselines: Sequence[float | None] = ()


class Figure(NamedTuple):
    """A result of an evaluation: the bytes of a PNG, or a table whose first row is the heading."""

    name: str
    png: bytes | None = None
    rows: Sequence[Sequence[str]] = ()


class Sample(NamedTuple):
    """A sample with a large loss.

    number   in its split, counted from 0
    picture  of the input: an image, or a heat map; None where it is shown as cells
    cells    of the input, by column
    """

    number: int
    loss: float
    true: str
    predicted: str
    picture: Picture | None
    is_image: bool
    cells: Mapping[str, str]


class Evaluated(NamedTuple):
    """What an evaluation of the best state gave.

    of         the state and the samples, in words
    figures    confusion matrix, predicted over true values, texts
    samples    the worst ones, the worst one first
    left_out   why there are no figures or samples, by which of them
    """

    of: str
    figures: Sequence[Figure]
    samples: Sequence[Sample]
    left_out: Mapping[str, str]


class RunView(NamedTuple):
    """A run as the page shows it.

    facts        of the run in a few words each, by name
    results      of each metric
    best_step    the step of the best validation; None without validation
    baselines    names of the simple predictions that the results are compared with
    config       resolved, as plain values by key
    environment  plain values by key
    notes        what could not be read, and which baselines the run does not beat
    """

    name: str
    folder: str
    facts: Mapping[str, str]
    results: Sequence[Result]
    best_step: int | None
    history: History
    verdicts: Sequence[Verdict]
    config: Mapping[str, Any]
    environment: Mapping[str, Any]
    evaluated: Evaluated
    notes: Sequence[str] = ()
    baselines: Sequence[str] = ()
