"""Inputs that a request gives as JSON, prepared as the training samples were."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bptrain.data.given_arrays import place_of
from bptrain.data.splits import Samples
from bptrain.errors import DataError
from bptrain.experiment.config import ExperimentConfig
from bptrain.problem import Problem


def samples_of(
    values: Sequence[Any], config: ExperimentConfig, problem: Problem, prepared: Mapping[str, Any]
) -> Samples:
    """Return values as samples: rows, texts or arrays, by the kind of the run's inputs.

    Raises DataError for a value of another kind.
    """
    data: Any = config.data
    if data.input_kind == "row":
        rows = [_of_kind(each, dict, "row {COLUMN: CELL}", n) for n, each in enumerate(values)]
        samples: Samples = data.prepare_rows(rows, prepared)
    elif data.input_kind == "text":
        samples = data.prepare_texts(texts_in(values), prepared)
    else:
        arrays = [_array(each, number) for number, each in enumerate(values)]
        samples = data.prepare_arrays(arrays, problem, prepared)
    return samples


def texts_in(values: Sequence[Any]) -> list[str]:
    """Return values that are texts, or raise DataError."""
    return [_of_kind(each, str, "text", number) for number, each in enumerate(values)]


def _of_kind(value: Any, kind: type, name: str, number: int) -> Any:
    if not isinstance(value, kind):
        raise DataError(f"{place_of(number)}: no {name}", f"it is a {type(value).__name__}")
    return value


def _array(value: Any, number: int) -> NDArray[Any]:
    """Return nested lists of numbers as an array, or raise DataError."""
    _of_kind(value, list, "list of numbers", number)
    try:
        return np.asarray(value)
    except ValueError as error:
        raise DataError(f"{place_of(number)}: its lists differ in length") from error
