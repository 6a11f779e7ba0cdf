"""The names under which numbers are logged: TensorBoard tags, and keys of `metrics.jsonl`.

docs/tensorboard.md explains each of them.
"""

from typing import Literal, TypeAlias

Split: TypeAlias = Literal["train", "val", "test"]

TRAIN_LOSS = "train/loss"
TRAIN_ACCURACY = "train/accuracy"
VAL_LOSS = "val/loss"
LEARNING_RATE = "train/lr"
EPOCH = "train/epoch"
LOSS_SCALE = "train/loss_scale"
GRAD_TOTAL = "grad/total"
GRAD_TOTAL_CLIPPED = "grad/total_clipped"
SAMPLES_PER_S = "perf/samples_per_s"
STEP_MS = "perf/step_ms"
MEMORY_MB = "perf/memory_mb"
MEASURED = "perf/"  # begins what a clock or a meter decides


def of_split(split: Split, metrics: dict[str, float]) -> dict[str, float]:
    """Return the metrics of a split by tag."""
    return {split_tag(split, name): value for name, value in metrics.items()}


def split_tag(split: Split, name: str) -> str:
    """Return the tag of a metric, or of a figure, of a split."""
    return f"{split}/{name}"


def layer_gradient(layer: str) -> str:
    """Return the tag of the gradient norm of a layer."""
    return f"grad/layer/{layer}"
