"""`predict`: class, value or text for each input that is named, by the model of a run."""

import csv
import json
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from io import StringIO
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn

from bptrain.data import Batch
from bptrain.data.splits import Samples
from bptrain.errors import DataError, UsageError, printable, shorten
from bptrain.experiment.best_state import best_by
from bptrain.experiment.config import ExperimentConfig
from bptrain.experiment.loss_choice import decision_of
from bptrain.experiment.plan import resolve_device
from bptrain.experiment.saved_run import (
    Choice,
    choose_checkpoint,
    load_model,
    read_config,
    restore,
)
from bptrain.monitor.console import lines_of
from bptrain.ops.kernels import use_kernels
from bptrain.problem import Problem
from bptrain.rundir.prepared import read_prepared
from bptrain.tasks import task_of
from bptrain.tasks.task import Prediction
from bptrain.tasks.text_sampling import SamplingOptions, TextData, continue_texts
from bptrain.train.memory import allocating

INPUT_WIDTH = 60  # characters of an input that the table shows
LARGE, LARGE_DIGITS = 1e6, 12  # from this number on six digits would hide what differs


def predict(
    run_dir: Path, words: Sequence[str], which: Choice, options: SamplingOptions | None = None
) -> list[Prediction]:
    """Return the prediction of the run's best or last state for each input, in their order.

    options  how a language model continues its prompts; UsageError for any other model

    Raises DataError for an input that is damaged or unfit, CheckpointError for a damaged run.
    """
    config = read_config(run_dir)
    problem, prepared = read_prepared(run_dir)
    task = task_of(problem)
    if options is not None and not task.generates_text:
        raise UsageError(
            f"--length, --temperature and --seed are for language models, this is {problem.task}",
            hint="leave them out",
        )
    checkpoint = choose_checkpoint(run_dir, which, best_by(config, problem))
    device = resolve_device(config.device)
    with allocating():
        samples = prepare(config, words, prepared)
        model = restore(config, problem, samples.bytes, device)
        load_model(model, checkpoint)
        if task.generates_text:
            data = cast("TextData", config.data)
            texts = continue_texts(data, model, words, prepared, options or SamplingOptions())
            rows = zip(words, texts, strict=True)
            return [{"input": word, "text": text} for word, text in rows]
        batches = samples.to(device).serve(config.data.batch_size).epoch(0)
        found = [each for batch in batches for each in predictions(config, problem, model, batch)]
    names = names_of(config, words, prepared, len(found))
    return [{"input": name, **each} for name, each in zip(names, found, strict=True)]


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
    config: ExperimentConfig, problem: Problem, model: nn.Module, batch: Batch
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
    yield from write(outputs, lengths, problem, decision_of(config.loss, problem))


def printing(as_json: bool, as_csv: bool) -> Callable[[Sequence[Prediction]], None]:
    """Return what prints predictions in the chosen form, or raise UsageError for two at once."""
    if as_json and as_csv:
        raise UsageError("--json and --csv exclude each other")
    if as_json:
        return lambda predictions: print(json.dumps(predictions))
    if as_csv:
        show = printable if sys.stdout.isatty() else str  # a file gets the names as they are
        return lambda predictions: print(show(to_csv(predictions)), end="")
    return lambda predictions: print("\n".join(lines_of(to_rows(predictions))))


def to_rows(predictions: Sequence[Prediction]) -> list[list[str]]:
    """Return the predictions as rows of text, the first one their heading."""
    short = ({**each, "input": shorten(each["input"], INPUT_WIDTH)} for each in predictions)
    return [
        list(predictions[0]),
        *(list(map(as_text, prediction.values())) for prediction in short),
    ]


def as_text(value: object) -> str:
    """Return one value of a prediction."""
    if isinstance(value, float):
        return f"{value:.{LARGE_DIGITS if abs(value) >= LARGE else 6}g}"
    if isinstance(value, list):
        return ", ".join(map(as_text, value))
    if isinstance(value, dict):
        return " ".join(map(as_text, value.values()))
    return str(value)


def to_csv(predictions: Sequence[Prediction]) -> str:
    """Return the predictions as CSV, every float in full."""
    text = StringIO()
    writer = csv.writer(text, lineterminator="\n")
    flat = [dict(cells(prediction)) for prediction in predictions]
    writer.writerow(flat[0])
    writer.writerows(each.values() for each in flat)
    return text.getvalue()


def cells(prediction: Prediction) -> Iterator[tuple[str, object]]:
    """Yield the columns of a prediction, a list of classes with a column for each rank."""
    for column, value in prediction.items():
        if column != "top":
            yield column, " ".join(value) if isinstance(value, list) else value
            continue
        for rank, each in enumerate(value[1:], start=2):
            yield f"class_{rank}", each["class"]
            yield f"probability_{rank}", each["probability"]
