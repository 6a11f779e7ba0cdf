"""A model's training step on the tape, or by autograd where the tape cannot be trusted.

A program holds for batches of one shape, one mode and one state of the modules. It is trusted only
after its gradients, loss and everything else that a step leaves behind were those of autograd, on a
real batch. An attribute that the forward pass assigns tensors to, such as a carried state, is an
input and an output of the program. Where the forward pass depends on numbers in tensors or changes
other attributes, it is recorded again in every step, and its program is used once.
"""

import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from torch import Tensor, nn

from bptrain.ops.over_processes import with_local_sums
from bptrain.tape.attributes import NONE_CHANGES, Changing
from bptrain.tape.batch import Batch, key_of, tensors_of
from bptrain.tape.choices import Checkpointing
from bptrain.tape.comparison import Outcome, difference
from bptrain.tape.compiled import CompiledProgram, NotCompiledError
from bptrain.tape.compiled_cells import compiled
from bptrain.tape.kept_bytes import measure_kept_bytes
from bptrain.tape.layout import channels_last, is_laid_out
from bptrain.tape.layout_proof import entries_agree, steps_agree
from bptrain.tape.notices import Notices
from bptrain.tape.observing import BesideRun, Observer, observed
from bptrain.tape.other_lengths import are_those_of, decided, for_batch, with_lengths_of
from bptrain.tape.patterns import fused
from bptrain.tape.printing import text_of
from bptrain.tape.program import Program
from bptrain.tape.recorder import OffTapeError
from bptrain.tape.recording import Recording, names_of, recorded, rewind
from bptrain.tape.rounding import difference_compiled, rounds_otherwise, tolerance_of
from bptrain.tape.run import AutogradRun, Run, gradients_of
from bptrain.tape.segments import segmented
from bptrain.tape.slots import layout
from bptrain.tape.state import (
    State,
    Watched,
    hooked,
    places_of,
    restore,
    state_of,
)

Runnable = Program | CompiledProgram
RECORDED_AGAIN = "each batch would be recorded anew, which takes longer"
MOST_PROGRAMS = 64  # kinds of batches whose programs are held


