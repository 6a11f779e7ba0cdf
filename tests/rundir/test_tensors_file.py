"""The file of tensors: what is written is read, and nothing else is."""

import json
import struct

import pytest
import torch
from torch import Tensor

from bptrain.rundir.tensors_file import content_of, in_file_order, parts_of, read

DTYPES = {
    *(torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8, torch.bool),
    *(torch.float64, torch.float32, torch.float16, torch.bfloat16),
}


def file_of(header: object, data: bytes = b"") -> bytes:
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data


def entry(begin: int, end: int, shape: list[object], dtype: str = "F32") -> dict[str, object]:
    return {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}


@pytest.fixture
def tensors() -> dict[str, Tensor]:
    """Return tensors of every dtype and odd shapes, one of them not contiguous."""
    torch.manual_seed(0)
    found = {f"{dtype} ü": (torch.randn(3, 5) * 9).to(dtype) for dtype in DTYPES}
    found["a scalar"] = torch.tensor(3.5)
    found["none"] = torch.zeros(0, 4)
    found["turned"] = torch.arange(12.0).view(3, 4).t()
    found["a part"] = torch.arange(9, dtype=torch.int16)[1::3]
    return found


def test_what_is_read_is_what_was_written_bit_by_bit(tensors: dict[str, Tensor]) -> None:
    tensors["nan"] = torch.tensor([float("nan"), -0.0, float("inf")])
    found = read(content_of(tensors))
    assert set(found) == set(tensors)
    for name, tensor in tensors.items():
        assert (found[name].dtype, found[name].shape) == (tensor.dtype, tensor.shape)
        bits, expected = (
            each.contiguous().view(-1).view(torch.uint8) for each in (found[name], tensor)
        )
        assert bits.equal(expected)
        found[name].fill_(1)  # it is nobody else's memory, and not read-only


def test_written_tensor_by_tensor_the_bytes_are_those_of_the_library() -> None:
    dtypes = [torch.int64, torch.float64, torch.float32, torch.int32, torch.bfloat16]
    dtypes += [torch.float16, torch.int16, torch.int8, torch.uint8, torch.bool]
    tensors = {f"{n}/a": torch.ones(3, 2).to(dtype).t() for n, dtype in enumerate(dtypes)}
    tensors |= {"z": torch.tensor(1.5), "b": torch.randn(2), "é": torch.zeros(0, 3)}
    asked: list[Tensor] = []
    parts = parts_of(tensors, lambda each: (asked.append(each), each)[1])
    assert b"".join(parts) == content_of(tensors)
    assert len(asked) == len(tensors)
    assert all(a is tensors[name] for a, name in zip(asked, in_file_order(tensors), strict=True))


def test_a_tensor_that_no_file_can_hold_is_refused_before_anything_is_written() -> None:
    with pytest.raises(ValueError, match=r"w: a file cannot hold torch\.complex128"):
        next(parts_of({"w": torch.zeros(2, dtype=torch.complex128)}, lambda each: each))


def test_memory_that_is_not_there_is_a_memory_error_and_no_panic() -> None:
    huge = torch.zeros(1).expand(2**45)  # more than there are addresses
    with pytest.raises(MemoryError):
        content_of({"huge": huge})


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\0" * 7,
        struct.pack("<Q", 9) + b"{}",
        file_of([]),
        file_of({"a": 1}),
        file_of({"a": {}}),
        file_of({"a": entry(0, 4, [1], "F4")}, bytes(4)),
        file_of({"a": entry(0, 4, [1])}, bytes(5)),
        file_of({"a": entry(0, 4, [1])}, bytes(3)),
        file_of({"a": entry(0, 8, [1])}, bytes(8)),
        file_of({"a": entry(0, 4, [True])}, bytes(4)),
        file_of({"a": entry(0, 4, [-1, -1])}, bytes(4)),
        file_of({"a": entry(4, 8, [1])}, bytes(8)),
        file_of({"a": entry(0, 4, [1]), "b": entry(0, 4, [1])}, bytes(4)),
        file_of({"a": entry(0, 0, [2**62, 2**62, 0])}),
        file_of({"a": {**entry(0, 4, [1]), "data_offsets": [0, 4, 8]}}, bytes(4)),
        file_of({"a": {**entry(0, 4, [1]), "dtype": ["F32"]}}, bytes(4)),
    ],
)
def test_what_was_never_written_is_refused(content: bytes) -> None:
    with pytest.raises(ValueError, match=r"."):
        read(content)
