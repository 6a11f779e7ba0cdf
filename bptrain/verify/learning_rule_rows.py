"""The rows of a step by a learning rule: on the tape against the rule's definition, by autograd.

What a rule gives is no gradient, so that it is judged by its own definition alone. The definition
is written as another network of the same outputs, whose gradients, by torch's autograd, are what
the rule gives: a layer reads x as a constant, and a term that is always zero, such as
B (x - constant x), sends errors back to x in its place.
"""

from collections import Counter
from collections.abc import Callable
from copy import deepcopy
from typing import Any

import torch
from torch import Tensor, nn

from bptrain.errors import UsageError
from bptrain.nn.convert import torch_copy
from bptrain.ops.kernels import use_kernels
from bptrain.tape import Autograd
from bptrain.tape.calls import Like
from bptrain.tape.learning_rules.direct_feedback_alignment import DirectFeedbackAlignment
from bptrain.tape.learning_rules.feedback import glorot_std
from bptrain.tape.learning_rules.feedback_alignment import FeedbackAlignment
from bptrain.tape.learning_rules.forward_gradient import ForwardRun
from bptrain.tape.learning_rules.rule import LearningRule
from bptrain.tape.learning_rules.step import StepByRule
from bptrain.verify.parity import GRADIENT
from bptrain.verify.report import Row
from bptrain.verify.tape_rows import KERNELS, as_doubles, compared, gradients_of

LAYERS = (
    nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d,
    nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d,
)  # fmt: skip
Batch = tuple[tuple[Any, ...], tuple[Any, ...]]


def learning_rule_rows(
    model: nn.Module,
    loss: nn.Module,
    rule: LearningRule,
    inputs: tuple[Any, ...],
    targets: tuple[Any, ...],
) -> tuple[list[Row], list[str]]:
    """Return a row for each parameter, and notes: that these are no gradients, what has no row.

    The step runs in float64, on copies, in the model's own mode, by the kernels and the formulas.
    """
    batch = as_doubles(inputs), as_doubles(targets)
    layer = f"the step by {rule.name}"
    notes = [f"{layer} gives no gradients: its rows compare it with the rule's definition"]
    rows: list[Row] = []
    for kernels in KERNELS:
        own = deepcopy(model).double(), deepcopy(loss).double()
        try:
            with torch.random.fork_rng(), use_kernels(kernels):
                ours, reference = _outcomes(*own, rule, batch)
        except UsageError as error:
            notes.append(f"{layer} is not compared, kernels {kernels}: {error.why}")
            continue
        rows += compared(ours, reference, kernels, (layer, "its definition"))
    return rows, notes


def _outcomes(
    model: nn.Module, loss: nn.Module, rule: LearningRule, batch: Batch
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Return loss and what the parameters get, from the tape and by the definition."""
    defined = deepcopy(model)
    step = StepByRule(model, loss, rule)
    run = step.begin(*batch)
    drawn = torch.get_rng_state()
    ours = gradients_of(run, model)
    torch.set_rng_state(drawn)
    if not isinstance(run, ForwardRun):
        _Definition(rule, defined).take_effect()
    reference = gradients_of(Autograd(defined, loss).begin(*batch), defined)
    if isinstance(run, ForwardRun):
        reference = _along(run, reference, dict(model.named_parameters()))
    return ours, reference


def _along(
    run: ForwardRun, gradient: dict[str, Tensor], parameters: dict[str, nn.Parameter]
) -> dict[str, Tensor]:
    """Return (g . v) v, g the gradient and v the direction of the run; and the loss."""
    moved = {p: v for (_, p), v in zip(run.program.parameters, run.directions, strict=True)}
    directions = {GRADIENT + name: moved[p] for name, p in parameters.items() if p in moved}
    slope = sum((gradient[name] * v).sum() for name, v in directions.items() if name in gradient)
    return {"loss": gradient["loss"]} | {name: slope * v for name, v in directions.items()}


class _Definition:
    """A model whose gradients by autograd are what a rule gives."""

    def __init__(self, rule: LearningRule, model: nn.Module) -> None:
        self.rule, self.model = rule, model
        self.calls: Counter[str] = Counter()
        self.read: list[tuple[str, Tensor]] = []  # by layers, for direct feedback

    def take_effect(self) -> None:
        """Let each layer, and the model, compute the definition.

        Raises UsageError for weights that are no layer's own, as attention's projections.
        """
        for name, module in self.model.named_modules():
            if isinstance(module, nn.MultiheadAttention):
                raise UsageError("no definition", f"{name} projects by weights of its own")
            if isinstance(module, LAYERS):
                vars(module)["forward"] = self._layer(name, module)
        if isinstance(self.rule, DirectFeedbackAlignment):
            vars(self.model)["forward"] = self._with_direct_feedback(self.model.forward)

    def _layer(self, name: str, module: nn.Module) -> Callable[[Tensor], Tensor]:
        forward, plain = module.forward, torch_copy(module)

        def defined(x: Tensor) -> Tensor:
            self.calls[name] += 1
            times = self.calls[name]
            y: Tensor = forward(x.detach())
            if not x.requires_grad:
                return y
            called = f"feedback {name}" + f" {times}" * (times > 1)
            if isinstance(self.rule, DirectFeedbackAlignment):
                self.read.append((called, x))
                return y
            weights = {key: torch.zeros_like(each) for key, each in plain.named_parameters()}
            weights["weight"] = self._feedback(called, module)
            sent: Tensor = torch.func.functional_call(plain, weights, (x - x.detach(),))
            return y + sent

        return defined

    def _feedback(self, called: str, module: nn.Module) -> Tensor:
        W = module.get_parameter("weight").detach()
        if isinstance(self.rule, FeedbackAlignment):
            return self.rule.feedback.matrix(called, Like.of(W))
        return glorot_std(W.shape) * W.sign()

    def _with_direct_feedback(self, forward: Callable[..., Tensor]) -> Callable[..., Tensor]:
        def defined(*inputs: Any) -> Tensor:
            y = forward(*inputs)
            assert isinstance(self.rule, DirectFeedbackAlignment), "it is taken for no other rule"
            outputs = y.shape[1:].numel()
            for called, h in self.read:
                rows = (h - h.detach()).flatten(1)
                like = Like(torch.Size((outputs, rows.shape[1])), y.dtype, y.device)
                B = self.rule.feedback.matrix(called, like)
                y = y + rows.mm(B.t()).view(y.shape)
            return y

        return defined
