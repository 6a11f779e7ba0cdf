"""`watch`: the board, the verdicts and the search for the first NaN, for a loop of the user's own.

    watcher = watch(model, log_dir="runs/mine")
    for x, y in batches:
        optimizer.zero_grad()
        loss = loss_function(model(x), y)
        loss.backward()
        watcher.step(loss)
        optimizer.step()
    watcher.close()

In `step` the gradients are complete, and the weights are those before the update. What the update
does to them is seen at the optimizer's end; of an update that the loop makes itself, in the next
call. Then the step's line is written.
"""

from collections.abc import Mapping, Sequence
from itertools import islice
from math import isfinite
from os import PathLike
from pathlib import Path
from types import TracebackType
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.amp.grad_scaler import GradScaler
from torch.optim import Optimizer

from bptrain import tags
from bptrain.errors import NonFiniteError, UsageError
from bptrain.monitor.finding import Finding
from bptrain.monitor.gradient_looks import GradientLooks
from bptrain.monitor.loop_log import LoopLog
from bptrain.monitor.loop_verdicts import Failure, Record
from bptrain.monitor.loop_window import InputScale, LoopWindow
from bptrain.monitor.model_passes import ModelPasses, Pass
from bptrain.monitor.optimizer_steps import OptimizerSteps
from bptrain.monitor.overhead import Overhead
from bptrain.monitor.repeated_step import first_in_passes
from bptrain.monitor.step_monitor import Level, StepMonitor
from bptrain.monitor.watchable import fused_layers, watchable
from bptrain.tape.layer_gradients import LayerGradients

HINT = "a lower learning rate, or gradient clipping"
LOOK_AT_ALL = "watch(..., max_overhead=None), which looks at all gradients before each update"
NOT_KNOWN = "where is not known: on a GPU a step is looked at when its line is due (every=1: each)"
NOT_FOUND = "where is not known: repeated, the model's passes were finite"
NOT_KEPT = "where is not known: the gradients by the model's outputs were too large to be kept"
CHANGED = 1e-4  # relative: a gradient that differs by more was clipped before the update
PLACE = "call watcher.step(loss) after backward(), and before the gradients are cleared"


def watch(
    model: nn.Module,
    log_dir: str | PathLike[str],
    *,
    level: Level = "standard",
    every: int = 50,
    max_overhead: float | None = 0.03,
) -> "Watcher":
    """Watch the training of a model in a loop of one's own; docs/watch.md shows how.

    log_dir       folder of the log; a number is added to its name if it is there already
    level         basic, standard or full: what is observed besides loss and gradient norms
    every         steps from one line of the log to the next
    max_overhead  share of the time that observing may take; None: each line's step is observed,
                  and all gradients are looked at in each step

    Raises UsageError for a model that hooks do not show, such as a compiled one.
    """
    if every < 1 or level not in ("basic", "standard", "full"):
        raise UsageError("watch: expected every >= 1, and level basic, standard or full")
    if max_overhead is not None and not max_overhead > 0:
        raise UsageError("watch: expected max_overhead > 0, or None")
    return Watcher(watchable(model), Path(log_dir), level, every, max_overhead)


class Line(NamedTuple):
    """A step whose line is written when its update is over.

    norms  of its gradient: the total and each layer's; None where they were not looked at
    scale  of a gradient scaler
    """

    step: int
    norms: Tensor | None
    scale: Tensor | None


