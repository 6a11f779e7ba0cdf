"""What a model is made of, found without allocating it: the forward pass runs on `meta` tensors."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn


@dataclass
class LayerSummary:
    """One leaf module: its output shape, parameters and what it keeps for the backward pass."""

    name: str
    kind: str
    output_shape: tuple[int, ...]
    parameters: int
    kept_bytes: int = 0


def summarize(model: nn.Module, input_shape: Sequence[int], batch_size: int) -> list[LayerSummary]:
    """Return a row per leaf module, in the order of the forward pass.

    `model` lives on the meta device. Bytes that two layers keep together (ReLU's output is the
    next layer's input) count once, for the first of them; parameters do not count.
    """
    rows: list[LayerSummary] = []
    counted = {parameter.untyped_storage()._cdata for parameter in model.parameters()}
    alive = []  # keeps each counted storage alive, so that none of its addresses is given again
    pending_bytes = 0

    def pack(tensor: Tensor) -> Tensor:
        nonlocal pending_bytes
        storage = tensor.untyped_storage()
        if storage._cdata not in counted:
            counted.add(storage._cdata)
            alive.append(storage)
            pending_bytes += tensor.numel() * tensor.element_size()
        return tensor

    def row_of(name: str) -> Any:
        def add(layer: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
            nonlocal pending_bytes
            parameters = sum(p.numel() for p in layer.parameters())
            shape = tuple(output.shape)
            rows.append(LayerSummary(name, type(layer).__name__, shape, parameters, pending_bytes))
            pending_bytes = 0

        return add

    handles = [
        layer.register_forward_hook(row_of(name))
        for name, layer in model.named_modules()
        if not any(layer.children())
    ]
    sample = torch.empty(batch_size, *input_shape, device="meta")
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        model(sample)
    for handle in handles:
        handle.remove()
    return rows
