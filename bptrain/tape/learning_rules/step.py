"""A training step by a learning rule other than backpropagation."""

from collections.abc import Callable
from typing import Any, NamedTuple, NoReturn

from torch import Tensor, nn

from bptrain.errors import UsageError
from bptrain.tape.batch import Batch, tensors_of
from bptrain.tape.choices import Checkpointing
from bptrain.tape.learning_rules.forward_gradient import (
    ForwardGradient,
    ForwardRun,
    refuse_wrong_slope,
)
from bptrain.tape.learning_rules.rule import LearningRule
from bptrain.tape.observing import Observer, observed
from bptrain.tape.patterns import fused
from bptrain.tape.program import Program
from bptrain.tape.program import Run as ProgramRun
from bptrain.tape.recorder import OffTapeError
from bptrain.tape.recording import Recording
from bptrain.tape.run import Linear, Run, gradients_of
from bptrain.tape.segments import segmented
from bptrain.tape.state import restore, state_of
from bptrain.tape.step import MOST_PROGRAMS, Step

Directions = dict[nn.Parameter, Tensor | None]


class Compared(NamedTuple):
    """What the parameters get from one batch: by the rule, and the gradient."""

    by_rule: Directions
    gradient: Directions


class StepByRule(Step):
    """The step of a model and a loss by a learning rule: what fills `.grad` is no gradient.

    Each kind of batch is recorded and compared with autograd as for backpropagation; then the rule
    changes the program. It never falls back: a step that cannot be recorded, or for which the rule
    is not defined, raises UsageError.
    """

    def __init__(
        self,
        model: nn.Module,
        loss: Callable[..., Tensor],
        rule: LearningRule,
        checkpointing: Checkpointing = "none",
    ) -> None:
        super().__init__(model, loss, checkpointing=checkpointing)
        self.rule = rule
        self._changed: dict[int, tuple[Program, Program]] = {}  # by the id of the recorded program

    def begin(
        self,
        inputs: tuple[Any, ...],
        targets: tuple[Any, ...],
        needs_outputs: bool | None = None,
        observer: Observer | None = None,
        apart: bool = False,
    ) -> Run:
        """Return the step on a batch by the rule, before its forward pass.

        The model's outputs are there whether they are needed or not.
        """
        batch = Batch(inputs, targets)
        recorded = self._backpropagation(batch).program
        program = self._by_rule(recorded, batch)
        if observer is not None:
            program = self._made_by_rule(recorded) if apart else program
            program = observed(program, observer)
        return program.run(tensors_of(batch))

    def compared(self, inputs: tuple[Any, ...], targets: tuple[Any, ...], part: Linear) -> Compared:
        """Return what the rule gives on a batch at the present weights, and the gradient there.

        Nothing changes: `.grad`, buffers and random generators are left as they are. Both draw the
        same random numbers.

        part  of the loss: its scale in fp16
        """
        backpropagation = self._backpropagation(Batch(inputs, targets))
        before = state_of(self._modules)
        try:
            run = self.begin(inputs, targets)  # draws the direction of a forward gradient
            drawn = state_of(self._modules)
            _, by_rule = gradients_of(run, self._modules, part)
            restore(self._modules, drawn)
            _, gradient = gradients_of(backpropagation, self._modules, part)
        finally:
            restore(self._modules, before)
        return Compared(by_rule, gradient)

    def _backpropagation(self, batch: Batch) -> ProgramRun:
        """Return the step's own program on a batch; it was compared with autograd's."""
        run = super().begin(*batch)
        if not isinstance(run, ProgramRun):
            self._report(self.reasons[-1])  # said of an earlier batch of this kind
        return run

    def _report(self, reason: str) -> NoReturn:
        self.reasons.append(reason)
        raise UsageError(f"the model has no step by {self.rule.name}", reason, "backward=backprop")

    def _record(self, batch: Batch) -> Recording:
        recording = super()._record(batch)
        if recording.varies or recording.program.packings:
            raise OffTapeError("its step is another one for each batch")
        return recording

    def _rewritten(
        self, program: Program, batch: Batch, fuses: bool, lays_out: bool = False
    ) -> Program:
        """Return backpropagation's program as it was recorded, for the rule to change."""
        return program

    def _by_rule(self, recorded: Program, batch: Batch) -> Program:
        """Return the program by the rule, made once for each kind of batch."""
        known = self._changed.get(id(recorded))
        if known is None:
            try:
                program = self._made_by_rule(recorded, fuses=True)
                self._prove_slope(program, recorded, batch)
            except OffTapeError as error:
                self._report(str(error))
            known = self._changed[id(recorded)] = recorded, program
            while len(self._changed) > MOST_PROGRAMS:
                del self._changed[next(iter(self._changed))]
        return known[1]

    def _made_by_rule(self, recorded: Program, fuses: bool = False) -> Program:
        program = self.rule.changed(recorded).program
        return segmented(fused(program) if fuses else program, self.checkpointing)

    def _prove_slope(self, program: Program, recorded: Program, batch: Batch) -> None:
        """Raise OffTapeError if a forward pass that finds a slope finds a wrong one."""
        before = state_of(self._modules)
        try:
            run = program.run(tensors_of(batch))
            if isinstance(run, ForwardRun):
                drawn = state_of(self._modules)
                run.forward()
                restore(self._modules, drawn)
                _, gradients = gradients_of(recorded.run(tensors_of(batch)), self._modules)
                refuse_wrong_slope(run, gradients)
        finally:
            restore(self._modules, before)

    def _as_run(self, recording: Recording, batch: Batch) -> tuple[Program, dict[int, str]]:
        if isinstance(self.rule, ForwardGradient):
            raise UsageError(
                f"{self.rule.name} has no text of its own",
                "it runs the forward pass of backpropagation's step, on dual numbers",
                "--recorded, which prints that step",
            )
        program = self._made_by_rule(recording.program, fuses=True)
        return program, recording.names | self.rule.changed(recording.program).names

    def matrices(self, inputs: tuple[Any, ...], targets: tuple[Any, ...]) -> dict[str, Tensor]:
        """Return the fixed random matrices of a batch's program, as its text names them."""
        return self.rule.changed(self._backpropagation(Batch(inputs, targets)).program).matrices
