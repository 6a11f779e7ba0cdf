"""Tensors in one file, in safetensors' format: a JSON header of names and places, then the bytes.

    8 bytes    length of the header, little-endian
    header     {"w": {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24]}}, padded by spaces
    the rest   each tensor's bytes, one right after the other, larger numbers first

The library's own reader and writer build the whole file in memory once or twice more, and where
that fails, end in a panic that no `except Exception` sees. Here a file is written from where the
tensors lie, piece by piece, and what cannot be allocated is a MemoryError or torch's RuntimeError.
"""

import json
import struct
from collections.abc import Iterator, Mapping
from math import prod
from typing import Any, TypeAlias

import numpy as np
import torch
from torch import Tensor

from bptrain.saved_values import whole
from bptrain.train.plain_json import decode

Piece: TypeAlias = bytes | bytearray | memoryview

DTYPES = {  # in the order that the library puts them in
    "I64": torch.int64,
    "F64": torch.float64,
    "C64": torch.complex64,
    "F32": torch.float32,
    "I32": torch.int32,
    "BF16": torch.bfloat16,
    "F16": torch.float16,
    "I16": torch.int16,
    "I8": torch.int8,
    "U8": torch.uint8,
    "BOOL": torch.bool,
}
NAMES = {dtype: name for name, dtype in DTYPES.items()}
RANKS = {dtype: rank for rank, dtype in enumerate(DTYPES.values())}
LENGTH = struct.Struct("<Q")
SMALL_BYTES = 2**20  # what is smaller is gathered: a write for each bias would take its time
LARGEST_SHAPE = 2**48  # numbers, an axis of none counted as one


def pieces(tensors: Mapping[str, Tensor]) -> Iterator[Piece]:
    """Yield the content of a file of these tensors; those on another device are copied in turn."""
    names = sorted(tensors, key=lambda name: (RANKS[tensors[name].dtype], name))
    gathered = bytearray(_header({name: tensors[name] for name in names}))
    for name in names:
        flat = tensors[name].detach().cpu().contiguous().reshape(-1).view(torch.uint8)
        content = flat.numpy().data
        if len(content) < SMALL_BYTES:
            gathered += content
        if len(gathered) >= SMALL_BYTES or len(content) >= SMALL_BYTES:
            yield gathered
            gathered = bytearray()
        if len(content) >= SMALL_BYTES:
            yield content
    if gathered:
        yield gathered


def read(content: bytes) -> dict[str, Tensor]:
    """Return the tensors of a file's content; raises ValueError for what `pieces` does not make."""
    if len(content) < LENGTH.size:
        raise ValueError("too short for a header")
    (length,) = LENGTH.unpack_from(content)
    start = LENGTH.size + length
    if start > len(content):
        raise ValueError(f"a header of {length:,} bytes in a file of {len(content):,}")
    header = decode(content[LENGTH.size : start])
    try:
        entries = [(name, *_form(entry)) for name, entry in header.items()]
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"its header: {type(error).__name__}: {error}") from error
    end = 0
    for name, dtype, shape, (first, last) in sorted(entries, key=lambda entry: entry[3]):
        if first != end or last - first != prod(shape) * dtype.itemsize:
            raise ValueError(f"{name} is said to be {shape} of {dtype} from byte {first} to {last}")
        end = last
    if start + end != len(content):
        raise ValueError(f"{len(content) - start:,} bytes, {end:,} are said to be a tensor's")
    return {
        name: _tensor(dtype, shape, content[start + first : start + last])
        for name, dtype, shape, (first, last) in entries
    }


def _header(tensors: Mapping[str, Tensor]) -> bytes:
    """Return the length and the header of tensors that lie in this order."""
    entries: dict[str, Any] = {}
    end = 0
    for name, tensor in tensors.items():
        place = [end, end := end + tensor.nbytes]
        dtype, shape = NAMES[tensor.dtype], list(tensor.shape)
        entries[name] = {"dtype": dtype, "shape": shape, "data_offsets": place}
    text = json.dumps(entries, ensure_ascii=False, separators=(",", ":")).encode()
    text += b" " * (-len(text) % LENGTH.size)  # numbers lie where a processor likes them
    return LENGTH.pack(len(text)) + text


def _form(entry: Mapping[str, Any]) -> tuple[torch.dtype, list[int], tuple[int, int]]:
    """Return dtype, shape and place of a header's entry."""
    shape = [whole(axis) for axis in entry["shape"]]
    if prod(max(axis, 1) for axis in shape) > LARGEST_SHAPE:
        raise ValueError(f"a tensor of shape {shape}")
    first, last = (whole(each) for each in entry["data_offsets"])
    return DTYPES[entry["dtype"]], shape, (first, last)


def _tensor(dtype: torch.dtype, shape: list[int], content: bytes) -> Tensor:
    tensor = torch.empty(shape, dtype=dtype)
    tensor.reshape(-1).view(torch.uint8).numpy()[:] = np.frombuffer(content, np.uint8)
    return tensor
