"""Summary of a model's layers, from a forward pass; on the meta device nothing is allocated."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from bptrain.nn.counterparts import is_ours
from bptrain.problem import Problem


@dataclass
class LayerSummary:
    """One call of a layer: its output shape, parameters and bytes saved for the backward pass.

    A layer is a module of bptrain.nn, or any other module without submodules. The parameters of a
    layer that is called again are counted once.
    """

    name: str
    kind: str
    output_shape: tuple[int, ...]
    parameters: int
    saved_bytes: int = 0


class SavedBytes:
    """Context manager that counts the bytes that forward passes save for the backward pass.

    A storage that several layers save (ReLU's output is the next layer's input) counts once, for
    the first of them; parameters and buffers, which exist anyway, do not count.
    """

    def __init__(self, model: nn.Module) -> None:
        own = [*model.parameters(), *model.buffers()]
        self._counted = {each.untyped_storage()._cdata for each in own}
        self._alive: list[Any] = []  # so that no counted storage's address is reused
        self._pending = 0
        self._hooks = torch.autograd.graph.saved_tensors_hooks(self._pack, lambda tensor: tensor)

    def _pack(self, tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage._cdata not in self._counted:
            self._counted.add(storage._cdata)
            self._alive.append(storage)
            self._pending += storage.nbytes()
        return tensor

    def take(self) -> int:
        """Return the bytes counted since the last call."""
        taken, self._pending = self._pending, 0
        return taken

    def __enter__(self) -> "SavedBytes":
        self._hooks.__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        self._hooks.__exit__(*error)


def summarize(model: nn.Module, problem: Problem, batch_size: int) -> list[LayerSummary]:
    """Return a row per call of a layer, in the order of the forward pass of a batch.

    A model on the meta device allocates nothing; any other is run on zeros.
    """
    rows: list[LayerSummary] = []
    device = next((each.device for each in model.parameters()), torch.device("meta"))
    saved = SavedBytes(model)
    counted: set[nn.Parameter] = set()

    def row_of(name: str) -> Any:
        def add(layer: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
            own = set(layer.parameters()) - counted
            counted.update(own)
            parameters = sum(each.numel() for each in own)
            shape = tuple(_first_tensor(output).shape)
            rows.append(LayerSummary(name, type(layer).__name__, shape, parameters, saved.take()))

        return add

    handles = [
        layer.register_forward_hook(row_of(name)) for layer, name in layers_of(model).items()
    ]
    with saved:
        model(*_example(problem, batch_size, device))
    for handle in handles:
        handle.remove()
    if rows:
        rows[-1].saved_bytes += saved.take()  # saved by a composite module after its last layer
    return rows


def layers_of(module: nn.Module, name: str = "") -> dict[nn.Module, str]:
    """Return the layers of a module and their names; a bptrain.nn module is one layer."""
    if is_ours(module) or not any(module.children()):
        return {module: name}
    layers: dict[nn.Module, str] = {}
    for child_name, child in module.named_children():
        below = layers_of(child, f"{name}.{child_name}" if name else child_name)
        layers = below | layers  # a shared module has its first name
    return layers


def _first_tensor(output: Any) -> Tensor:
    """Return the tensor that a layer returns, or the first of several."""
    while not isinstance(output, Tensor):
        output = output[0]
    return output


def _example(problem: Problem, batch_size: int, device: torch.device) -> tuple[Any, ...]:
    """Return the arguments of a forward pass."""
    dtype = torch.int64 if problem.vocabulary else torch.float32
    inputs = torch.empty(batch_size, *problem.input_shape, dtype=dtype, device=device)
    if not inputs.is_meta:
        inputs.zero_()
    if problem.varies:  # the longest lengths, on the CPU, where the scan over time reads them
        return inputs, torch.full((batch_size,), problem.input_shape[0])
    return (inputs, True) if problem.output_kind.per == "carried step" else (inputs,)
