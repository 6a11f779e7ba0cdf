"""Which steps are observed, and what is logged of them besides loss and gradient norms.

basic     nothing: gradient norms, loss and metrics are there at every level
standard  the loss's gradient by each layer's output, and over time in recurrent layers; dead and
          saturated units; norms of weights and of their updates
full      also the norms of single samples' gradients, and of them the gradient noise scale; the
          cosine of the gradient and the one a step before; and in every fourth observed step
          histograms of weights, gradients and outputs

Only steps that are logged are observed, and of those no more than `max_overhead` allows: an
observed step takes about as much longer as `cost_of` says, in units of a step. So it is the config
that decides which lines hold these numbers, not a clock: two runs, or a run and the same one
resumed, log the same.
"""

from collections.abc import Callable, Mapping, Sequence
from math import ceil
from typing import Any, Literal, Protocol

import torch
from pydantic import Field
from torch import Tensor, nn

from bptrain import tags
from bptrain.monitor.layer_watch import LayerWatch, Observed
from bptrain.monitor.magnitudes import octaves
from bptrain.monitor.noise_scale import averaged, moments, noise_scale
from bptrain.monitor.sample_gradients import SampleGradients
from bptrain.stateful import PlainState, Tree, mapping

Level = Literal["basic", "standard", "full"]
COST: dict[Level, float] = {"standard": 1.0, "full": 2.0}  # docs/benchmarks.md
COST_OF_SMALL: dict[Level, float] = {"standard": 1.0, "full": 4.0}
RECURRENT = (nn.RNNBase, nn.RNNCellBase)
COST_OF_RECURRENT: dict[Level, float] = {"standard": 2.0, "full": 2.5}
SMALL = 2**16  # weights a layer, below which a step takes as long as its kernels are many
MAGNITUDES_EVERY = 4  # observed steps
MOST_STEPS = 10**12  # of a run
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

    @property
    def layers(self) -> list[int]:
        """The layer of each parameter, as an index into `names`."""
        ...

    def norms_of(self, tensors: Sequence[Tensor]) -> Tensor:
        """Return each layer's norm of tensors, one for each parameter."""
        ...


class Watchable(Protocol):
    """What tells a watch of a step's layers."""

    model: nn.Module

    def watch_next(self, batches: int, watch: LayerWatch | None = None) -> LayerWatch:
        """Return a watch that will be told of the next step."""
        ...


class Observations(PlainState):
    """The observed steps, in a checkpoint: the last one, and how many."""

    last: int | None = Field(ge=1, le=MOST_STEPS)
    count: int = Field(ge=0, le=MOST_STEPS)