class Watcher:
    """Watches a model until it is closed; also a context manager.

    steps  how often `step` was called
    """

    def __init__(
        self, model: nn.Module, log_dir: Path, level: Level, every: int, max_overhead: float | None
    ) -> None:
        self.model, self.every, self.steps = model, every, 0
        self._layers = LayerGradients(model)
        self._parameters = [*model.parameters()]
        self._known = self._trained()
        device = self._layers.parameters[0].device
        self._log = LoopLog(log_dir, Record(model=type(model).__name__))
        self._passes = ModelPasses(model, device)
        self._updates = OptimizerSteps(self._parameters, self._updated)
        self._monitor = StepMonitor(
            self._passes, self._layers, level, max_overhead, self._log.print_line
        )
        self._looks = GradientLooks(self._layers, max_overhead is None)
        self._window, self._inputs, self._overhead = LoopWindow(), InputScale(), Overhead(device)
        self._line: Line | None = None
        self._clipped: Tensor | None = None  # the norms at the update
        self._is_updated = False
        self._optimizer: Optimizer | None = None  # of the last update
        self._reads_each = device.type == "cpu"  # where nothing waits for it
        self._is_closed = False
        for notice in fused_layers(model):
            self._log.print_line(notice)
        self._prepare()

    @property
    def log_dir(self) -> Path:
        """The folder of the log."""
        return self._log.folder

    def step(self, loss: Tensor | float, scaler: GradScaler | None = None) -> None:
        """See a step: after `backward` of all of its batches, before clipping and the update.

        loss    the step's loss, not scaled
        scaler  the gradient scaler of training in float16; call `scaler.unscale_(optimizer)` first

        Raises NonFiniteError for a loss or gradient that is not finite; the weights are then still
        those before the update. Raises UsageError for a call in another place of the loop.
        """
        self._refuse_closed()
        self._refuse_other_place()
        if isinstance(loss, Tensor) and loss.numel() != 1:
            raise UsageError("watch: expected the step's loss, one number", hint="loss.mean()")
        self._finish_line()
        self._see_other_layers()
        scale = self._scale(scaler)
        self.steps += 1
        is_due, is_observed = self._is_due(self.steps), self._monitor.observes
        passes = self._passes.end_step()
        self._inputs.add(passes)
        norms = self._looks.norms(self.steps, is_due)
        total = self._looks.sum_of_small() if norms is None else norms[0]
        number = torch.as_tensor(loss, dtype=total.dtype, device=total.device).detach().view(())
        self._window.add(self.steps, number, total)
        if is_due or self._reads_each:
            self._refuse_non_finite(passes, number, scaler is not None)
        self._monitor.see_weights()
        self._monitor.see_gradients(scale, total)
        self._line, self._clipped, self._is_updated = Line(self.steps, norms, scale), None, False
        self._overhead.add(self._began, self._overhead.now(), is_observed)
        self._prepare()

    def log(self, values: Mapping[str, float]) -> None:
        """Log values of one's own at the last step, such as {"val/loss": 0.3}; verdicts read them.

        Raises UsageError for a name that is not `group/name`.
        """
        self._refuse_closed()
        for name in values:
            if "/" not in name or name.startswith(tags.VERDICT):
                raise UsageError(f"watch: {name!r} is not such as val/loss")
        self._finish_line()
        self._log.write(self.steps, {name: float(value) for name, value in values.items()})

    def close(self) -> None:
        """Write the last line, print the verdicts, and remove every hook."""
        if self._is_closed:
            return
        self._is_closed = True
        self._passes.remove()
        self._updates.remove()
        try:
            failed = self._window.read(self._line is not None and self._line.scale is not None)
            if failed is not None:
                self._log.fail(Failure(step=failed[0], what=failed[1], why=NOT_KNOWN), failed[1:])
            self._finish_line(is_last=True)
        finally:
            self._log.close()

    def __enter__(self) -> "Watcher":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def _is_due(self, step: int) -> bool:
        return step % self.every == 0

    def _prepare(self) -> None:
        """Let the next step be watched, if it is due."""
        following = self.steps + 1
        self._monitor.prepare(following, 0, self._is_due(following), self._is_due(following + 1))
        self._began = self._overhead.now()

    def _refuse_closed(self) -> None:
        if self._is_closed:
            raise UsageError("watch: the watcher is closed")

    def _refuse_other_place(self) -> None:
        if not self._passes.of_step:
            raise UsageError(
                "watch: the model was not called with gradients since the last watcher.step(loss)",
                hint="watch the module that the loop calls",
            )
        if all(parameter.grad is None for parameter in self._layers.parameters):
            raise UsageError("watch: there is no gradient", hint=PLACE)

    def _see_other_layers(self) -> None:
        """Take note of parameters that are trained since, and of another device."""
        if self._known != self._trained():
            self._known = self._trained()
            self._layers = LayerGradients(self.model)
            self._looks = GradientLooks(self._layers, self._looks.looks_at_all)
            self._monitor.see_other(self._layers)

    def _trained(self) -> list[object]:
        return [*(each.requires_grad for each in self._parameters), self._parameters[0].device]

    def _scale(self, scaler: GradScaler | None) -> Tensor | None:
        """Return the factor on the gradients, on the device."""
        if scaler is not None:
            return scaler.scale(torch.ones((), device=self._layers.layer_of.device))
        if torch.float16 in self._passes.dtypes:
            raise UsageError(
                "watch: the model computes in float16, whose gradients a scaler makes larger",
                hint="watcher.step(loss, scaler); without one, torch.amp.GradScaler(enabled=False)",
            )
        return None

    def _refuse_non_finite(self, passes: list[Pass], loss: Tensor, overflows: bool) -> None:
        """Raise NonFiniteError if a step since the last line is not finite."""
        failed = self._window.read(overflows)
        if failed is None:
            return
        step, what = failed
        found = self._searched(passes, loss) if step == self.steps else None
        self._window.restart()
        self._prepare()
        why = NOT_KNOWN
        if step == self.steps:
            why = NOT_FOUND if all(each.is_complete for each in passes) else NOT_KEPT
        why = why if found is None else found.sentence
        self._describe_optimizer()
        self._log.fail(Failure(step=step, what=what, why=why), found.lines if found else ())
        came_unseen = found is not None and found.place == "state" and not self._looks.looks_at_all
        raise NonFiniteError(what, why, LOOK_AT_ALL if came_unseen else HINT)

    def _searched(self, passes: list[Pass], loss: Tensor) -> Finding | None:
        try:
            return first_in_passes(self.model, passes, loss)
        except (torch.OutOfMemoryError, MemoryError):
            self._log.print_line("there is too little memory to look for the cause of it")
            return None
        finally:
            self._passes.end_step()  # those that were repeated

    def _updated(self, optimizer: Optimizer) -> None:
        """See the end of an optimizer's step; one step of the loop may have several."""
        if self._passes.of_step:
            raise UsageError("watch: an update before watcher.step(loss)", hint=PLACE)
        self._optimizer, self._is_updated = optimizer, True
        if self._line is not None and self._is_due(self._line.step):
            self._monitor.see_update()
            self._clipped = self._layers.norms()

    def _describe_optimizer(self) -> None:
        """Store the kind of the optimizer and its largest learning rate, once."""
        record = self._log.record
        if self._optimizer is not None and not record.optimizer:
            first = self._optimizer.param_groups[0]
            known = {"optimizer": type(self._optimizer).__name__}
            rate = float(first.get("initial_lr", first["lr"]))
            self._log.describe(record.model_copy(update={**known, "lr": rate}))

    def _finish_line(self, is_last: bool = False) -> None:
        """Write the line of the last step if it is due; this waits for the device."""
        line = self._line
        if line is None or not (is_last or self._is_due(line.step)):
            return
        self._line = None
        if not self._is_updated:
            self._monitor.see_update()
        self._describe_optimizer()
        observed = self._monitor.observed
        seen = [each for each in (line.norms, self._clipped) if each is not None]
        copied = on_host([*seen, *observed.tensors])
        norms = copied[: len(seen)]
        if line.scale is not None and norms:
            refuse_scaled(norms[0][0], norms[-1][0], float(line.scale))
        numbers, series = observed.values(copied[len(seen) :])
        values = {**self._measured(), **self._of_gradient(norms), **numbers}
        values = {tag: value for tag, value in values.items() if isfinite(value)}
        self._log.write(line.step, values, series)
        self._monitor.forget()
        self._window.restart()

    def _measured(self) -> dict[str, float]:
        """Return what is known of the steps since the last line besides their gradients."""
        values = {**self._window.values(), **self._inputs.values()}
        if self._optimizer is not None:
            values[tags.LEARNING_RATE] = float(self._optimizer.param_groups[0]["lr"])
        share = self._overhead.share()
        return values if share is None else {**values, tags.MONITOR_OVERHEAD: share}

    def _of_gradient(self, seen: Sequence[list[float]]) -> dict[str, float]:
        """Return the norms of the gradient by tag, and those at the update if it was clipped.

        seen  the norms before clipping and at the update, as many as were looked at
        """
        if not seen:
            return {}
        norms, clipped = seen[0], seen[-1]
        values = dict(zip(self._layers.tags, norms, strict=True))
        if abs(clipped[0] - norms[0]) > CHANGED * norms[0]:
            values |= dict(zip(self._layers.clipped_tags, clipped, strict=True))
        return values


def refuse_scaled(before: float, at_update: float, scale: float) -> None:
    """Raise UsageError for a gradient that was unscaled after it was seen."""
    if scale > 1 and abs(before - scale * at_update) < 0.01 * before:
        raise UsageError(
            "watch: the gradient was scaled when watcher.step(loss, scaler) saw it",
            hint="scaler.unscale_(optimizer) before it",
        )


def on_host(tensors: Sequence[Tensor]) -> list[list[float]]:
    """Return the numbers of tensors of one axis, copied at once."""
    numbers = iter(torch.cat([each.float() for each in tensors]).tolist() if tensors else [])
    return [[*islice(numbers, len(each))] for each in tensors]
