"""Sequences of numbers from .npz files, to classify, to tag step by step, or for regression.

inputs   [N, T, F] or [N, T]   sequences of one length; with `lengths`, what lies beyond is padding
values   [sum T, F] or [sum T] instead of inputs: all sequences, concatenated
lengths  [N]                   steps of each sequence; needed with values
targets  [N] integer or text           classification; labels that do not begin at 0 are names
         [N, C] one-hot                classification
         [N] or [N, D] float           regression
         [N, T] or, with values, [sum T] integer   tagging, -100 where a step is ignored
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, cast

import torch
from pydantic import Field, model_validator
from torch import Tensor

from bptrain.config.paths import DataPath, located
from bptrain.data.contents import contents_of
from bptrain.data.file_tree import FileKind
from bptrain.data.given_arrays import Array
from bptrain.data.notes import guessed_task
from bptrain.data.sequences.sequence_arrays import (
    NAME,
    Sequences,
    SequenceTask,
    inputs_of,
    read_inputs,
    read_sequences,
)
from bptrain.data.splits import (
    Dataset,
    InMemoryConfig,
    Parts,
    Samples,
    hold_out,
    refuse_rounded_targets,
)
from bptrain.errors import DataError
from bptrain.problem import Problem

TEST_FRACTION = 0.2
NO_SAMPLES = Samples(torch.empty(0), torch.empty(0))
Name = Annotated[str, Field(min_length=1)]
ArrayName = Literal["inputs", "values", "lengths", "targets"]
TEST_SEED = 0  # fixed: every run, whatever its seed, is tested on the same sequences


class SequenceConfig(InMemoryConfig):
    """Sequences of numbers from an .npz file written by numpy.savez.

    Its arrays: inputs [N, T, F], or values [sum T, F] with lengths [N]; targets are integers [N]
    (classes), floats [N, D] (regression) or integers [N, T] (a class at each step, -100 ignored).
    """

    input_files: ClassVar[FileKind] = FileKind("file of array", (".npz",))
    input_kind: ClassVar[str] = "sequence"

    kind: Literal["sequence"] = "sequence"
    path: DataPath = Field(
        min_length=1,
        description=".npz file with the arrays inputs (or values and lengths) and targets",
    )
    arrays: dict[ArrayName, Name] = Field(
        default={},
        description="names of the arrays in the file, where they are others than inputs, values, "
        "lengths and targets, such as {inputs: X, targets: y}",
    )
    task: SequenceTask | None = Field(
        default=None,
        description="null infers the task from the type and shape of the targets; a value makes "
        "targets of another kind an error",
    )
    standardize: bool = Field(
        default=True,
        description="scale each feature to mean 0 and standard deviation 1 over the training "
        "sequences",
    )
    test_path: DataPath | None = Field(
        default=None,
        min_length=1,
        description=".npz file with the test sequences, in the same form; null holds out a part "
        "of the training file",
    )
    test_fraction: Annotated[float, Field(ge=0, le=0.5)] | None = Field(
        default=None,
        description="fraction of the sequences held out as the test split, the same ones whatever "
        "the seed; null means 0.2, or 0 with a test_path",
    )

    @model_validator(mode="after")
    def _one_test_split(self) -> "SequenceConfig":
        if self.test_path is not None and self.test_fraction:
            raise ValueError("test_path and test_fraction both name the test split: give one")
        return self

    @property
    def names(self) -> dict[str, str]:
        """The names of the arrays in the file, where they are others than usual."""
        return {str(key): name for key, name in self.arrays.items()}

    def build(self, seed: int) -> Dataset:
        """Return the data set; `seed` selects the validation sequences."""
        whole = read_sequences(Path(self.path), self.task, self.names)
        fraction = self.test_fraction
        if fraction is None:
            fraction = 0.0 if self.test_path is not None else TEST_FRACTION
        train, test = hold_out(whole.samples, fraction, TEST_SEED)
        train, validation = hold_out(train, self.validation_fraction, seed)
        longest, varies = whole.samples.inputs.shape[1], whole.samples.lengths is not None
        if self.test_path is not None:
            other = read_sequences(Path(self.test_path), whole.task, self.names, whole)
            features = whole.samples.inputs.shape[2]
            refuse_mismatch(Path(self.test_path), other, features, whole.outputs)
            test = fit_length(Path(self.test_path), other.samples, longest, varies)
        parts = Parts(train, validation, test)
        contents = contents_of(parts)
        prepared: dict[str, Any] = {"length": longest, "varies": varies}
        prepared["labels"] = list(whole.labels)
        if whole.task == "regression":
            hint = "targets nearer to 0: subtract their mean"
            refuse_rounded_targets(train.targets, f"{self.path}: targets", hint)
        if self.standardize:
            prepared |= feature_statistics(train)
        parts = parts.map(lambda samples: in_float32(samples, prepared))
        prepared["features"] = whole.samples.inputs.shape[2]
        problem = Problem(
            whole.task,
            (longest, prepared["features"]),
            whole.outputs,
            is_sequence=True,
            varies=varies,
            names=tuple(map(str, whole.labels)),
        )
        return Dataset(
            problem,
            parts.train,
            parts.validation,
            parts.test,
            prepared,
            contents,
            guessed_task(whole.task, self.task),
        )

    def labelled(self, path: Path, problem: Problem, prepared: Mapping[str, Any]) -> Samples:
        """Return the sequences of another file in the form of the training file."""
        task, labels = cast("SequenceTask", problem.task), tuple(prepared["labels"])
        training = Sequences(NO_SAMPLES, task, problem.outputs, labels)
        found = read_sequences(path, task, self.names, training)
        refuse_mismatch(path, found, prepared["features"], problem.outputs)
        samples = fit_length(path, found.samples, prepared["length"], prepared["varies"])
        return in_float32(samples, prepared)

    def prepare(self, words: Sequence[str], prepared: Mapping[str, Any]) -> Samples:
        """Return the sequences of .npz files, which need no targets."""
        read = ((Path(word), read_inputs(located(word), self.names)) for word in words)
        fitted = [of_training_form(path, samples, prepared) for path, samples in read]
        return in_float32(joined(fitted), prepared)

    def prepare_arrays(
        self, arrays: Sequence[Array], problem: Problem, prepared: Mapping[str, Any]
    ) -> Samples:
        """Return sequences [T, F] in the unit of the training file as inputs."""
        return in_float32(of_training_form(NAME, inputs_of(arrays), prepared), prepared)


def of_training_form(path: Path, samples: Samples, prepared: Mapping[str, Any]) -> Samples:
    """Return sequences of the training file's features, of its one length if it has one."""
    features = samples.inputs.shape[2]
    if features != prepared["features"]:
        raise DataError(
            f"{path}: {features} features at each step",
            f"the run was trained on {prepared['features']}",
        )
    return fit_length(path, samples, prepared["length"], prepared["varies"])


