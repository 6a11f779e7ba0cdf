"""What a step shows of its layers, as numbers that stay on the device.

`LayerWatch` is told each layer's output and the loss's gradient by it, by whoever runs the step:
the tape, or autograd with hooks (watched_engine.py). It keeps no activation: each is reduced as it
is seen.

grad/activation/<name>       2-norm of the loss's gradient by a layer's output, over the whole batch
grad/time/<name>             the same for the state of a recurrent layer after each time step
activation/dead/<name>       fraction of an activation's units that are 0 for the whole batch
activation/saturated/<name>  fraction of an activation's outputs in its flat ends
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from bptrain import tags
from bptrain.monitor.activation_statistics import (
    alive_states,
    alive_units,
    flat_ends,
    flat_gates,
    units_axis,
)
from bptrain.monitor.magnitudes import octaves
from bptrain.monitor.sample_gradients import SampleGradients
from bptrain.monitor.time_profile import Part, norm_of, norms_by_step, profile
from bptrain.ops.bptt_fused import gradients_by_step
from bptrain.ops.scan import Saved

Numbers = dict[str, float]
Lists = dict[str, list[float]]


class Observed(NamedTuple):
    """What was observed in a step, by tag: numbers, and lists of one number for each time step."""

    numbers: dict[str, Tensor]
    series: dict[str, Tensor]

    @property
    def tensors(self) -> list[Tensor]:
        """All of it, each of one axis, to be copied to the host at once."""
        numbers = [torch.stack([*self.numbers.values()])] if self.numbers else []
        return [*numbers, *self.series.values()]

    def values(self, copied: Sequence[list[float]]) -> tuple[Numbers, Lists]:
        """Return numbers and lists by tag, given what `tensors` holds."""
        lists = iter(copied)
        numbers = next(lists) if self.numbers else []
        return (
            dict(zip(self.numbers, numbers, strict=True)),
            dict(zip(self.series, lists, strict=True)),
        )


class LayerWatch:
    """Gathers the quantities of one training step, over all of its batches.

    magnitudes  whether histograms of the layers' outputs are among them
    samples     gathers the gradients of single samples, None for nobody
    """

    def __init__(self, model: nn.Module, magnitudes: bool = False) -> None:
        self.magnitudes = magnitudes
        self.samples: SampleGradients | None = None
        self.modules = {name: module for name, module in model.named_modules() if name}
        self.batch = 0
        self.dtypes: set[torch.dtype] = set()  # of the outputs
        self._order: dict[str, int] = {}  # of the forward pass, by layer
        self._squares: dict[str, Tensor] = {}
        self._alive: dict[str, Tensor] = {}
        self._flat: dict[str, tuple[Tensor, int]] = {}
        self._parts: dict[str, list[Part]] = {}
        self._octaves: dict[str, Tensor] = {}
        self._axis = 1
        self._scans = 0
        self._scanned: set[str] = set()  # layers of bptrain.nn's, which show their scans

    def begin_batch(self) -> None:
        """Tell what follows from the batches of the step before."""
        self.batch += 1
        self._axis, self._scans = 1, 0

    def activation(self, layer: str, output: Tensor) -> None:
        """See the output of a layer."""
        module = self.modules.get(layer)
        if module is None or not output.is_floating_point():
            return
        self.dtypes.add(output.dtype)
        self._order.setdefault(layer, len(self._order))
        self._axis = units_axis(module, self._axis)
        self._add_alive(layer, alive_units(module, output, self._axis))
        self._add_flat(layer, flat_ends(module, output))
        if self.magnitudes and not any(True for _ in module.children()):
            self._octaves[layer] = self._octaves.get(layer, 0) + octaves([output])

    def gradient(self, layer: str, gradient: Tensor, batch: int | None = None) -> None:
        """See the loss's gradient by the output of a layer; of a recurrent one see `scanned`.

        A cell of torch.nn's is no scan: what it returns is its state after a time step.

        batch  whose backward pass it is, if it may not be the last one's
        """
        module = self.modules.get(layer)
        if module is None or not has_parameters(module) or self._shows_scans(layer, module):
            return
        norm = norm_of(gradient)
        self._add_square(layer, norm.square())
        if isinstance(module, nn.RNNCellBase):
            self._add_part(layer, norm.view(1), batch)

    def _shows_scans(self, layer: str, module: nn.Module) -> bool:
        """Return whether a recurrent layer's gradients are those of its scans, or unknown."""
        return isinstance(module, nn.RNNBase) or layer in self._scanned

    def scan(self, layer: str) -> str:
        """Return the name of the next scan of a layer, in the order of the forward pass.

        It is the layer's own, where it consists of one scan; else that of torch's parameters.
        """
        module, name = self.modules.get(layer), layer
        if isinstance(module, nn.RNNBase):
            directions = 2 if module.bidirectional else 1
            count = directions * module.num_layers
            stacked, is_reverse = divmod(self._scans % count, directions)
            if count > 1:
                name = f"{layer}.l{stacked}" + "_reverse" * is_reverse
            self._scans = (self._scans + 1) % count  # a layer's scans follow each other
        self._order.setdefault(name, len(self._order))
        self._scanned.add(layer)
        return name

    def scanned(
        self,
        name: str,
        upstream: Sequence[Any],
        saved: Saved,
        inputs: Sequence[Any],
        batch: int | None = None,
    ) -> None:
        """See what a scan reads and keeps for its backward pass, and the gradients by its outputs.

        upstream  by y, the last h and the last c, and more
        batch     whose backward pass it is, if it may not be the last one's
        """
        grad_y, grad_h, grad_c = upstream[:3]
        by_step = gradients_by_step(grad_y, grad_h, grad_c, saved)
        if self.samples is not None:
            self.samples.see_scan(inputs, by_step, saved)
        norms = norms_by_step(by_step.h, saved.scan.steps)
        self._add_square(name, norms.square().sum())
        self._add_part(name, norms, batch)
        self._add_alive(name, alive_states(saved))
        self._add_flat(name, flat_gates(saved))

    def _add_part(self, name: str, norms: Tensor, batch: int | None) -> None:
        part = Part(self.batch if batch is None else batch, norms)
        self._parts.setdefault(name, []).append(part)

    def _add_square(self, layer: str, square: Tensor) -> None:
        before = self._squares.get(layer)
        self._squares[layer] = square if before is None else before + square

    def _add_alive(self, layer: str, alive: Tensor | None) -> None:
        if alive is not None:
            before = self._alive.get(layer)
            self._alive[layer] = alive if before is None else before | alive

    def _add_flat(self, layer: str, flat: Tensor | None) -> None:
        if flat is not None:
            total, count = self._flat.get(layer, (torch.zeros_like(flat.sum()), 0))
            self._flat[layer] = (total + flat.sum(), count + flat.numel())

    def observed(self, scale: Tensor | None) -> Observed:
        """Return what was seen; `scale` is fp16's factor on the gradients."""
        factor = 1.0 if scale is None else scale.reciprocal()
        numbers = {
            **self._tagged(tags.activation_gradient, self._squares, lambda s: s.sqrt() * factor),
            **self._tagged(tags.dead_units, self._alive, lambda alive: 1 - alive.float().mean()),
            **self._tagged(tags.saturated, self._flat, lambda flat: flat[0] / max(flat[1], 1)),
        }
        series = self._tagged(tags.time_gradient, self._parts, lambda p: profile(p) * factor)
        series |= self._tagged(partial(tags.magnitudes, "activation"), self._octaves, lambda n: n)
        return Observed(numbers, series)

    def _tagged(
        self, tag: Callable[[str], str], found: dict[str, Any], value: Callable[[Any], Tensor]
    ) -> dict[str, Tensor]:
        """Return the values by tag, in the order of the layers."""
        names = sorted(found, key=self._order.__getitem__)
        return {tag(name): value(found[name]).float() for name in names}


def has_parameters(module: nn.Module) -> bool:
    """Return whether a module has parameters of its own, not only its parts."""
    return next(module.parameters(recurse=False), None) is not None
