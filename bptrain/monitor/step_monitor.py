"""Which steps are observed, and what is logged of them besides loss and gradient norms.

basic     nothing: gradient norms, loss and metrics are there at every level
standard  the loss's gradient by each layer's output, and over time in recurrent layers; dead and
          saturated units; norms of weights and of their updates
full      the same

Only steps that are logged are observed, and of those no more than `max_overhead` allows: an
observed step takes about as much longer as COST says, in units of a step. So it is the config that
decides which lines hold these numbers, not a clock: two runs, or a run and its resumed twin, log
the same.
"""

from collections.abc import Sequence
from math import ceil
from typing import Any, Literal, Protocol

import torch
from pydantic import Field
from torch import Tensor, nn

from bptrain import tags
from bptrain.monitor.layer_watch import LayerWatch, Observed
from bptrain.monitor.watched_engine import WatchedEngine
from bptrain.stateful import PlainState, Tree, mapping

Level = Literal["basic", "standard", "full"]
COST: dict[Level, float] = {"standard": 1.0, "full": 1.0}  # docs/benchmarks.md
NOTHING = Observed({}, {})


class Layers(Protocol):
    """The trained parameters of a model, layer by layer."""

    @property
    def names(self) -> list[str]:
        """Name of each layer."""
        ...

    @property
    def parameters(self) -> list[nn.Parameter]:
        """Those that are trained."""
        ...

    def norms_of(self, tensors: Sequence[Tensor]) -> Tensor:
        """Return each layer's norm of tensors, one for each parameter."""
        ...


class Schedule(PlainState):
    """The last step that was observed, in a checkpoint."""

    last: int | None = Field(ge=1)


class StepMonitor:
    """Observes the steps that are due, and holds what it saw until it is logged."""

    def __init__(
        self, engine: WatchedEngine, layers: Layers, level: Level, max_overhead: float | None
    ) -> None:
        self.engine, self.layers, self.level = engine, layers, level
        self.interval = 1 if max_overhead is None else ceil(COST.get(level, 0) / max_overhead)
        self.observed = NOTHING
        self._last: int | None = None
        self._watch: LayerWatch | None = None
        self._weights: list[Tensor] = []

    def before_step(self, step: int, batches: int, is_logged: bool) -> None:
        """Prepare for a step of some batches, which is observed if it is due."""
        self._watch = None
        if is_logged and self._is_due(step):
            self._last = step
            self._watch = self.engine.watch_next(batches)
            self._weights = [p.detach().clone() for p in self.layers.parameters]

    def _is_due(self, step: int) -> bool:
        if self.level == "basic":
            return False
        return self._last is None or step - self._last >= self.interval

    def after_step(self, scale: Tensor | None) -> None:
        """Gather what was seen; `scale` is fp16's factor on the gradients of the step."""
        if self._watch is None:
            return
        seen = self._watch.observed(scale)
        self.observed = Observed({**seen.numbers, **self._of_weights()}, seen.series)
        self._watch, self._weights = None, []

    @torch.no_grad()
    def _of_weights(self) -> dict[str, Tensor]:
        """Return the norms of the weights before the step, and of the step relative to them."""
        before, layers = self._weights, self.layers
        updates = torch._foreach_sub([p.detach() for p in layers.parameters], before)
        norms = layers.norms_of(before)
        ratios = layers.norms_of(updates) / norms
        return {
            **dict(zip(map(tags.update_ratio, layers.names), ratios.unbind(), strict=True)),
            **dict(zip(map(tags.weight_norm, layers.names), norms.unbind(), strict=True)),
        }

    def forget(self) -> None:
        """Release what was observed: it is logged."""
        self.observed = NOTHING

    def state(self) -> dict[str, Any]:
        """Return the last observed step, and what is not logged yet."""
        return {"last": self._last, **self.observed._asdict()}

    def restore(self, state: Tree) -> None:
        """Continue from a `state`; raises ValueError for an invalid one."""
        saved = dict(mapping(state))
        found = [mapping(saved.pop(name)) for name in Observed._fields]
        self._last = Schedule.read(saved).last
        for kind, axes in zip(found, (0, 1), strict=True):
            for tag, each in kind.items():
                if not isinstance(each, Tensor) or each.dim() != axes:
                    raise ValueError(f"what was observed of {tag} is no tensor of {axes} axes")
        self.observed = Observed(*found)
