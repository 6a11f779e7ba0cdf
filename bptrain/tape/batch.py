"""The batch of a step, and which batches one program serves."""

from collections.abc import Iterator
from contextlib import contextmanager
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
    # an LSTM over sequences of one length is another one under autocast
    parts += [_are_equal(each) for each in batch.inputs if _may_be_lengths(each)]
    return tuple(parts)


def _may_be_lengths(argument: Any) -> bool:
    if not isinstance(argument, Tensor) or argument.dim() != 1 or argument.device.type != "cpu":
        return False
    return not (argument.is_floating_point() or argument.is_complex())


def _are_equal(numbers: Tensor) -> bool:
    return bool((numbers == numbers[:1]).all())


@contextmanager
def unwritten(batch: Batch) -> Iterator[None]:
    """Put the batch's numbers back where the block wrote into them, and raise OffTapeError.

    A step that is tried more than once must begin with the same numbers each time.
    """
    tensors = tensors_of(batch)
    before = [(each.clone(), version_of(each)) for each in tensors]
    is_written = False
    try:
        yield
    finally:
        for each, (numbers, version) in zip(tensors, before, strict=True):
            if version_of(each) != version:
                is_written = True
                each.copy_(numbers)
    if is_written:
        raise OffTapeError("its forward pass writes into the batch")


def version_of(tensor: Tensor) -> int:
    """Return how often a tensor was written into; 0 for one that torch does not let be written."""
    return 0 if tensor.is_inference() else tensor._version


def is_autocast(batch: Batch) -> bool:
    """Return whether autocast is on for the batch."""
    return torch._C._is_any_autocast_enabled() and any(
        torch.is_autocast_enabled(each.device.type) for each in tensors_of(batch)
    )
