"""A recorded step for a training loop of one's own."""

from collections.abc import Callable

from torch import Tensor, nn

from bptrain.tape.choices import Checkpointing
from bptrain.tape.step import Step


def record(
    model: nn.Module,
    loss: Callable[..., Tensor],
    checkpointing: Checkpointing = "none",
    compiles: bool = False,
) -> Step:
    """Return the training step of a model and a loss, to be called as `step(inputs, *targets)`.

    model  any module; it runs on the tape if its forward pass consists of bptrain's operations
    loss   (outputs, *targets) -> scalar
    checkpointing  none, blocks or sqrt: what the backward pass computes again (segments.py)
    compiles  whether torch.compile compiles the step; `step.not_compiled` says what it did not

    A call returns the loss and fills `.grad` as `loss(model(x), y).backward()` does. The first call
    for each kind of batch records the step and compares it with autograd's. What cannot be recorded
    runs by autograd; `step.reasons` says why. Source: docs/tape.md.
    """
    return Step(model, loss, checkpointing=checkpointing, compiles=compiles)
