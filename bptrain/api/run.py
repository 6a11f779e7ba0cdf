"""A run in its folder, as an object: its model, its log, and what the commands tell of it."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import nn

from bptrain.api.given_config import File, console_for
from bptrain.api.inputs import Inputs, given_inputs
from bptrain.api.own_settings import own_settings
from bptrain.commands.evaluate import evaluate_run
from bptrain.commands.export import export
from bptrain.commands.report import default_path
from bptrain.errors import UsageError
from bptrain.experiment.best_state import best_by
from bptrain.experiment.config import ExperimentConfig
from bptrain.experiment.diagnosis import read_lines, verdicts_of
from bptrain.experiment.plan import resolve_device
from bptrain.experiment.prediction import Predictor, refuse_options
from bptrain.experiment.replaying import replayed
from bptrain.experiment.reporting import report_of, write_page
from bptrain.experiment.saved_run import (
    Choice,
    choose_checkpoint,
    load_model,
    read_config,
    restore,
)
from bptrain.monitor.finding import Finding
from bptrain.monitor.verdicts import Verdict
from bptrain.rundir.prepared import read_prepared
from bptrain.tasks import task_of
from bptrain.tasks.text_sampling import SamplingOptions
from bptrain.train.memory import MemoryEstimate, allocating, refuse_if_too_large

if TYPE_CHECKING:
    import polars as pl


@contextmanager
def computing() -> Iterator[None]:
    """Compute with torch's settings of a new process; a failed allocation is a bptrain error."""
    with own_settings(), allocating():
        yield


