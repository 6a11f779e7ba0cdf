"""Tensors as the bytes of a safetensors file, and back.

The library builds a file several times over in memory. Where that fails it panics: its message
goes to the terminal, and no `except Exception` sees it. So there is asked for as much memory first,
in one piece that is given back at once: what is refused is then a MemoryError.
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
    """Return the tensors of a file's content; raises ValueError for what is no such file."""
    _ask_for(COPIES_READING * len(content))
    try:
        return load(content)
    except MemoryError:
        raise
    except Exception as error:  # of bytes that anyone may have made: whatever a parser raises
        raise ValueError(f"{type(error).__name__}: {error}") from error


def _ask_for(size: int) -> None:
    bytearray(size)  # the system lends zeros without touching them: this takes microseconds


def _writable(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the tensors as safetensors takes them: contiguous, none in the memory of another.

    A weight that two layers share is written twice, so that every name is there to be read.
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