class StepMonitor:
    """Observes the steps that are due, and holds what it saw until it is logged.

    tell  is given the reason why something is not observed, once
    """

    def __init__(
        self,
        engine: Watchable,
        layers: Layers,
        level: Level,
        max_overhead: float | None,
        tell: Callable[[str], None],
    ) -> None:
        self.engine, self.layers, self.level, self.tell = engine, layers, level, tell
        cost = cost_of(engine.model, layers, level)
        self.interval = 1 if max_overhead is None else ceil(cost / max_overhead)
        self.observed = NOTHING
        self.has_told = False
        self._made = Observations(last=None, count=0)
        self._moments: Tensor | None = None  # of the gradients of samples, averaged
        self._start: Tensor | None = None  # norms of the layers at first, until a step is observed
        if level != "basic":
            self._start = layers.norms_of([p.detach() for p in layers.parameters])
        self._before: list[Tensor] = []  # the gradients of the step before an observed one
        self._keeps_gradients = False
        self._watch: LayerWatch | None = None
        self._weights: list[Tensor] = []
        self._grown: dict[str, Tensor] = {}

    def before_step(self, step: int, batches: int, is_logged: bool, next_is_logged: bool) -> None:
        """Prepare for a step of some batches, which is observed if it is due."""
        self.prepare(step, batches, is_logged, next_is_logged)
        self.see_weights()

    def prepare(self, step: int, batches: int, is_logged: bool, next_is_logged: bool) -> None:
        """Let the layers of a step be watched if it is due; 0 batches: their number is unknown."""
        self._watch = None
        if is_logged and self._is_due(step):
            watch = LayerWatch(self.engine.model, self._shows_magnitudes)
            if self.level == "full" and batches == 1:
                watch.samples = SampleGradients(self.layers.parameters)
            self._watch = self.engine.watch_next(batches, watch)
            self._made = Observations(last=step, count=self._made.count + 1)
        self._keeps_gradients = self.level == "full" and next_is_logged and self._is_due(step + 1)

    def see_weights(self) -> None:
        """Keep the weights of an observed step, before its update."""
        if self._watch is not None:
            self._weights = [p.detach().clone() for p in self.layers.parameters]
            self._grown = self._growth()

    def see_other(self, layers: Layers) -> None:
        """Observe other layers from now on: a user's model may be trained in part at first."""
        self.layers, self._start, self._before = layers, None, []

    @property
    def observes(self) -> bool:
        """Whether the step that was prepared is observed."""
        return self._watch is not None

    @property
    def count(self) -> int:
        """How many steps were observed, over all resumes."""
        return self._made.count

    def _is_due(self, step: int) -> bool:
        if self.level == "basic":
            return False
        return self._made.last is None or step - self._made.last >= self.interval

    @property
    def _shows_magnitudes(self) -> bool:
        return self.level == "full" and self._made.count % MAGNITUDES_EVERY == 0

    def after_step(self, scale: Tensor | None, total: Tensor) -> None:
        """Gather what was seen.

        scale  fp16's factor on the gradients of the step
        total  norm of the gradient of all weights
        """
        self.see_gradients(scale, total)
        self.see_update()

    @torch.no_grad()
    def see_gradients(self, scale: Tensor | None, total: Tensor) -> None:
        """Gather what the backward passes showed, before the gradients are cleared."""
        if self._watch is None and not self._keeps_gradients:
            self._before = []
            return
        gradients = [p.grad for p in self.layers.parameters]
        if self._watch is not None:
            numbers, series = self._watch.observed(scale)
            numbers |= self._of_samples(self._watch.samples, total)
            numbers |= self._of_the_step_before(gradients)
            if self._watch.magnitudes:
                series |= self._magnitudes(gradients)
            self.observed = Observed(numbers, series)
        self._watch = None
        keeps = self._keeps_gradients and None not in gradients
        self._before = [g.clone() for g in gradients if g is not None] if keeps else []

    @torch.no_grad()
    def see_update(self) -> None:
        """Add what the update did to the weights of an observed step."""
        if self._weights:
            self.note(self._of_weights())

    def _of_weights(self) -> dict[str, Tensor]:
        """Return the norms of the weights before the step, and of the step relative to them."""
        before, layers = self._weights, self.layers
        updates = torch._foreach_sub([p.detach() for p in layers.parameters], before)
        norms = layers.norms_of(before)
        ratios = layers.norms_of(updates) / norms
        return {
            **self._grown,
            **dict(zip(map(tags.update_ratio, layers.names), ratios.unbind(), strict=True)),
            **dict(zip(map(tags.weight_norm, layers.names), norms.unbind(), strict=True)),
        }

    def _growth(self) -> dict[str, Tensor]:
        """Return, once, how much each layer has grown since the start, a step.

        As |W_t| <= |W_0| + t mean|dW|, a mean step was at least this share of the first weights.
        """
        start, steps = self._start, (self._made.last or 1) - 1
        self._start = None
        if start is None or not steps:
            return {}
        norms = self.layers.norms_of(self._weights)
        growth = torch.where(start > 0, norms / start - 1, 0.0) / steps
        return dict(zip(map(tags.weight_growth, self.layers.names), growth.unbind(), strict=True))

    def _of_samples(self, seen: SampleGradients | None, total: Tensor) -> dict[str, Tensor]:
        """Return the norms of samples' own gradients, and the noise scale."""
        if seen is None or seen.samples < 2:
            return {}
        norms = seen.norms()
        if norms is None:
            if not self.has_told:
                self.tell(f"no gradients of single samples: {seen.reason}")
            self.has_told = True
            return {}
        own = norms * seen.samples
        self._moments = averaged(self._moments, moments(own, total, seen.samples))
        return {
            tags.SAMPLE_GRADIENT: own.mean(),
            tags.LARGEST_SAMPLE_GRADIENT: own.max(),
            tags.NOISE_SCALE: noise_scale(self._moments),
        }

    def _of_the_step_before(self, gradients: Sequence[Tensor | None]) -> dict[str, Tensor]:
        """Return the cosine of the gradient and that of the step before, if it is known."""
        now = [each for each in gradients if each is not None]
        if not self._before or [g.shape for g in now] != [g.shape for g in self._before]:
            return {}
        product = torch.stack([(a * b).sum() for a, b in zip(now, self._before, strict=True)]).sum()
        lengths = [torch.stack(torch._foreach_norm(each)).norm() for each in (now, self._before)]
        return {tags.GRAD_COSINE: product / (lengths[0] * lengths[1])}

    def _magnitudes(self, gradients: Sequence[Tensor | None]) -> dict[str, Tensor]:
        """Return the histograms of each layer's weights and gradients."""
        found: dict[str, Tensor] = {}
        for number, name in enumerate(self.layers.names):
            own = [place for place, layer in enumerate(self.layers.layers) if layer == number]
            there = [g for place in own if (g := gradients[place]) is not None]
            found[tags.magnitudes("weight", name)] = octaves(self._weights[n] for n in own)
            if there:
                found[tags.magnitudes("grad", name)] = octaves(there)
        return found

    def note(self, numbers: Mapping[str, Tensor]) -> None:
        """Add numbers of the last step, scalars by tag, to what the next log line holds."""
        seen = self.observed
        self.observed = Observed({**seen.numbers, **numbers}, seen.series)

    @property
    def noise_scale(self) -> float | None:
        """The gradient noise scale, None if it was not observed; this waits for the device."""
        return None if self._moments is None else float(noise_scale(self._moments))

    def forget(self) -> None:
        """Release what was observed: it is logged."""
        self.observed, self._weights = NOTHING, []

    def state(self) -> dict[str, Any]:
        """Return what the next observations depend on, and what is not logged yet."""
        optional = {"moments": self._moments, "start": self._start}
        return {
            **self._made.model_dump(),
            **self.observed._asdict(),
            "before": dict(zip(map(str, range(len(self._before))), self._before, strict=True)),
            **{name: each for name, each in optional.items() if each is not None},
        }

    def restore(self, state: Tree) -> None:
        """Continue from a `state`; raises ValueError for an invalid one."""
        saved = dict(mapping(state))
        numbers, series = (
            tensors_of(saved.pop(name), axes)
            for name, axes in zip(Observed._fields, (0, 1), strict=True)
        )
        before = tensors_of(saved.pop("before"))
        expected = [p.shape for p in self.layers.parameters]
        if before and [each.shape for each in before.values()] != expected:
            raise ValueError("the gradients of the step before are those of another model")
        known = tensors_of({k: saved.pop(k) for k in ("moments", "start") if k in saved}, 1)
        if "start" in known and len(known["start"]) != len(self.layers.names):
            raise ValueError("the norms of the layers are those of another model")
        self._made = Observations.read(saved)
        self.observed, self._before = Observed(numbers, series), [*before.values()]
        self._moments, self._start = known.get("moments"), known.get("start")


def cost_of(model: nn.Module, layers: Layers, level: Level) -> float:
    """Return how much longer an observed step takes, in units of a step, by what the model has.

    Recurrent layers go back over time once more. Of small layers a step is as long as its kernels
    are many, and `full` runs several for each of them: one sample's backward pass at a time.
    """
    if any(isinstance(module, RECURRENT) for module in model.modules()):
        return COST_OF_RECURRENT.get(level, 0.0)
    weights = sum(p.numel() for p in layers.parameters)
    return (COST_OF_SMALL if weights < SMALL * len(layers.names) else COST).get(level, 0.0)


def tensors_of(state: Tree, axes: int | None = None) -> dict[str, Tensor]:
    """Return tensors by name, with so many axes, or raise ValueError."""
    for name, each in mapping(state).items():
        if not isinstance(each, Tensor) or axes not in (None, each.dim()):
            raise ValueError(f"{name} of what was observed is no tensor of {axes} axes")
    return mapping(state)
