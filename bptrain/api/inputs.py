"""What a program predicts: names of files, texts, arrays, tensors, or rows of a table."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from os import PathLike, fspath
from typing import TYPE_CHECKING, Any, TypeAlias, Union

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from bptrain.commands.named_inputs import STDIN, expanded
from bptrain.commands.predict_many import NOTHING
from bptrain.data import DataConfig
from bptrain.data.splits import Samples
from bptrain.errors import UsageError
from bptrain.experiment.config import ExperimentConfig
from bptrain.problem import Problem

if TYPE_CHECKING:
    import polars as pl

One: TypeAlias = str | PathLike[str] | Mapping[str, Any] | NDArray[Any] | Tensor
Inputs: TypeAlias = Union[One, Iterable[Any], "pl.DataFrame"]

FLOAT_BYTES = 4  # of the smallest float that numpy has all of
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


def given_inputs(inputs: Inputs, data: DataConfig) -> Given:
    """Return inputs by their kind, or raise UsageError for none, or for several kinds.

    data  whose kind tells which files folders and patterns stand for
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
        words = [fspath(each) for each in items]
        return Given(words=[each for word in words for each in named(word, data)])
    if all(isinstance(each, Mapping) for each in items):
        return Given(rows=items)
    wrong = [type(each).__name__ for each in items if isinstance(each, str | PathLike | Mapping)]
    if wrong:
        raise UsageError(f"a {wrong[0]} among inputs of other kinds", hint="one kind in a call")
    return Given(arrays=[as_array(each) for each in items])


def named(word: str, data: DataConfig) -> Iterable[str]:
    """Return the inputs that a word names, as `bptrain predict` finds them."""
    if word == STDIN:  # a program's own is not read
        return [word]
    return expanded([word], getattr(data, "input_files", NOTHING))


def as_array(given: object) -> NDArray[Any]:
    """Return a tensor, an array or nested lists of numbers as an array, or raise UsageError."""
    if isinstance(given, Tensor):
        tensor = given.detach().cpu()
        is_half = tensor.is_floating_point() and tensor.dtype.itemsize < FLOAT_BYTES
        return (tensor.float() if is_half else tensor).numpy()
    try:
        return np.asarray(given)
    except ValueError as error:  # lists of different lengths
        raise UsageError("an input is no array", str(error), WANTED) from error
