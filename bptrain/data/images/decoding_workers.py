"""Batches of image files decoded to bytes, in this process or ahead of it in worker processes."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from bptrain.data.images.image_file import ImageShape, read_image
from bptrain.data.worker_processes import computed_ahead


@dataclass(frozen=True)
class Decoder:
    """From the paths of a batch to its bytes [B, C, H, W]."""

    shape: ImageShape

    def __call__(self, files: Sequence[str]) -> NDArray[np.uint8]:
        """Return the images, or raise DataError about the first bad one."""
        pixels: NDArray[Any] = np.stack([read_image(file, self.shape).numpy() for file in files])
        return pixels


def decoded(
    batches: Sequence[Sequence[str]], shape: ImageShape, workers: int, timeout_s: float = 120.0
) -> Iterator[Tensor]:
    """Yield the bytes [B, C, H, W] of each batch of paths, in order.

    Raises DataError for a bad file, and WorkerError as `computed` does.
    """
    for pixels in computed(Decoder(shape), batches, workers, timeout_s):
        yield torch.from_numpy(pixels)


def computed(
    task: Callable[[Sequence[str]], NDArray[np.uint8]],
    batches: Sequence[Sequence[str]],
    workers: int,
    timeout_s: float,
) -> Iterator[NDArray[np.uint8]]:
    """Yield a task's result for each batch of paths, in order, in this process or by workers.

    Raises what the task raises, and WorkerError for a worker that is gone or gives no batch for
    `timeout_s`.
    """
    return computed_ahead(task, batches, workers, timeout_s) if workers else map(task, batches)
