"""What a run's model predicts: class, value or text for each input."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path
from typing import Any, Protocol, cast

import torch
from torch import Tensor, nn

from bptrain.config.paths import located
from bptrain.data import Batch
from bptrain.data.splits import Samples
from bptrain.data.tables.left_out_rows import LeftOutRows, Part
from bptrain.errors import DataError, UsageError
from bptrain.experiment.config import ExperimentConfig
from bptrain.experiment.decisions import decision_of
from bptrain.ops.kernels import use_kernels
from bptrain.problem import Problem
from bptrain.tasks import task_of
from bptrain.tasks.decision import Decision
from bptrain.tasks.task import Prediction
from bptrain.tasks.text_sampling import SamplingOptions, TextData, continue_texts


@dataclass(frozen=True)
class Predictor:
    """A run's model, and what prepares inputs for it.

    checkpoint  whose threshold decides between two classes, where there is one
    model_for   returns the model on its device, or raises UsageError where memory does not hold it
                together with inputs of that many bytes
    """

    config: ExperimentConfig
    problem: Problem
    prepared: Mapping[str, Any]
    checkpoint: Path
    model_for: Callable[[int], nn.Module]

    def of_words(
        self, words: Sequence[str], options: SamplingOptions | None = None
    ) -> list[Prediction]:
        """Return the prediction for each input that a word names, in their order.

        options  how a language model continues its prompts; UsageError for any other model

        Raises DataError for an input that is damaged or unfit.
        """
        return [each for part in self.parts_of_words(words, options) for each in part]

    def parts_of_words(
        self,
        words: Sequence[str],
        options: SamplingOptions | None = None,
        shown: Sequence[str] | None = None,
        left_out: LeftOutRows | None = None,
    ) -> Iterator[list[Prediction]]:
        """Yield the predictions a batch at a time, as `of_words` returns them.

        shown     what the words are called, where not as they are
        left_out  has a single table read in parts; its bad rows are left out, and noted there
        """
        shown = shown or words
        if left_out is not None and is_table(self.config, words):
            refuse_options(options, self.problem)
            yield from self._parts_of_table(words[0], shown[0], left_out)
            return
        samples = prepare(self.config, words, self.prepared)
        if not task_of(self.problem).generates_text:
            refuse_options(options, self.problem)
            names = iter(names_of(self.config, shown, self.prepared, len(samples)))
            for part in self.parts_of_samples(samples):
                yield [{"input": next(names), **each} for each in part]
            return
        data = cast("TextData", self.config.data)
        model = self.model_for(samples.bytes)
        texts = continue_texts(data, model, words, self.prepared, options or SamplingOptions())
        yield [{"input": each, "text": text} for each, text in zip(shown, texts, strict=True)]

    def _parts_of_table(
        self, word: str, shown: str, left_out: LeftOutRows
    ) -> Iterator[list[Prediction]]:
        """Yield the predictions for the rows of a table, which is read as they are taken."""
        data = cast("ReadInParts", self.config.data)
        batch_size = self.config.batch_size
        parts = data.prepare_parts(located(word), self.prepared, batch_size, left_out)
        first = list(islice(parts, 1))
        second = list(islice(parts, 1)) if left_out.rows == 1 else []
        is_single = left_out.rows == 1
        for samples, numbers in chain(first, second, parts):
            names = (shown if is_single else f"{shown}:{number}" for number in numbers)
            for predicted in self.parts_of_samples(samples):
                yield [{"input": next(names), **each} for each in predicted]

    def of_samples(self, samples: Samples) -> list[Prediction]:
        """Return the prediction for each of samples that are prepared as the training samples."""
        return [each for part in self.parts_of_samples(samples) for each in part]

    def parts_of_samples(self, samples: Samples) -> Iterator[list[Prediction]]:
        """Yield the predictions for prepared samples a batch at a time."""
        model = self.model_for(samples.bytes)
        device = next(model.parameters()).device
        decision = decision_of(self.config, self.problem, self.checkpoint)
        for batch in samples.to(device).serve(self.config.batch_size).epoch(0):
            yield list(predictions(self.config, self.problem, model, batch, decision))


class ReadInParts(Protocol):
    """The config of data whose inputs may be tables of many rows."""

    def names_table(self, word: str) -> bool:
        """Tell whether a word to predict is a table."""
        ...

    def prepare_parts(
        self, path: Path, prepared: Mapping[str, Any], batch_size: int, left_out: LeftOutRows
    ) -> Iterator[Part]:
        """Yield the rows of a table as the model reads them; unfit ones are noted."""
        ...


def is_table(config: ExperimentConfig, words: Sequence[str]) -> bool:
    """Tell whether words are a single table, which is read in parts."""
    names_table = getattr(config.data, "names_table", None)
    return len(words) == 1 and names_table is not None and bool(names_table(words[0]))


def refuse_options(options: SamplingOptions | None, problem: Problem) -> None:
    """Raise UsageError for options of a language model, given for another one."""
    if options is not None:
        raise UsageError(
            f"--length, --temperature and --seed are for language models, this is {problem.task}",
            hint="leave them out",
        )


def prepare(config: ExperimentConfig, words: Sequence[str], prepared: Mapping[str, Any]) -> Samples:
    """Return the inputs, prepared as the training samples were."""
    prepare_inputs = getattr(config.data, "prepare", None)
    if prepare_inputs is None:
        raise UsageError(
            f"data.kind {config.data.kind} has no inputs that can be named on a command line",
            hint="bptrain evaluate computes its metrics on the test split",
        )
    samples: Samples = prepare_inputs(words, prepared)
    return samples


def names_of(
    config: ExperimentConfig, words: Sequence[str], prepared: Mapping[str, Any], samples: int
) -> list[str]:
    """Return a name for each sample: its word, or where a file holds many, the word and a row."""
    if len(words) == samples:
        return list(words)
    counts = [samples] if len(words) == 1 else [len(prepare(config, [w], prepared)) for w in words]
    return [
        f"{word}:{row}"
        for word, count in zip(words, counts, strict=True)
        for row in range(1, count + 1)
    ]


@torch.no_grad()
def predictions(
    config: ExperimentConfig, problem: Problem, model: nn.Module, batch: Batch, decision: Decision
) -> Iterator[Prediction]:
    """Yield the prediction for each sample of a batch, as the problem's task writes it."""
    with use_kernels(config.kernels):
        outputs: Tensor = model(*batch.inputs)
    if not outputs.isfinite().all():
        raise DataError(
            "the model's output is not a number",
            "an input holds values far beyond those of the training data",
            "predict the inputs one by one to find it",
        )
    lengths = (
        batch.inputs[1]
        if problem.varies
        else outputs.new_full((len(outputs),), outputs.shape[1], dtype=torch.int64)
    )
    write = task_of(problem).predictions
    assert write is not None  # a task that generates text is handled above
    yield from write(outputs, lengths, problem, decision)
