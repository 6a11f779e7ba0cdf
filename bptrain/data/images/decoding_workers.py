"""Batches of image files decoded to bytes, in this process or ahead of it in worker processes."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from bptrain.data.images.image_file import ImageShape, read_image, verify_image
from bptrain.data.worker_processes import computed_ahead


@dataclass(frozen=True)
class Decoder:
    """From the paths of a batch to its bytes [B, C, H, W].

    verify  check checksums too, which decoding does not
    """

    shape: ImageShape
    verify: bool

    def __call__(self, files: Sequence[str]) -> NDArray[np.uint8]:
        """Return the images, or raise DataError about the first bad one."""
        for file in files if self.verify else ():
            verify_image(file)
        pixels: NDArray[Any] = np.stack([read_image(file, self.shape).numpy() for file in files])
        return pixels


def decoded(
    batches: Sequence[Sequence[str]],
    shape: ImageShape,
    workers: int,
    *,
    timeout_s: float = 120.0,
    verify: bool = False,
) -> Iterator[Tensor]:
    """Yield the bytes [B, C, H, W] of each batch of paths, in order.

    Raises DataError for a bad file, and WorkerError for a worker that is gone or gives no batch for
    `timeout_s`.
    """
    decoder = Decoder(shape, verify)
    arrays = (
        computed_ahead(decoder, batches, workers, timeout_s) if workers else map(decoder, batches)
    )
    for pixels in arrays:
        yield torch.from_numpy(pixels)
