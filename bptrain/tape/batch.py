"""The batch of a step, and which batches one program serves."""

from typing import Any, NamedTuple

import torch
from torch import Tensor

from bptrain.ops.kernels import chosen_kernels
from bptrain.tape.recorder import OffTapeError
from bptrain.tape.slots import PLAIN, layout


class Batch(NamedTuple):
    """The arguments of the model, and those of the loss after the model's outputs.

    needs_outputs  whether the caller reads the model's outputs
    """

    inputs: tuple[Any, ...]
    targets: tuple[Any, ...]
    needs_outputs: bool = True


def tensors_of(batch: Batch) -> list[Tensor]:
    """Return the tensors among the arguments, in order."""
    return [each for each in (*batch.inputs, *batch.targets) if isinstance(each, Tensor)]


def key_of(batch: Batch, places: dict[int, int]) -> tuple[Any, ...]:
    """Return what a program depends on: plain arguments, the layout of tensors, the settings.

    places  as in `layout`: two arguments may be one tensor

    Raises OffTapeError for an argument that is neither a tensor nor plain.
    """
    parts: list[Any] = [chosen_kernels(), batch.needs_outputs, torch.get_default_dtype()]
    for each in (*batch.inputs, *batch.targets):
        if isinstance(each, Tensor) and each.requires_grad:
            raise OffTapeError("an input requires a gradient")
        if not isinstance(each, (Tensor, *PLAIN)):
            raise OffTapeError(f"an argument is a {type(each).__name__}")
        parts.append(layout(each, places))
    if torch._C._is_any_autocast_enabled():
        kinds = {each.device.type for each in tensors_of(batch)}
        parts += [(k, torch.is_autocast_enabled(k), torch.get_autocast_dtype(k)) for k in kinds]
    return tuple(parts)


def is_autocast(batch: Batch) -> bool:
    """Return whether autocast is on for the batch."""
    return torch._C._is_any_autocast_enabled() and any(
        torch.is_autocast_enabled(each.device.type) for each in tensors_of(batch)
    )
