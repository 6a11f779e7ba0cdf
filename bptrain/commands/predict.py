"""Predictions: what the model of a run says of inputs that a person names."""

import csv
from collections.abc import Iterator, Mapping, Sequence
from io import StringIO
from pathlib import Path
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn

from bptrain.data import Batch
from bptrain.data.splits import Samples
from bptrain.data.text.text_config import TextConfig
from bptrain.errors import DataError, UsageError, shorten
from bptrain.experiment.config import ExperimentConfig
from bptrain.experiment.plan import resolve_device
from bptrain.experiment.saved_run import Choice, choose_checkpoint, load_model, read_config
from bptrain.losses.losses import default_loss
from bptrain.problem import Problem
from bptrain.rundir.prepared import read_prepared
from bptrain.tasks.exhibits import class_names, spelled
from bptrain.tasks.transcripts import decode
from bptrain.tasks.writing import Manner, continued
from bptrain.train.memory import MemoryEstimate, allocating, refuse_if_too_large

Answer: TypeAlias = dict[str, Any]  # plain values by column, the input first

INPUT_WIDTH = 60  # characters of an input that the table shows
FIRST = 3  # classes that are named beside the most probable one


def predict(
    run_dir: Path, words: Sequence[str], which: Choice, manner: Manner | None = None
) -> list[Answer]:
    """Return what the run's best or last state says of each input, in their order.

    manner  how a language model writes on from its prompts; UsageError where there is none

    Raises DataError for an input that is damaged or unfit, CheckpointError for a damaged run.
    """
    config = read_config(run_dir)
    problem, prepared = read_prepared(run_dir)
    if manner is not None and problem.task != "language_model":
        raise UsageError(
            f"--length, --temperature and --seed are for language models, this is {problem.task}",
            hint="leave them out",
        )
    checkpoint = choose_checkpoint(run_dir, which)
    device = resolve_device(config.device)
    with allocating():
        samples = prepare(config, words, prepared)
        model = restore(config, problem, samples, device)
        load_model(model, checkpoint)
        if isinstance(config.data, TextConfig):
            texts = continued(config.data, model, words, prepared, manner or Manner())
            rows = zip(words, texts, strict=True)
            return [{"input": word, "text": text} for word, text in rows]
        batches = samples.to(device).serve(config.data.batch_size).epoch(0)
        said = [each for batch in batches for each in answers(config, problem, model, batch)]
    names = names_of(config, words, prepared, len(said))
    return [{"input": name, **answer} for name, answer in zip(names, said, strict=True)]


def prepare(config: ExperimentConfig, words: Sequence[str], prepared: Mapping[str, Any]) -> Samples:
    """Return the inputs as training saw its own."""
    prepare_inputs = getattr(config.data, "prepare", None)
    if prepare_inputs is None:
        raise UsageError(
            f"data.kind {config.data.kind} has no inputs that can be named on a command line",
            hint="bptrain evaluate judges the run on its test split",
        )
    samples: Samples = prepare_inputs(words, prepared)
    return samples


def restore(
    config: ExperimentConfig, problem: Problem, samples: Samples, device: torch.device
) -> nn.Module:
    """Return the model of the config, its weights still to be loaded, if it fits in memory."""
    described = config.model.build(problem, torch.device("meta"))
    weights = sum(each.nbytes for each in described.state_dict().values())
    refuse_if_too_large(MemoryEstimate(weights, 0, 0, 0, samples.bytes), device)
    return config.model.build(problem, torch.device("cpu")).to(device).eval()


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
def answers(
    config: ExperimentConfig, problem: Problem, model: nn.Module, batch: Batch
) -> Iterator[Answer]:
    """Yield the answer to each sample of a batch, in the form of the problem's task."""
    outputs: Tensor = model(*batch.inputs)
    if not outputs.isfinite().all():
        raise DataError(
            "the model's answer is not a number",
            "an input holds values far beyond those it was trained with",
            "predict the inputs one by one to find it",
        )
    names = class_names(problem)
    lengths = (
        batch.inputs[1]
        if problem.varies
        else outputs.new_full((len(outputs),), outputs.shape[1], dtype=torch.int64)
    )
    loss = config.loss or default_loss(problem)
    match problem.task:
        case "classification":
            yield from ranked(loss.probabilities(outputs), names)
        case "regression":
            for row in (outputs.double() * problem.spread + problem.center).tolist():
                yield dict(zip(names, row, strict=True))
        case "tagging":
            for row, end in zip(outputs.argmax(-1).tolist(), lengths.tolist(), strict=True):
                yield {"classes": [names[index] for index in row[:end]]}
        case "transcription":
            for text in spelled(*decode(outputs, lengths), names):
                yield {"text": text}


def ranked(probabilities: Tensor, names: Sequence[str]) -> Iterator[Answer]:
    """Yield for each row [K] the most probable class, and the first few with their probability."""
    values, classes = probabilities.double().topk(min(FIRST, len(names)), dim=1)
    for row, indices in zip(values.tolist(), classes.tolist(), strict=True):
        first = [
            {"class": names[index], "probability": value}
            for value, index in zip(row, indices, strict=True)
        ]
        yield {**first[0], "top": first}


def as_rows(said: Sequence[Answer]) -> list[list[str]]:
    """Return the answers as rows of text, the first one their heading."""
    short = ({**each, "input": shorten(each["input"], INPUT_WIDTH)} for each in said)
    return [list(said[0]), *(list(map(in_words, answer.values())) for answer in short)]


def in_words(value: object) -> str:
    """Return one value of an answer."""
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, list):
        return ", ".join(map(in_words, value))
    if isinstance(value, dict):
        return " ".join(map(in_words, value.values()))
    return str(value)


def as_csv(said: Sequence[Answer]) -> str:
    """Return the answers as CSV, every float in full."""
    text = StringIO()
    writer = csv.writer(text, lineterminator="\n")
    flat = [dict(cells(answer)) for answer in said]
    writer.writerow(flat[0])
    writer.writerows(each.values() for each in flat)
    return text.getvalue()


def cells(answer: Answer) -> Iterator[tuple[str, object]]:
    """Yield the columns of an answer, a list of classes with a column for each rank."""
    for column, value in answer.items():
        if column != "top":
            yield column, " ".join(value) if isinstance(value, list) else value
            continue
        for rank, each in enumerate(value[1:], start=2):
            yield f"class_{rank}", each["class"]
            yield f"probability_{rank}", each["probability"]
