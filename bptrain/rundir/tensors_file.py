"""Tensors as the bytes of a safetensors file, and back.

A checkpoint is written tensor by tensor (`parts_of`), so that no more than one is in memory besides
those of the run. Elsewhere the library makes the whole content (`content_of`): the bytes are the
same. The library copies the tensors several times in memory. If that fails it panics: it prints to
the terminal, and `except Exception` does not catch it. So as much memory is first allocated in one
piece and freed again, which raises MemoryError where there is too little.
"""

import json
from collections.abc import Callable, Iterator, Mapping

import torch
from safetensors.torch import load, save
from torch import Tensor

COPIES_WRITING = 3  # of each tensor: made contiguous, as bytes, and in the file
COPIES_READING = 2
CODES = {  # of the format, in the order in which its tensors follow each other
    torch.uint64: "U64",
    torch.int64: "I64",
    torch.float64: "F64",
    torch.float32: "F32",
    torch.uint32: "U32",
    torch.int32: "I32",
    torch.bfloat16: "BF16",
    torch.float16: "F16",
    torch.uint16: "U16",
    torch.int16: "I16",
    torch.int8: "I8",
    torch.uint8: "U8",
    torch.bool: "BOOL",
}
ALIGNED = 8  # bytes


def content_of(tensors: Mapping[str, Tensor]) -> bytes:
    """Return the content of a file of these tensors, or raise MemoryError."""
    _ask_for(COPIES_WRITING * sum(tensor.nbytes for tensor in tensors.values()))
    return save(_writable(tensors))


def in_file_order(tensors: Mapping[str, Tensor]) -> list[str]:
    """Return the names of tensors in the order of a file: the largest elements first."""
    places = {dtype: place for place, dtype in enumerate(CODES)}
    for name, tensor in tensors.items():
        if tensor.dtype not in places:
            raise ValueError(f"{name}: a file cannot hold {tensor.dtype}")
    return sorted(tensors, key=lambda name: (places[tensors[name].dtype], name))


def parts_of(
    tensors: Mapping[str, Tensor], whole: Callable[[Tensor], Tensor]
) -> Iterator[bytes | memoryview]:
    """Yield the content of a file of these tensors: its header, and the bytes of each.

    whole  returns all of a tensor, when its bytes are due
    """
    names, end = in_file_order(tensors), 0
    header: dict[str, dict[str, object]] = {}
    for name in names:
        tensor, begin = tensors[name], end
        end += tensor.numel() * tensor.element_size()
        header[name] = {
            "dtype": CODES[tensor.dtype],
            "shape": list(tensor.shape),
            "data_offsets": [begin, end],
        }
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % ALIGNED)
    yield len(text).to_bytes(8, "little") + text
    for name in names:
        yield _bytes_of(whole(tensors[name]))


def _bytes_of(tensor: Tensor) -> memoryview:
    held = tensor.detach().cpu().contiguous()
    return held.view(-1).view(torch.uint8).numpy().data


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
