"""The ways to compute a training step: ours, and the torch.nn counterpart's.

An engine of ours makes a `TrainingStep` of a model and a loss of bptrain.nn; to add one, write such
a function and add its line to ENGINES. What it imports, it imports inside. Where it cannot run, it
raises a UsageError, and the reason is shown in place of its times.
"""

import copy
import shutil
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from bptrain.bench.on_tape import Compiled as CompiledTape
from bptrain.bench.on_tape import CompiledFormulas, OnTape
from bptrain.bench.step_memory import stderr_of_libraries_hidden
from bptrain.bench.subject import Alternative, Subject, TrainingStep, to_memory_format
from bptrain.errors import UsageError
from bptrain.nn.convert import torch_copy
from bptrain.train.precision import Precision

TORCH = "torch.nn"
COMPILED = "torch.compile"
CHANNELS_LAST = "torch.nn channels_last"
CONVOLUTIONS = (nn.Conv2d, nn.ConvTranspose2d)

Engine = Callable[[nn.Module, nn.Module, Precision], TrainingStep]


class ByAutograd:
    """Forward through the modules, backward by autograd's engine."""

    def __init__(self, model: nn.Module, loss: nn.Module, precision: Precision) -> None:
        self.model, self.loss, self.precision = model, loss, precision

    def __call__(self, inputs: tuple[Any, ...], targets: tuple[Tensor, ...]) -> Tensor:
        """Return the loss."""
        with self.precision.computing():
            loss: Tensor = self.loss(self.model(*inputs), *targets)
        loss.backward()
        return loss.detach()


ENGINES: dict[str, Engine] = {
    "autograd": ByAutograd,
    "tape": OnTape,
    "compiled": CompiledTape,
    "compiled formulas": CompiledFormulas,
}
WITH_COMPILER = ("compiled", "compiled formulas")
ON_REQUEST = ("compiled formulas",)  # minutes more, to answer one question


class Compiled:
    """Forward and loss compiled as one function, whose backward pass torch.compile derives."""

    def __init__(self, model: nn.Module, loss: nn.Module, precision: Precision) -> None:
        def forward(inputs: tuple[Any, ...], targets: tuple[Tensor, ...]) -> Tensor:
            computed: Tensor = loss(model(*inputs), *targets)
            return computed

        self.forward, self.precision = torch.compile(forward), precision

    def __call__(self, inputs: tuple[Any, ...], targets: tuple[Tensor, ...]) -> Tensor:
        """Return the loss."""
        with self.precision.computing():
            loss: Tensor = self.forward(inputs, targets)
        loss.backward()
        return loss.detach()


def ours(subject: Subject, name: str) -> Alternative:
    """Return one of ENGINES on a copy of the model. Raises UsageError where it cannot run."""
    model, loss = copy.deepcopy(subject.model), copy.deepcopy(subject.loss)
    return _alternative(subject, f"bptrain, {name}", model, loss, ENGINES[name])


def torchs(subject: Subject) -> Alternative:
    """Return the torch.nn counterpart, run eagerly."""
    return _alternative(
        subject, TORCH, torch_copy(subject.model), torch_copy(subject.loss), ByAutograd
    )


def channels_last(subject: Subject) -> Alternative:
    """Return the torch.nn counterpart with its images and kernels in channels-last format."""
    form = torch.channels_last
    model: nn.Module = torch_copy(subject.model).to(memory_format=form)
    made = _alternative(subject, CHANNELS_LAST, model, torch_copy(subject.loss), ByAutograd)
    inputs = tuple(to_memory_format(each, form) for each in subject.inputs)
    return replace(made, inputs=inputs)


def compiled(subject: Subject) -> Alternative:
    """Return the torch.nn counterpart under torch.compile. Raises UsageError without a compiler."""
    if not any(map(shutil.which, ("c++", "g++", "clang++", "cl"))):
        raise UsageError("no C++ compiler was found", hint="install g++ or clang")
    return _alternative(
        subject, COMPILED, torch_copy(subject.model), torch_copy(subject.loss), Compiled
    )


def counterparts(subject: Subject, with_compiler: bool) -> dict[str, Callable[[], Alternative]]:
    """Return the forms of the torch.nn counterpart by name; the first is the reference."""
    found = {TORCH: lambda: torchs(subject)}
    has_images = any(isinstance(each, Tensor) and each.dim() == 4 for each in subject.inputs)
    if has_images and any(isinstance(each, CONVOLUTIONS) for each in subject.model.modules()):
        found[CHANNELS_LAST] = lambda: channels_last(subject)
    if with_compiler:
        found[COMPILED] = lambda: compiled(subject)
    return found


def alternatives(
    subject: Subject, with_compiler: bool = True, with_formulas: bool = False
) -> tuple[list[Alternative], dict[str, str]]:
    """Return what can be compared, the torch.nn counterpart first, and why others are left out.

    with_formulas  whether the compiled formulas are among them

    An alternative that fails on its first step is left out too.

    Raises UsageError where torch.nn cannot run the step: there is nothing to compare with.
    """
    makers: dict[str, Callable[[], Alternative]] = dict(counterparts(subject, with_compiler))
    for name in ENGINES:
        if (name in WITH_COMPILER and not with_compiler) or (
            name in ON_REQUEST and not with_formulas
        ):
            continue
        makers[f"bptrain, {name}"] = lambda name=name: ours(subject, name)  # type: ignore[misc]
    found, left_out = [], {}
    for name, make in makers.items():
        try:
            made = make()
            if name == COMPILED:
                _first_step(made)
            elif name == TORCH:
                _refuse_without_kernel(made)
            elif isinstance(made.step, OnTape):
                made.backpropagate()
        except UsageError as error:
            if name == TORCH:
                raise
            left_out[name] = "; ".join(filter(None, (error.what, error.why)))
        else:
            found.append(made)
    return found, left_out


def _refuse_without_kernel(made: Alternative) -> None:
    """Raise UsageError if oneDNN has no kernel for a layer on this processor."""
    try:
        made.backpropagate()
    except RuntimeError as error:
        if "could not create a primitive descriptor" not in str(error):
            raise
        raise UsageError(
            "torch.nn cannot run this step on this processor",
            str(error).partition(". ")[0],
            "precision: fp32, or another processor",
        ) from error


def _first_step(made: Alternative) -> None:
    """Take a step, which compiles it. Raises UsageError if the compiler fails."""
    try:
        with stderr_of_libraries_hidden():  # the compiler looks for CUDA, and says so
            made.backpropagate()
    except Exception as error:  # whatever the compiler, or the compiler's compiler, raises
        first_line = str(error).strip().partition("\n")[0]
        raise UsageError("torch.compile fails", first_line or type(error).__name__) from error


def _alternative(
    subject: Subject, name: str, model: nn.Module, loss: nn.Module, engine: Engine
) -> Alternative:
    step = engine(model, loss, subject.precision)
    is_ours = name.startswith("bptrain")
    update = subject.update(model)
    return Alternative(name, is_ours, model, loss, subject.inputs, subject.targets, step, update)