class Step:
    """The training step of a model and a loss.

    notices        who is told of what does not run as it was asked for
    checkpointing  which segments are computed again in the backward pass, to keep less
    compiles       whether programs are compiled by torch.compile
    fuses          whether neighbouring operations run as one; an observer may want each by itself
    needs_outputs  whether `forward` must return the model's outputs, where `begin` is not told
    records_again  whether a step that each batch records anew is on the tape: autograd is faster
    """

    def __init__(
        self,
        model: nn.Module,
        loss: Callable[..., Tensor],
        notices: Notices | None = None,
        checkpointing: Checkpointing = "none",
        compiles: bool = False,
        fuses: bool = True,
        needs_outputs: bool = True,
        records_again: bool = True,
    ) -> None:
        self.checkpointing: Checkpointing = checkpointing
        self.fuses, self.needs_outputs = fuses, needs_outputs
        self.records_again, self._varies = records_again, False
        self.model, self.loss_function, self.compiles = model, loss, compiles
        self.notices = notices or Notices()
        self.reasons: list[str] = []  # why batches run by autograd
        self.not_compiled: list[str] = []  # why they are not compiled
        self._programs: dict[Any, Runnable | None] = {}  # by kind of batch; None: recorded again
        self.recorded: dict[Any, Program] = {}  # what they were made of
        self._by_autograd: set[Any] = set()  # kinds of batches
        self._trusted: set[Any] = set()  # structures of programs
        self._any_lengths: set[Any] = set()  # kinds whose programs hold for all lengths
        self._modules: list[nn.Module] = []
        self._watched: Watched | None = None
        self._changing = NONE_CHANGES
        self._places: dict[int, int] = {}  # of the modules' own tensors, by id

    def __call__(self, inputs: Any, *targets: Any) -> Tensor:
        """Run a step on inputs (a tensor, or a tuple of arguments); fill `.grad`, return the loss.

        The gradients are added to those in `.grad`, as by `loss.backward()`.
        """
        inputs = inputs if isinstance(inputs, tuple) else (inputs,)
        run = self.begin(inputs, targets, needs_outputs=False)
        run.forward()
        loss = run.loss()
        run.backward(lambda loss: loss)
        return loss.detach()

    def begin(
        self,
        inputs: tuple[Any, ...],
        targets: tuple[Any, ...],
        needs_outputs: bool | None = None,
        observer: Observer | None = None,
        apart: bool = False,
    ) -> Run:
        """Return the step on a batch, before its forward pass.

        needs_outputs  whether `forward` must return the model's outputs, the step's own by default:
                       without them the last layer and the loss may be one operation
        observer       who is shown each entry as it runs; nothing is where autograd runs the step
        apart          whether the observer is shown each operation by itself, also those that run
                       as one: the step's numbers stay the same
        """
        needed = self.needs_outputs if needs_outputs is None else needs_outputs
        batch = Batch(inputs, targets, needed)
        if self._watched is None or not self._watched.hold:
            self._watch()
        try:
            if (key := self._program_key(batch)) is not None:
                return self._on_tape(key, batch, observer, apart)
        except OffTapeError as error:
            self._report(str(error))
        return AutogradRun(self.model, self.loss_function, batch)

    def _program_key(self, batch: Batch) -> Any:
        """Return the key of a batch's program, which may be new; None where autograd runs it."""
        if self._varies and not self.records_again:
            return None
        key = self._key(batch)
        if key not in self._by_autograd and self._is_new(key, batch):
            key = self._learn(key, batch)
            if self._varies and not self.records_again:
                raise OffTapeError(RECORDED_AGAIN)
        return None if key in self._by_autograd else key

    def _is_new(self, key: Any, batch: Batch) -> bool:
        """Return whether a batch is to be compared: one of its kind was not, or not its lengths."""
        if key not in self._programs:
            return True
        program = self._programs[key]
        if not isinstance(program, Program) or not program.packings or key in self._any_lengths:
            return False
        return not are_those_of(program, tensors_of(batch))

    def text(
        self, inputs: tuple[Any, ...], targets: tuple[Any, ...], as_recorded: bool = False
    ) -> str:
        """Return the program that a batch runs as Python; the modules are left as they were.

        as_recorded  before neighbouring operations are fused, and without segments

        Raises OffTapeError where it cannot be recorded, ValueError where it cannot be written.
        """
        self._watch()
        batch, before = Batch(inputs, targets, self.needs_outputs), state_of(self._modules)
        try:
            recording = self._record(batch)
            program, names = recording.program, recording.names
            if not as_recorded:
                program, names = self._as_run(recording, batch)
            rewind(recording, self._modules, before)
            measure_kept_bytes(program, tensors_of(batch))
        finally:
            restore(self._modules, before)
        return text_of(program, names)

    def _key(self, batch: Batch) -> Any:
        """Return what a program depends on; raises OffTapeError."""
        places = dict(self._places)
        carried = [layout(slot.value, places) for slot in self._changing.carried]
        return (*key_of(batch, places), *carried)

    def _as_run(self, recording: Recording, batch: Batch) -> tuple[Program, dict[int, str]]:
        """Return the program that runs, not compiled, and the names of its fixed values."""
        if recording.varies and self.checkpointing == "none":
            return recording.program, recording.names
        batch = batch._replace(needs_outputs=batch.needs_outputs or recording.varies)
        lays_out = not (self.compiles or recording.varies)
        program = self._rewritten(recording.program, batch, self.fuses, lays_out)
        return program, recording.names

    def _watch(self) -> None:
        """Forget what was recorded, and begin anew with the modules as they are."""
        loss = self.loss_function
        own = list(loss.modules()) if isinstance(loss, nn.Module) else []
        self._modules, self._varies = [*self.model.modules(), *own], False
        changing = self._changing.carried | self._changing.others
        self._watched = Watched(self._modules, changing)
        self._places = places_of(self._modules, changing) if self._changing.carried else {}
        known = (self._programs, self.recorded, self._by_autograd, self._trusted)
        for each in (*known, self._any_lengths):
            each.clear()

    def _report(self, reason: str) -> None:
        if reason not in self.reasons:
            self.reasons.append(reason)
            self.notices.by_autograd(reason)

    def _on_tape(self, key: Any, batch: Batch, observer: Observer | None, apart: bool) -> Run:
        """Return a run of a known kind of batch."""
        program = self._programs[key]
        if program is not None:
            tensors = tensors_of(batch)
            program = for_batch(program, tensors)
            if observer is None:
                return program.run(tensors)
            recorded = with_lengths_of(self.recorded[key], tensors) if apart else None
            return self._shown(program, recorded, batch, observer)
        before = state_of(self._modules)
        recording = self._record(batch)
        is_known = recording.changing == self._changing
        if not is_known or recording.program.structure not in self._trusted:
            restore(self._modules, before)
            self._prove(batch)
            recording = self._record(batch)
        return self._run_of(recording, batch, before, observer, apart)

    def _shown(
        self, program: Runnable, recorded: Program | None, batch: Batch, observer: Observer
    ) -> Run:
        """Return a run of a program, or of what it was made of, that is shown to an observer."""
        tensors = tensors_of(batch)
        entries = program.program if isinstance(program, CompiledProgram) else program
        if recorded is not None:
            laid_out = is_laid_out(entries, recorded)  # or its sums would be rounded otherwise
            entries = self._rewritten(recorded, batch, fuses=False, lays_out=laid_out)
        if not rounds_otherwise(program) or entries is program:
            return observed(entries, observer).run(tensors)
        shown = observed(replace(entries, parameters=()), observer)
        return BesideRun(program.run(tensors), shown.run(tensors), self._modules)

    def _run_of(
        self,
        recording: Recording,
        batch: Batch,
        before: State,
        observer: Observer | None = None,
        apart: bool = False,
    ) -> Run:
        """Return the recorded run itself; with checkpointing or an observer another one.

        Its forward pass computes once more what the record did, but for the modules' attributes.
        All of these round alike, so none has the loss in chunks.
        """
        batch = batch._replace(needs_outputs=True)
        if self.checkpointing == "none" and observer is None:
            return recording.run
        rewind(recording, self._modules, before)
        program = self._rewritten(recording.program, batch, self.fuses and not apart)
        return (observed(program, observer) if observer else program).run(tensors_of(batch))

    def _rewritten(
        self, program: Program, batch: Batch, fuses: bool, lays_out: bool = False
    ) -> Program:
        """Return what runs: fused, with channels last where that is faster, in segments."""
        program = self._fused(program, batch, fuses)
        return segmented(channels_last(program) if lays_out else program, self.checkpointing)

    def _fused(self, program: Program, batch: Batch, fuses: bool) -> Program:
        if not batch.needs_outputs:
            program = replace(program, outputs=None)
        return fused(program) if fuses else program

    def _learn(self, key: Any, batch: Batch) -> Any:
        """Record and prove a new kind of batch; leave the modules as they were. Return its key."""
        known = self.recorded.get(key)
        try:
            program, recorded = self._prove(batch)
        except OffTapeError:
            self._by_autograd.add(key)
            raise
        holds = decided(known, recorded, tensors_of(batch))
        if holds:
            self._any_lengths.add(key)
        elif holds is False:
            program = None
        key = self._key(batch)  # attributes that change may have been found
        self._programs[key], self.recorded[key] = program, recorded
        self._varies = program is None
        while len(self._programs) > MOST_PROGRAMS:
            oldest = next(iter(self._programs))
            del self._programs[oldest], self.recorded[oldest]
        return key

    def _record(self, batch: Batch) -> Recording:
        keeps_saved = self.checkpointing == "none"
        return recorded(
            self.model, self.loss_function, batch, self._modules, self._changing, keeps_saved
        )

    @with_local_sums()  # other processes may know their batch's kind already
    def _prove(self, batch: Batch) -> tuple[Runnable | None, Program]:
        """Return the program of a batch, None if the next batch may need another one; its record.

        Raises OffTapeError unless the record does what autograd does. The modules and generators
        are left as they were.
        """
        if name := hooked(names_of(self.model, self.loss_function)):
            raise OffTapeError(f"{name} has hooks, which the tape does not call")
        before = state_of(self._modules)
        plain: Program | None = None
        try:
            recording = self._record(batch)
            if recording.varies:
                self._refuse_to_compile("it is recorded again for each batch")
                ours = [self._outcome(self._run_of(recording, batch, before))]
                self._note(recording.changing, before)
            else:
                self._note(recording.changing, before)
                plain = self._rewritten(recording.program, batch, self.fuses)
                ours = self._outcomes(plain, batch)
            restore(self._modules, before)
            reference = [
                self._outcome(AutogradRun(self.model, self.loss_function, batch)) for _ in ours
            ]
        finally:
            restore(self._modules, before)
        tolerance = None if plain is None else tolerance_of(plain, batch)
        for one, other in zip(ours, reference, strict=True):
            if wrong := difference(one, other, tolerance):
                raise OffTapeError(f"its step differs from autograd's: {wrong}")
        self._trusted.add(recording.program.structure)
        if plain is None:
            return None, recording.program
        program = self._compiled(plain, batch, reference) if self.compiles else plain
        if program is plain:
            program = self._laid_out(plain, recording.program, batch, reference[0])
        return program, recording.program

    def _note(self, changing: Changing, before: State) -> None:
        """Restore the modules; forget programs that took an attribute that changes to be fixed."""
        restore(self._modules, before)
        if changing != self._changing:
            self._changing = changing
            self._watch()

    def _laid_out(
        self, program: Program, recorded: Program, batch: Batch, reference: Outcome
    ) -> Program:
        """Return the program with channels last where that is faster, if it computes the same.

        A compiled one is left as it is: torch.compile chooses layouts by itself.
        """
        found = self._rewritten(recorded, batch, self.fuses, lays_out=True)
        if not is_laid_out(found, recorded):
            return program
        before, tensors = state_of(self._modules), tensors_of(batch)
        plain = self._fused(recorded, batch, self.fuses)
        try:
            if not entries_agree(plain, tensors):
                return program
            restore(self._modules, before)
            ours = self._outcome(found.run(tensors))
        finally:
            restore(self._modules, before)
        return found if steps_agree(ours, reference, plain) else program

    def _compiled(self, program: Program, batch: Batch, reference: list[Outcome]) -> Runnable:
        """Return the program compiled; itself, with a notice, where that cannot be or is wrong."""
        started_s = time.perf_counter()
        try:
            made = compiled(program, tensors_of(batch))
        except NotCompiledError as error:
            self._refuse_to_compile(str(error))
            return program
        before = state_of(self._modules)
        try:
            ours = self._outcomes(made, batch)
        finally:
            restore(self._modules, before)
        if wrong := difference_compiled(made, program, ours, reference):
            self._refuse_to_compile(f"its step then differs from autograd's: {wrong}")
            return program
        self.notices.compiled(time.perf_counter() - started_s)
        return made

    def _refuse_to_compile(self, reason: str) -> None:
        if self.compiles and reason not in self.not_compiled:
            self.not_compiled.append(reason)
            self.notices.not_compiled(reason)

    def _outcomes(self, program: Runnable, batch: Batch) -> list[Outcome]:
        """Return what a step leaves behind, and where it carries a state what two steps do."""
        before = self._key(batch)
        outcomes = [self._outcome(program.run(tensors_of(batch)))]
        if program.carried and self._key(batch) == before:
            outcomes.append(self._outcome(program.run(tensors_of(batch))))
        return outcomes

    def _outcome(self, run: Run) -> Outcome:
        """Run a step; return what it leaves behind, without leaving it."""
        loss, gradients = gradients_of(run, self._modules)
        return Outcome(loss, list(gradients.values()), state_of(self._modules))
