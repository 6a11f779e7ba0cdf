"""Image files to batches of bytes, in this process or ahead of it in worker processes."""

import signal
from collections.abc import Iterator, Sequence
from multiprocessing import forkserver, resource_tracker
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.multiprocessing import get_context
from torch.utils.data import DataLoader, Dataset

from bptrain.data.batches import generator_of
from bptrain.data.images.image_file import Form, read_image, verify_image
from bptrain.data.worker_watchdog import end_with_training, watched
from bptrain.errors import DataError, WorkerError


class Failure(NamedTuple):
    """What a worker has to say of a file; an exception would come with the worker's traceback."""

    what: str
    why: str
    hint: str


class Decoder(Dataset[Tensor]):
    """Runs in the workers: paths of a batch to bytes [B, C, H, W]."""

    def __init__(self, form: Form, verify: bool) -> None:
        self.form, self.verify = form, verify

    def __getitems__(self, files: list[str]) -> Tensor | Failure:
        """Return the images of these paths, or what is wrong with the first bad one."""
        try:
            for file in files if self.verify else ():
                verify_image(file)
            return torch.stack([read_image(file, self.form) for file in files])
        except DataError as error:
            return Failure(error.what, error.why, error.hint)


def decoded(
    batches: Sequence[Sequence[str]],
    form: Form,
    workers: int,
    *,
    timeout_s: float = 120.0,
    verify: bool = False,
    pinned: bool = False,
) -> Iterator[Tensor]:
    """Yield the bytes [B, C, H, W] of each batch of paths, in order, two batches a worker ahead.

    Workers are forked from a clean server, not from this process, whose threads and CUDA they must
    not inherit. Raises DataError for a bad file, WorkerError for a worker that is gone, out of
    shared memory, or silent for `timeout_s`.
    """
    loader: DataLoader[Any] = DataLoader(
        Decoder(form, verify),
        batch_sampler=batches,  # type: ignore[arg-type]  # whatever it yields reaches __getitems__
        num_workers=workers,
        collate_fn=_unchanged,
        pin_memory=pinned,
        worker_init_fn=end_with_training,
        multiprocessing_context=_server() if workers else None,
        # or the loader would draw from the global generator, and change what dropout draws next
        generator=generator_of(0),
    )
    try:
        for pixels in watched(loader, timeout_s) if workers else loader:
            if isinstance(pixels, Failure):
                raise DataError(*pixels)
            yield pixels
    except (RuntimeError, OSError, EOFError) as error:
        # torch notices a dead worker by its number, or by the connection that its batch came over
        if not workers:
            raise
        raise WorkerError(
            "a data-loader worker failed or is gone",
            str(error) or "it broke off while handing over a batch",
            "fewer data.workers; `bptrain doctor` tells how large /dev/shm is",
        ) from error


def _server() -> Any:
    """Return the fork server, which has imported what workers need once for all of them.

    It starts with interrupts blocked, and its workers inherit that: Ctrl-C reaches every process
    of the terminal, but it is the training process's business to save and to stop.
    """
    context = get_context("forkserver")
    context.set_forkserver_preload([__name__])
    resource_tracker.ensure_running()  # the server would start it, and that unblocks interrupts
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        forkserver.ensure_running()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
    return context


def _unchanged(batch: Any) -> Any:
    return batch
