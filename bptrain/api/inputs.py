"""What a program predicts: names of files, texts, arrays, tensors, or rows of a table."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from glob import glob, has_magic
from os import PathLike, fspath
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias, Union

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from bptrain.data.splits import Samples
from bptrain.errors import DataError, UsageError
from bptrain.experiment.config import ExperimentConfig
from bptrain.problem import Problem

if TYPE_CHECKING:
    import polars as pl

One: TypeAlias = str | PathLike[str] | Mapping[str, Any] | NDArray[Any] | Tensor
Inputs: TypeAlias = Union[One, Iterable[Any], "pl.DataFrame"]

WANTED = "files, texts, arrays or tensors [N, ...], or rows as mappings"


@dataclass(frozen=True)
class Given:
    """Inputs of one kind: one of the lists holds them all."""

    words: Sequence[str] = ()
    arrays: Sequence[NDArray[Any]] = ()
    rows: Sequence[Mapping[str, Any]] = ()

    def samples(
        self, config: ExperimentConfig, problem: Problem, prepared: Mapping[str, Any]
    ) -> Samples:
        """Return arrays or rows, prepared as the training samples were."""
        method = "prepare_rows" if self.rows else "prepare_arrays"
        prepare = getattr(config.data, method, None)
        if prepare is None:
            kind = "rows as mappings" if self.rows else "arrays"
            raise UsageError(
                f"data.kind {config.data.kind} takes no {kind} to predict", hint="files, or texts"
            )
        samples: Samples = (
            prepare(self.rows, prepared) if self.rows else prepare(self.arrays, problem, prepared)
        )
        return samples


def given_inputs(inputs: Inputs, reads_texts: bool) -> Given:
    """Return inputs by their kind, or raise UsageError for none, or for several kinds.

    reads_texts  whether the model reads texts: a str is never a pattern then, "how are you?" is not
    """
    if isinstance(inputs, str | PathLike | Mapping):
        inputs = [inputs]
    elif hasattr(inputs, "to_dicts"):  # a frame of polars
        inputs = inputs.to_dicts()
    elif isinstance(inputs, Tensor):
        inputs = as_array(inputs)
    is_one = not isinstance(inputs, Iterable) or (
        isinstance(inputs, np.ndarray) and not inputs.ndim
    )
    items = [] if is_one else list(inputs)
    if not items:
        raise UsageError("no inputs to predict", hint=WANTED)
    if all(isinstance(each, str | PathLike) for each in items):
        return Given(words=[word for each in items for word in named_by(each, reads_texts)])
    if all(isinstance(each, Mapping) for each in items):
        return Given(rows=items)
    wrong = [type(each).__name__ for each in items if isinstance(each, str | PathLike | Mapping)]
    if wrong:
        raise UsageError(f"a {wrong[0]} among inputs of other kinds", hint="one kind in a call")
    return Given(arrays=[as_array(each) for each in items])


def as_array(given: object) -> NDArray[Any]:
    """Return a tensor, an array or nested lists of numbers as an array, or raise UsageError."""
    if isinstance(given, Tensor):
        tensor = given.detach().cpu()
        return (
            tensor
            if tensor.dtype.itemsize > 2 or not tensor.is_floating_point()
            else tensor.float()
        ).numpy()
    try:
        return np.asarray(given)
    except ValueError as error:  # lists of different lengths
        raise UsageError("an input is no array", str(error), WANTED) from error


def named_by(given: str | PathLike[str], reads_texts: bool) -> list[str]:
    """Return the words of an input: the files that a pattern matches by name, or it as it is.

    Raises DataError for a pattern that no file matches.
    """
    word = fspath(given)
    is_pattern = has_magic(word) and not (reads_texts and isinstance(given, str))
    if not is_pattern or Path(word).exists():
        return [word]
    found = sorted(glob(word, recursive=True))  # noqa: PTH207  of any folder, also an absolute one
    if not found:
        raise DataError(f"{word}: no file matches", f"in {Path.cwd()}")
    return found
