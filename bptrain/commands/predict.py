"""`predict`: class, value or text for each input that is named, by the model of a run."""

import csv
from collections.abc import Iterator, Sequence
from io import StringIO
from pathlib import Path

from torch import nn

from bptrain.errors import shorten
from bptrain.experiment.best_state import best_by
from bptrain.experiment.plan import resolve_device
from bptrain.experiment.prediction import Predictor
from bptrain.experiment.saved_run import (
    Choice,
    choose_checkpoint,
    load_model,
    read_config,
    restore,
)
from bptrain.rundir.prepared import read_prepared
from bptrain.tasks.task import Prediction
from bptrain.tasks.text_sampling import SamplingOptions
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
    with allocating():
        return predictor_of(run_dir, which).of_words(words, options)


def predictor_of(run_dir: Path, which: Choice) -> Predictor:
    """Return what predicts by a run's best or last state, restored for its first inputs."""
    config = read_config(run_dir)
    problem, prepared = read_prepared(run_dir)
    checkpoint = choose_checkpoint(run_dir, which, best_by(config, problem))
    restored: list[nn.Module] = []

    def model_for(input_bytes: int) -> nn.Module:
        if not restored:
            model = restore(config, problem, input_bytes, resolve_device(config.device))
            load_model(model, checkpoint)
            restored.append(model)
        return restored[0]

    return Predictor(config, problem, prepared, checkpoint, model_for)


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


def to_csv(predictions: Sequence[Prediction], heading: bool = True) -> str:
    """Return the predictions as CSV, every float in full; the heading is a row of names."""
    text = StringIO()
    writer = csv.writer(text, lineterminator="\n")
    flat = [dict(cells(prediction)) for prediction in predictions]
    if heading:
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
