"""Samples that a program gives as arrays, checked before they become a model's inputs."""

from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from bptrain.data.splits import Samples
from bptrain.errors import DataError
from bptrain.problem import Problem

Array: TypeAlias = NDArray[Any]

NUMBERS = "fiub"  # kinds of dtype: float, signed, unsigned, boolean


def place_of(row: int) -> str:
    """Return how messages name an input, counted from 0."""
    return f"input {row}"


def refuse_what_is_no_number(arrays: Sequence[Array]) -> None:
    """Raise DataError for an array that holds anything but finite numbers."""
    for row, array in enumerate(arrays):
        if array.dtype.kind not in NUMBERS:
            raise DataError(f"{place_of(row)}: an array of {array.dtype}, expected numbers")
        if not np.isfinite(array).all():
            raise DataError(f"{place_of(row)}: it holds NaN or infinity")


def stacked(arrays: Sequence[Array], shape: tuple[int, ...]) -> Tensor:
    """Return arrays of one shape as float32 [N, *shape], or raise DataError."""
    refuse_what_is_no_number(arrays)
    for row, array in enumerate(arrays):
        if array.shape != shape:
            raise DataError(
                f"{place_of(row)}: its shape is {list(array.shape)}",
                f"the run's inputs have {list(shape)}",
                "the first axis counts the inputs: array[None] for a single one",
            )
    return torch.from_numpy(np.stack(arrays).astype(np.float32))


def as_inputs(arrays: Sequence[Array], problem: Problem) -> Samples:
    """Return arrays as they are as inputs of real numbers; their targets are zeros."""
    inputs = stacked(arrays, problem.input_shape)
    return Samples(inputs, zeros(len(inputs)))


def zeros(samples: int) -> Tensor:
    """Return targets [N] for samples that have none."""
    return torch.zeros(samples, dtype=torch.int64)
