"""What a model is made of, found without allocating it: the forward pass runs on `meta` tensors."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from bptrain.problem import Problem


@dataclass
class LayerSummary:
    """One leaf module: its output shape, parameters and what it keeps for the backward pass."""

    name: str
    kind: str
    output_shape: tuple[int, ...]
    parameters: int
    kept_bytes: int = 0


class KeptBytes:
    """While entered, counts what forward passes keep for the backward pass.

    A storage that several layers keep (ReLU's output is the next layer's input) counts once, for
    the first of them; parameters do not count.
    """

    def __init__(self, model: nn.Module) -> None:
        self._counted = {each.untyped_storage()._cdata for each in model.parameters()}
        self._alive: list[Any] = []  # so that no counted storage's address is given again
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

    def __enter__(self) -> "KeptBytes":
        self._hooks.__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        self._hooks.__exit__(*error)


def summarize(model: nn.Module, problem: Problem, batch_size: int) -> list[LayerSummary]:
    """Return a row per leaf module, in the order of the forward pass of a batch.

    `model` lives on the meta device.
    """
    rows: list[LayerSummary] = []
    kept = KeptBytes(model)

    def row_of(name: str) -> Any:
        def add(layer: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
            parameters = sum(p.numel() for p in layer.parameters())
            shape = tuple(output.shape)
            rows.append(LayerSummary(name, type(layer).__name__, shape, parameters, kept.take()))

        return add

    handles = [
        layer.register_forward_hook(row_of(name))
        for name, layer in model.named_modules()
        if not any(layer.children())
    ]
    with kept:
        model(*_example(problem, batch_size))
    for handle in handles:
        handle.remove()
    return rows


def _example(problem: Problem, batch_size: int) -> tuple[Tensor, ...]:
    """Return the arguments of a forward pass, without memory behind them."""
    dtype = torch.int64 if problem.vocabulary else torch.float32
    inputs = torch.empty(batch_size, *problem.input_shape, dtype=dtype, device="meta")
    return (inputs,)