def refuse_mismatch(path: Path, test: Sequences, features: int, outputs: int) -> None:
    """Raise DataError for test sequences that do not have the form of the training ones.

    features, outputs  of the training sequences: outputs are classes, or target columns
    """
    found = test.samples.inputs.shape[2]
    if found != features:
        raise DataError(f"{path}: {found} features, the training file has {features}")
    classes = test.task != "regression"
    if test.outputs > outputs or (not classes and test.outputs != outputs):
        what = "classes" if classes else "target columns"
        raise DataError(f"{path}: {test.outputs} {what}, the training file has {outputs}")


def fit_length(path: Path, samples: Samples, length: int, varies: bool) -> Samples:
    """Return samples of the training samples' one length, or with lengths if those vary."""
    steps = samples.inputs.shape[1]
    if varies:
        lengths = torch.full((len(samples),), steps) if samples.lengths is None else samples.lengths
        return replace(samples, lengths=lengths)
    if steps != length or samples.lengths is not None:
        found = f"{steps} steps" if samples.lengths is None else "various lengths"
        raise DataError(
            f"{path}: sequences of {found}",
            f"all training sequences have {length} steps",
            "crop or pad them, or train on sequences of various lengths",
        )
    return samples


def joined(parts: Sequence[Samples]) -> Samples:
    """Return the samples concatenated, padded to the longest."""
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
    """Return a mask [N, T] that is true where a step is not padding."""
    steps = torch.arange(samples.inputs.shape[1])
    if samples.lengths is None:
        return torch.ones(len(samples), len(steps), dtype=torch.bool)
    return steps < samples.lengths.unsqueeze(1)


def feature_statistics(training: Samples) -> dict[str, list[float]]:
    """Return mean and standard deviation of each feature over the samples' valid steps."""
    values = training.inputs[valid_steps(training)].double()
    # rounding can make the mean of equal numbers differ from them
    constant = values.amin(0) == values.amax(0)
    mean = torch.where(constant, values[0], values.mean(0))
    std = torch.where(constant, 1.0, values.std(0, correction=0))
    return {"mean": mean.tolist(), "std": std.tolist()}


def in_float32(samples: Samples, prepared: Mapping[str, Any]) -> Samples:
    """Return the samples in float32, their inputs scaled before if there are statistics."""
    if "mean" in prepared:
        samples = scaled(samples, prepared["mean"], prepared["std"])
    return samples.map(lambda each: each.float() if each.is_floating_point() else each)


def scaled(samples: Samples, mean: Sequence[float], std: Sequence[float]) -> Samples:
    """Return the samples as (x - mean) / std for each feature; padding stays 0."""
    center, scale = (torch.tensor(each, dtype=torch.float64) for each in (mean, std))
    inputs = ((samples.inputs - center) / scale).float()
    return replace(samples, inputs=inputs.masked_fill_(~valid_steps(samples).unsqueeze(2), 0.0))
