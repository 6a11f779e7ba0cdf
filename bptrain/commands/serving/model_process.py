"""The process with the model: it reads what strangers sent, and predicts.

A question and an answer are JSON. An answer's first line says the status and the number of samples;
the rest is the body to send.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import Any, cast

import torch
from torch import nn

from bptrain.commands.serving.limits import MOST_PIXELS, Limits, Refusal, error_content
from bptrain.commands.serving.values import samples_of, texts_in
from bptrain.data.images.image_file import size_and_mode
from bptrain.data.splits import Samples
from bptrain.errors import BptrainError, DataError, MemoryExhaustedError, UsageError
from bptrain.experiment.best_state import best_by
from bptrain.experiment.bounded_process import Answer
from bptrain.experiment.config import ExperimentConfig
from bptrain.experiment.plan import resolve_device
from bptrain.experiment.prediction import Predictor, names_of, prepare, refuse_options
from bptrain.experiment.saved_run import (
    Choice,
    choose_checkpoint,
    load_model,
    read_config,
    restore,
)
from bptrain.problem import Problem
from bptrain.rundir.prepared import read_prepared
from bptrain.tasks import task_of
from bptrain.tasks.task import Prediction
from bptrain.tasks.text_sampling import SamplingOptions, TextData, continue_tokens
from bptrain.train.memory import MemoryEstimate, allocating, refuse_if_too_large

STATUS_OF: dict[type[BptrainError], HTTPStatus] = {  # of what a request brought about
    MemoryExhaustedError: HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    DataError: HTTPStatus.UNPROCESSABLE_ENTITY,
    UsageError: HTTPStatus.UNPROCESSABLE_ENTITY,
}


@dataclass(frozen=True)
class Served:
    """A run whose model is loaded: its predictor, and the samples that a request may have."""

    predictor: Predictor
    most: int

    @property
    def text_data(self) -> TextData:
        """The data of a language model."""
        return cast("TextData", self.predictor.config.data)

    def of_files(self, paths: Sequence[str], options: SamplingOptions | None) -> list[Prediction]:
        """Return what `predict` says of files."""
        config, problem, prepared = _parts(self.predictor)
        if input_kind(config) == "image":
            refuse_too_many_pixels(paths)
        if task_of(problem).generates_text:
            return self.predictor.of_words(paths, options)
        refuse_options(options, problem)
        samples = prepare(config, paths, prepared)
        found = self._of_samples(samples)
        names = names_of(config, paths, prepared, len(found))
        return [{"input": name, **each} for name, each in zip(names, found, strict=True)]

    def of_values(self, values: Sequence[Any], options: SamplingOptions | None) -> list[Prediction]:
        """Return the same of values, as JSON has them."""
        config, problem, prepared = _parts(self.predictor)
        if task_of(problem).generates_text:
            return [self._continued(text, options) for text in texts_in(values)]
        refuse_options(options, problem)
        found = self._of_samples(samples_of(values, config, problem, prepared))
        names = [v if isinstance(v, str) else str(n) for n, v in enumerate(values, start=1)]
        return [{"input": name, **each} for name, each in zip(names, found, strict=True)]

    def _of_samples(self, samples: Samples) -> list[Prediction]:
        if len(samples) > self.most:
            raise Refusal(
                HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
                f"{len(samples):,} samples, at most {self.most:,}",
            )
        return self.predictor.of_samples(samples)

    def _continued(self, text: str, options: SamplingOptions | None) -> Prediction:
        prepared = self.predictor.prepared
        tokens = self.text_data.prepare_texts([text], prepared).inputs
        model = self.predictor.model_for(tokens.nbytes)
        chosen = options or SamplingOptions()
        written = continue_tokens(self.text_data, model, tokens, prepared, chosen)
        return {"input": text, "text": written}


def _parts(predictor: Predictor) -> tuple[ExperimentConfig, Problem, Mapping[str, Any]]:
    return predictor.config, predictor.problem, predictor.prepared


def input_kind(config: ExperimentConfig) -> str:
    """Return what an input of a run is: image, recording, row, sequence, text or array."""
    kind: str = config.data.input_kind
    return kind


def open_run(run_dir: str, which: str, limits: Limits) -> tuple[bytes, Answer]:
    """Return what the service is about, as JSON, and what answers its questions."""
    folder = Path(run_dir)
    config = read_config(folder)
    problem, prepared = read_prepared(folder)
    chosen = choose_checkpoint(folder, cast("Choice", which), best_by(config, problem))
    device = resolve_device(config.device)
    with allocating():
        model = restore(config, problem, 0, device)
        load_model(model, chosen)

    def model_for(input_bytes: int) -> nn.Module:
        refuse_if_too_large(MemoryEstimate(0, 0, 0, 0, input_bytes), device)
        return model

    served = Served(Predictor(config, problem, prepared, chosen, model_for), limits.samples)
    about = {
        "run": folder.resolve().name,
        "checkpoint": chosen.name,
        "task": problem.task,
        "input": input_kind(config),
        "example": _example(served.predictor),
    }
    return json.dumps(about).encode(), lambda question: answered(served, question)


def _example(predictor: Predictor) -> Any:
    """Return an input as JSON has it, None where inputs are better sent as files."""
    config, problem, prepared = _parts(predictor)
    kind = input_kind(config)
    if kind == "text":
        return "a text"
    if kind == "row":
        return {column["name"]: None for column in prepared["columns"]}
    return torch.zeros(problem.input_shape).tolist() if kind in ("sequence", "array") else None


def answered(served: Served, question: bytes) -> bytes:
    """Return the answer to a question, an error for one that cannot be answered."""
    asked = json.loads(question)
    names = asked.get("files", {})  # from the path of each file to the name that its sender gave
    options = SamplingOptions(**asked["options"]) if asked.get("options") else None
    try:
        with allocating():
            found = (
                served.of_files(list(names), options)
                if names
                else served.of_values(asked["values"], options)
            )
        content: Any = {"predictions": [_renamed(each, names) for each in found]}
        return _reply(HTTPStatus.OK, len(found), content)
    except Refusal as refused:
        return _reply(refused.status, 0, refused.content)
    except BptrainError as error:
        status = next((each for kind, each in STATUS_OF.items() if isinstance(error, kind)), None)
        if status is None:
            raise
        return _reply(status, 0, _without_paths(error_content(error), names))


def refuse_too_many_pixels(paths: Sequence[str]) -> None:
    """Raise Refusal for images that would take too long to decode, each of them small enough."""
    pixels = 0
    for path in paths:
        width, height, _ = size_and_mode(path)
        pixels += width * height
    if pixels > MOST_PIXELS:
        raise Refusal(
            HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
            f"{pixels:,} pixels in all images together, at most {MOST_PIXELS:,}",
        )


def _renamed(prediction: Prediction, names: Mapping[str, str]) -> Prediction:
    """Return a prediction with the sender's name of its file, and the row behind it if any."""
    path, colon, row = prediction["input"].rpartition(":")
    for place, ending in ((prediction["input"], ""), (path, colon + row)):
        if place in names:
            return {**prediction, "input": names[place] + ending}
    return dict(prediction)


def _without_paths(content: Mapping[str, str], names: Mapping[str, str]) -> dict[str, str]:
    """Return an error with the senders' names of files in place of where they lie here."""
    shown = dict(content)
    for path, name in names.items():
        shown = {key: text.replace(path, name) for key, text in shown.items()}
    return shown


def _reply(status: HTTPStatus, samples: int, content: Mapping[str, Any]) -> bytes:
    return f"{status.value} {samples}\n{json.dumps(content, allow_nan=False)}".encode()
