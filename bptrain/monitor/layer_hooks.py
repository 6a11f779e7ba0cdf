"""Hooks that tell a watch of the layers of a model that autograd runs."""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from bptrain.monitor.layer_watch import LayerWatch
from bptrain.monitor.sample_gradients import SampleGradients
from bptrain.ops.bptt import bptt_function
from bptrain.ops.kernels import chosen_kernels
from bptrain.ops.operation import Operation, saved_by
from bptrain.ops.packed_rows import PackedRows, rows_of_lengths
from bptrain.ops.recording import recorded_by
from bptrain.tape.layers import Layers


class LayerHooks:
    """Tells a watch of forward passes, and by hooks on tensors of the backward passes that follow.

    The hooks on modules are there for a forward pass alone, those on tensors until `remove`.
    """

    def __init__(self, model: nn.Module, watch: LayerWatch) -> None:
        self.watch = watch
        names = {module: name for name, module in model.named_modules()}
        self.layers = Layers(names, self._returned)
        self._hooks = ExitStack()

    @contextmanager
    def listening(self, running: Sequence[nn.Module] = ()) -> Iterator[None]:
        """Listen inside the block to a forward pass.

        running  modules that are running already
        """
        with self.layers.noted(running), recorded_by(self):
            yield

    def remove(self) -> None:
        """Remove the hooks on tensors."""
        self._hooks.close()

    def _returned(self, layer: str, output: Tensor) -> None:
        batch = self.watch.batch
        self.watch.activation(layer, output.detach())
        if output.requires_grad:
            hook = output.register_hook(lambda grad: self.watch.gradient(layer, grad, batch))
            self._hooks.callback(hook.remove)

    def pack(self, lengths: Tensor, steps: int, device: torch.device) -> PackedRows:
        """Return the PackedRows of sequences of these lengths."""
        return rows_of_lengths(lengths, steps, device)

    def sizes(self, batch_sizes: Tensor) -> tuple[int, ...]:
        """Return how many sequences each time step of packed rows has."""
        return tuple(batch_sizes.tolist())

    def call(
        self, operation: Operation[Any], inputs: tuple[Any, ...], in_place: bool = False
    ) -> Any:
        """Carry out an operation by autograd; of a scan over time, watch the backward pass."""
        function = operation.function_in_place if in_place else operation.function
        outputs = function.apply(*inputs)
        first = outputs[0] if isinstance(outputs, tuple) else outputs
        if operation is bptt_function and first.requires_grad:
            self._watch_scan(first.grad_fn, inputs)
        elif self.watch.samples is not None and first.requires_grad:
            self._watch_samples(self.watch.samples, operation, inputs, first.grad_fn)
        return outputs

    def _watch_samples(
        self,
        samples: SampleGradients,
        operation: Operation[Any],
        inputs: tuple[Any, ...],
        node: Any,
    ) -> None:
        passes = operation.passes(chosen_kernels())
        hook = node.register_prehook(
            lambda upstream: samples.see(operation, passes, inputs, upstream[0])
        )
        self._hooks.callback(hook.remove)

    def _watch_scan(self, node: Any, inputs: tuple[Any, ...]) -> None:
        name, batch = self.watch.scan(self.layers.current), self.watch.batch
        hook = node.register_prehook(
            lambda upstream: self.watch.scanned(name, upstream, saved_by(node), inputs, batch)
        )
        self._hooks.callback(hook.remove)
