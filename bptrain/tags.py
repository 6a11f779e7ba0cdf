"""The names under which numbers are logged: TensorBoard tags, and keys of `metrics.jsonl`.

docs/tensorboard.md explains each of them.
"""

from collections.abc import Mapping
from math import inf
from typing import Literal, NamedTuple, TypeAlias

Split: TypeAlias = Literal["train", "val", "test"]

TRAIN_LOSS = "train/loss"
TRAIN_ACCURACY = "train/accuracy"
VAL_LOSS = "val/loss"
VAL_THRESHOLD = "val/threshold"
LEARNING_RATE = "train/lr"
EPOCH = "train/epoch"
LOSS_SCALE = "train/loss_scale"
SKIPPED_STEPS = "train/skipped_steps"
ROLLBACKS = "train/rollbacks"
GRAD_TOTAL = "grad/total"
GRAD_TOTAL_CLIPPED = "grad/total_clipped"
ANGLE = "grad/angle"
SAMPLES_PER_S = "perf/samples_per_s"
STEP_MS = "perf/step_ms"
MEMORY_MB = "perf/memory_mb"
MONITOR_OVERHEAD = "perf/monitor_overhead"
GRAD_COSINE = "grad/cosine"
SAMPLE_GRADIENT = "grad/sample/mean"
LARGEST_SAMPLE_GRADIENT = "grad/sample/max"
NOISE_SCALE = "grad/noise_scale"
MAGNITUDES = "magnitude/"  # begins a histogram of magnitudes
CHANCE_LOSS = "data/chance_loss"
INPUT_RMS = "data/input_rms"
TARGET_RMS = "data/target_rms"
CLASSES = "data/classes"
TIME_STEPS = "data/time_steps"
VERDICT = "verdict/"
BASELINE = "baseline/"  # begins the metrics of predictions that a run is compared with
MEASURED = "perf/"  # begins what a clock or a meter decides
# TensorBoard sorts by tag, capital letters first, and opens the first two groups
CURVES = "Curves/"  # begins copies, on the board alone, of the curves to look at first
FLOW = "Flow/"  # begins pictures of the gradient's way through the network


class Ranking(NamedTuple):
    """What decides which of two evaluations is better: a validation metric, and its direction."""

    tag: str = VAL_LOSS
    larger_is_better: bool = False

    def cost(self, metrics: Mapping[str, float]) -> float:
        """Return a number that is smaller for better metrics, and infinite without the metric."""
        value = metrics.get(self.tag)
        return inf if value is None else -value if self.larger_is_better else value

    def is_better(self, one: float, other: float, by_more_than: float = 0.0) -> bool:
        """Tell whether the first of two values is better."""
        if self.larger_is_better:
            return one > other + by_more_than
        return one < other - by_more_than


BY_LOSS = Ranking()


def of_split(split: Split, metrics: dict[str, float]) -> dict[str, float]:
    """Return the metrics of a split by tag."""
    return {split_tag(split, name): value for name, value in metrics.items()}


def split_tag(split: Split, name: str) -> str:
    """Return the tag of a metric, or of a figure, of a split."""
    return f"{split}/{name}"


def of_baseline(name: str, metrics: dict[str, float]) -> dict[str, float]:
    """Return the metrics of a baseline by tag."""
    return {f"{BASELINE}{name}/{metric}": value for metric, value in metrics.items()}


def curve(tag: str) -> str:
    """Return the tag of the copy of a curve that stands at the top of the board."""
    return CURVES + tag.replace("/", "_")


def flow(name: str) -> str:
    """Return the tag of a picture of the gradient's way through the network."""
    return FLOW + name


def layer_gradient(layer: str) -> str:
    """Return the tag of the gradient norm of a layer."""
    return f"grad/layer/{layer}"


def layer_gradient_clipped(layer: str) -> str:
    """Return the tag of the gradient norm of a layer after clipping."""
    return f"grad/layer_clipped/{layer}"


def activation_gradient(layer: str) -> str:
    """Return the tag of the norm of the loss's gradient by a layer's output."""
    return f"grad/activation/{layer}"


def time_gradient(layer: str) -> str:
    """Return the tag of the norms of the loss's gradient by a layer's state over time, a list."""
    return f"grad/time/{layer}"


def magnitudes(of: Literal["weight", "grad", "activation"], layer: str) -> str:
    """Return the tag of a histogram of magnitudes, a list."""
    return f"{MAGNITUDES}{of}/{layer}"


def update_ratio(layer: str) -> str:
    """Return the tag of the norm of a layer's update, relative to that of its weights."""
    return f"update_ratio/{layer}"


def weight_norm(layer: str) -> str:
    """Return the tag of the norm of a layer's weights."""
    return f"weight/norm/{layer}"


def weight_growth(layer: str) -> str:
    """Return the tag of a layer's growth a step, from the start to the first observed step."""
    return f"weight/growth/{layer}"


def dead_units(layer: str) -> str:
    """Return the tag of the fraction of a layer's units that are 0 for the whole batch."""
    return f"activation/dead/{layer}"


def saturated(layer: str) -> str:
    """Return the tag of the fraction of a layer's outputs in its flat ends."""
    return f"activation/saturated/{layer}"


def layer_angle(layer: str) -> str:
    """Return the tag of the angle between a layer's update by a learning rule and its gradient."""
    return f"{ANGLE}/{layer}"


def verdict(kind: str) -> str:
    """Return the tag of a verdict of a kind."""
    return f"{VERDICT}{kind}"
