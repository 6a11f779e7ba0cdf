"""Tensors as the bytes of a safetensors file, and back.

The library copies the tensors several times in memory. If that fails it panics: it prints to the
terminal, and `except Exception` does not catch it. So as much memory is first allocated in one
piece and freed again, which raises MemoryError where there is too little.
"""

from collections.abc import Mapping

from safetensors.torch import load, save
from torch import Tensor

COPIES_WRITING = 3  # of each tensor: made contiguous, as bytes, and in the file
COPIES_READING = 2


def content_of(tensors: Mapping[str, Tensor]) -> bytes:
    """Return the content of a file of these tensors, or raise MemoryError."""
    _ask_for(COPIES_WRITING * sum(tensor.nbytes for tensor in tensors.values()))
    return save(_writable(tensors))


def read(content: bytes) -> dict[str, Tensor]:
    """Return the tensors of a file's content; raises ValueError for an invalid one."""
    _ask_for(COPIES_READING * len(content))
    try:
        return load(content)
    except MemoryError:
        raise
    except Exception as error:  # the parser may raise anything for malicious content
        raise ValueError(f"{type(error).__name__}: {error}") from error


def _ask_for(size: int) -> None:
    bytearray(size)  # pages of zeros are mapped but not touched: this takes microseconds


def _writable(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the tensors as safetensors needs them: contiguous, none sharing memory.

    A weight that two layers share is written twice, so that the file holds every name.
    """
    written: dict[str, Tensor] = {}
    taken: set[int] = set()
    for name, tensor in tensors.items():
        alone = tensor.detach().contiguous()
        if alone.untyped_storage().data_ptr() in taken:
            alone = alone.clone()
        taken.add(alone.untyped_storage().data_ptr())
        written[name] = alone
    return written
