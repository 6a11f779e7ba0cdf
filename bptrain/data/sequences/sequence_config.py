"""Sequences of numbers from .npz files: a class, numbers, or a class at each step for each.

inputs   [N, T, F] or [N, T]   sequences of one length; with `lengths` the rest is padding
values   [sum T, F] or [sum T] in place of inputs: all sequences, one behind the other
lengths  [N]                   steps of each; needed with values
targets  [N] integer                   classification, classes from 0
         [N] or [N, D] float           regression
         [N, T] or, with values, [sum T] integer   tagging, -100 where a step does not count
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, Literal

import torch
from pydantic import Field, model_validator
from torch import Tensor

from bptrain.data.sequences.sequence_arrays import (
    Sequences,
    SequenceTask,
    read_inputs,
    read_sequences,
)
from bptrain.data.splits import Dataset, InMemoryConfig, Parts, Samples, hold_out
from bptrain.errors import DataError
from bptrain.problem import Problem

TEST_FRACTION = 0.2
TEST_SEED = 0  # fixed: every run, whatever its seed, is tested on the same sequences


class SequenceConfig(InMemoryConfig):
    """Sequences of numbers, of one length or many, from an .npz file of numpy's savez.

    Its arrays: inputs [N, T, F], or values [sum T, F] with lengths [N]; targets [N] of integers
    (classes), [N, D] of floats (numbers) or [N, T] of integers (a class each step, -100 for none).
    """

    kind: Literal["sequence"] = "sequence"
    path: str = Field(min_length=1, description=".npz file with inputs, or values, and targets")
    task: SequenceTask | None = Field(
        default=None, description="null: what the targets' type and shape say"
    )
    standardize: bool = Field(
        default=True, description="scale each feature by its mean and deviation in training"
    )
    test_path: str | None = Field(
        default=None, min_length=1, description=".npz file with the test sequences"
    )
    test_fraction: Annotated[float, Field(ge=0, le=0.5)] | None = Field(
        default=None, description="share of them for the test; null: 0.2 without a test_path"
    )

    @model_validator(mode="after")
    def _one_test_split(self) -> "SequenceConfig":
        if self.test_path is not None and self.test_fraction:
            raise ValueError("test_path and test_fraction both name the test split: give one")
        return self

    def build(self, seed: int) -> Dataset:
        """Return the data set, the validation sequences drawn by `seed`."""
        whole = read_sequences(Path(self.path), self.task)
        fraction = self.test_fraction
        if fraction is None:
            fraction = 0.0 if self.test_path is not None else TEST_FRACTION
        train, test = hold_out(whole.samples, fraction, TEST_SEED)
        train, validation = hold_out(train, self.validation_fraction, seed)
        longest, varies = whole.samples.inputs.shape[1], whole.samples.lengths is not None
        if self.test_path is not None:
            other = read_sequences(Path(self.test_path), whole.task)
            refuse_mismatch(Path(self.test_path), whole, other)
            test = fit_length(Path(self.test_path), other.samples, longest, varies)
        parts = Parts(train, validation, test)
        prepared: dict[str, Any] = {"length": longest, "varies": varies}
        if self.standardize:
            constants = feature_constants(train)
            parts = parts.map(lambda samples: scale(samples, **constants))
            prepared |= constants
        prepared["features"] = whole.samples.inputs.shape[2]
        problem = Problem(
            whole.task,
            (longest, prepared["features"]),
            whole.outputs,
            is_sequence=True,
            varies=varies,
        )
        return Dataset(problem, parts.train, parts.validation, parts.test, prepared)

    def prepare(self, words: Sequence[str], prepared: Mapping[str, Any]) -> Samples:
        """Return the sequences of .npz files; they need no targets."""
        made = []
        for word in words:
            samples = read_inputs(Path(word))
            if samples.inputs.shape[2] != prepared["features"]:
                raise DataError(
                    f"{word}: {samples.inputs.shape[2]} features at each step",
                    f"the run was trained on {prepared['features']}",
                )
            made.append(fit_length(Path(word), samples, prepared["length"], prepared["varies"]))
        whole = joined(made)
        if "mean" in prepared:
            whole = scale(whole, prepared["mean"], prepared["deviation"])
        return whole


def refuse_mismatch(path: Path, training: Sequences, test: Sequences) -> None:
    """Raise DataError for test sequences of another form than the training ones."""
    features = [each.samples.inputs.shape[2] for each in (training, test)]
    if features[0] != features[1]:
        raise DataError(f"{path}: {features[1]} features, the training file has {features[0]}")
    classes = training.task != "regression"
    if test.outputs > training.outputs or (not classes and test.outputs != training.outputs):
        what = "classes" if classes else "target columns"
        raise DataError(f"{path}: {test.outputs} {what}, the training file has {training.outputs}")


def fit_length(path: Path, samples: Samples, length: int, varies: bool) -> Samples:
    """Return samples in the form of the training ones: of their one length, or with lengths."""
    steps = samples.inputs.shape[1]
    if varies:
        lengths = torch.full((len(samples),), steps) if samples.lengths is None else samples.lengths
        return replace(samples, lengths=lengths)
    if steps != length or samples.lengths is not None:
        raise DataError(
            f"{path}: sequences of {'many lengths' if samples.lengths is not None else steps}",
            f"all training sequences have {length} steps",
            "cut or pad them; or train on sequences of many lengths",
        )
    return samples


def joined(parts: Sequence[Samples]) -> Samples:
    """Return the samples one behind the other, padded to the longest."""
    longest = max(part.inputs.shape[1] for part in parts)
    padded = [
        torch.nn.functional.pad(part.inputs, (0, 0, 0, longest - part.inputs.shape[1]))
        for part in parts
    ]
    lengths = [part.lengths for part in parts if part.lengths is not None]
    return Samples(
        torch.cat(padded),
        torch.cat([part.targets for part in parts]),
        torch.cat(lengths) if lengths else None,
    )


def valid_steps(samples: Samples) -> Tensor:
    """Return which steps are no padding [N, T]."""
    steps = torch.arange(samples.inputs.shape[1])
    if samples.lengths is None:
        return torch.ones(len(samples), len(steps), dtype=torch.bool)
    return steps < samples.lengths.unsqueeze(1)


def feature_constants(training: Samples) -> dict[str, list[float]]:
    """Return mean and deviation of each feature over the training samples' valid steps."""
    values = training.inputs[valid_steps(training)].double()
    # the mean of equal numbers may be another, by rounding
    constant = values.amin(0) == values.amax(0)
    mean = torch.where(constant, values[0], values.mean(0))
    deviation = torch.where(constant, 1.0, values.std(0, correction=0))
    return {"mean": mean.tolist(), "deviation": deviation.tolist()}


def scale(samples: Samples, mean: Sequence[float], deviation: Sequence[float]) -> Samples:
    """Return the samples less `mean` and over `deviation`; padding stays 0."""
    double = torch.float64
    center, spread = torch.tensor(mean, dtype=double), torch.tensor(deviation, dtype=double)
    scaled = ((samples.inputs - center) / spread).float()
    return replace(samples, inputs=scaled.masked_fill_(~valid_steps(samples).unsqueeze(2), 0.0))