class Run:
    """A run of `bptrain fit`, read from its folder; `bptrain.load` and `bptrain.fit` return it.

    folder      absolute path of the run's folder
    checkpoint  which state the model is: best or last
    device      where it computes, such as "cpu"; None for the config's

    The config is read at once, the model when it is first used. Every method raises CheckpointError
    for a part of the folder that is damaged, and prints nothing.
    """

    def __init__(
        self, folder: File, checkpoint: Choice = "best", device: str | None = None
    ) -> None:
        if checkpoint not in ("best", "last"):
            raise UsageError(f"checkpoint {checkpoint!r}", "it is best or last")
        self.folder = Path(folder).absolute()
        self.checkpoint: Choice = checkpoint
        self.device = device
        self._config = read_config(self.folder)

    def __repr__(self) -> str:
        return f"Run({str(self.folder)!r}, checkpoint={self.checkpoint!r})"

    def __fspath__(self) -> str:
        return str(self.folder)

    @property
    def name(self) -> str:
        """The name of the run's folder."""
        return self.folder.resolve().name

    @property
    def config(self) -> ExperimentConfig:
        """The resolved config that the run was trained with; `config.optimizer.lr` is a value."""
        return self._config

    @cached_property
    def model(self) -> nn.Module:
        """The trained model in evaluation mode, the averaged weights of a run that averages them.

        It takes inputs as the run's data prepared them; `predict` prepares them itself. Raises
        UsageError where memory does not hold it.
        """
        problem, _ = self._prepared
        with computing():
            device = resolve_device(self.device or self.config.device)
            model = restore(self.config, problem, 0, device)
            load_model(model, self._state)
        return model

    @cached_property
    def _state(self) -> Path:
        ranking = best_by(self.config, self._prepared[0])
        return choose_checkpoint(self.folder, self.checkpoint, ranking)

    @cached_property
    def _prepared(self) -> Any:
        return read_prepared(self.folder)

    def predict(
        self,
        inputs: Inputs,
        *,
        length: int | None = None,
        temperature: float | None = None,
        seed: int | None = None,
    ) -> "pl.DataFrame":
        """Return what the model says of each input, as `bptrain predict` does, a row for each.

        inputs       one or many, all of one kind:
                     - a file, a folder, or a pattern such as "scans/*.png" (`**` is any depth), as
                       the data's kind reads them; for models of text a str is a text, or the name
                       of a file
                     - an array or a tensor [N, ...], or a list of arrays of their own lengths, in
                       the unit of the training data before any scaling: images [N, C, H, W] or
                       [N, H, W, C] with pixels from 0 to the data set's brightest (255; digits 16),
                       [N, H, W] of one channel, taken as they are, not cropped, resized or
                       inverted as files are; sequences [T, F]; recordings [S] from -1 to 1 at
                       data.sample_rate; rows [N, columns]; what generated data draws
                     - rows as mappings from column to cell, or a frame of polars, for tables and
                       tables of texts; None is a missing cell, further columns are ignored
        length, temperature, seed
                     how a language model continues a text: symbols, randomness from 0 and up, seed

        The column `input` is the file or text, or the number of the array or row from 0. The others
        are the task's: class, probability and top (a list of class and probability); a column for
        each target; classes, one a time step; or text.

        Raises UsageError for inputs that the data's kind does not take, DataError for one that is
        damaged or unfit, such as another shape or other pixels.
        """
        from bptrain.api.frames import predictions_frame

        problem, prepared = self._prepared
        options = SamplingOptions.of(length, temperature, seed)
        given = given_inputs(inputs, self.config.data)
        predictor = Predictor(self.config, problem, prepared, self._state, self._model_for)
        with computing():
            if given.words:
                return predictions_frame(predictor.of_words(given.words, options))
            if task_of(problem).generates_text:
                raise UsageError("a language model continues texts", hint='predict("Once upon")')
            refuse_options(options, problem)
            found = predictor.of_samples(given.samples(self.config, problem, prepared))
        return predictions_frame([{"input": row, **each} for row, each in enumerate(found)])

    def _model_for(self, input_bytes: int) -> nn.Module:
        model = self.model
        device = next(model.parameters()).device
        refuse_if_too_large(MemoryEstimate(0, 0, 0, 0, input_bytes), device)
        return model

    def evaluate(
        self, data: File | None = None, *, moved: Mapping[str, object] | None = None
    ) -> dict[str, float]:
        """Return loss and metrics by tag, and those of simple baselines, as `bptrain evaluate`.

        data   labelled data in the form of the training data; None for the run's test split, or
               its validation split if it has none
        moved  where the run's own data lies now, such as {"root": "/data"}

        Raises DataError for data that is not what the run was trained on, NonFiniteError for a loss
        that is not finite.
        """
        files = None if data is None else Path(data)
        places = [f"{key}={value}" for key, value in (moved or {}).items()]
        with computing():
            found = evaluate_run(self.folder, self.checkpoint, files, places, self.device)
        return found.values | found.threshold | found.baseline_values

    def metrics(self) -> "pl.DataFrame":
        """Return the run's log, `metrics.jsonl`: a row for each logged step, a column for each tag.

        Null where a step did not log the tag, or its value was not finite. `step` and `epoch` are
        integers, `time_s` seconds of training over all resumes, losses and metrics in the units of
        docs/tensorboard.md; `grad/time/*` and `magnitude/*` are lists, verdicts texts. A last line
        that is not finished, of a run that is writing it or was killed, is left out.
        """
        from bptrain.api.frames import metrics_frame

        return metrics_frame(read_lines(self.folder))

    def verdicts(self) -> list[Verdict]:
        """Return what is wrong with the run, the cause to begin with first; [] for a healthy one.

        `Verdict.lines` are the words of `bptrain diagnose`, `advice` the changes that it proposes.
        """
        return verdicts_of(self.folder)

    def export(self, file: File, *, code_file: File | None = None, force: bool = False) -> Path:
        """Write the model for programs without bptrain, as `bptrain export`; return its path.

        file       ends in .safetensors, .pt, .pt2 or .onnx; what to do before and after the model
                   is written beside it, as FILE.json
        code_file  a Python file for the model's code, which needs only torch
        force      replace files that are there

        Raises UsageError for another ending, or a file that is there, StorageError where one cannot
        be written.
        """
        source = None if code_file is None else Path(code_file)
        with own_settings():
            export(self.folder, Path(file), source, self.checkpoint, force, console_for(False))
        return Path(file)

    def report(self, file: File | None = None, *, evaluate: bool = True) -> Path:
        """Write the page of `bptrain report` about the run and return its path.

        file      the HTML file; None for report.html in the run's folder
        evaluate  whether the best state is evaluated, for the pictures of its predictions
        """
        path = default_path([self.folder]) if file is None else Path(file)
        with own_settings():
            write_page([report_of(self.folder, evaluate)], path)
        return path

    def replay(self) -> Finding | None:
        """Repeat the step of a run that was not finite; return where it was so first.

        None if every number is finite this time. Raises CheckpointError for a run without such a
        step.
        """
        with computing():
            return replayed(self.folder)[1]
