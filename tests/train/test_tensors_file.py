"""The file of tensors: the library's bytes, written in pieces, and read without trust in any."""

import json
import struct

import pytest
import safetensors.torch
import torch
from torch import Tensor

from bptrain.train import tensors_file
from bptrain.train.tensors_file import DTYPES, pieces, read


def written(tensors: dict[str, Tensor]) -> bytes:
    return b"".join(pieces(tensors))


def file_of(header: object, data: bytes = b"") -> bytes:
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data


def entry(begin: int, end: int, shape: list[object], dtype: str = "F32") -> dict[str, object]:
    return {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}


@pytest.fixture
def tensors() -> dict[str, Tensor]:
    """Return tensors of every dtype and odd shapes, one of them not contiguous."""
    torch.manual_seed(0)
    found = {f"{code} ü": (torch.randn(3, 5) * 9).to(dtype) for code, dtype in DTYPES.items()}
    found["a scalar"] = torch.tensor(3.5)
    found["none"] = torch.zeros(0, 4)
    found["turned"] = torch.arange(12.0).view(3, 4).t()
    found["a part"] = torch.arange(9, dtype=torch.int16)[1::3]
    return found


def test_the_file_is_byte_for_byte_the_librarys(tensors: dict[str, Tensor]) -> None:
    whole = {name: each.contiguous() for name, each in tensors.items()}
    assert written(tensors) == safetensors.torch.save(whole)
    assert written({}) == safetensors.torch.save({})


def test_what_is_read_is_what_was_written_bit_by_bit(tensors: dict[str, Tensor]) -> None:
    tensors["nan"] = torch.tensor([float("nan"), -0.0, float("inf")])
    found = read(written(tensors))
    assert set(found) == set(tensors)
    for name, tensor in tensors.items():
        assert (found[name].dtype, found[name].shape) == (tensor.dtype, tensor.shape)
        bits, wanted = (
            each.contiguous().view(-1).view(torch.uint8) for each in (found[name], tensor)
        )
        assert bits.equal(wanted)
        found[name].fill_(1)  # it is nobody else's memory, and not read-only


def test_large_tensors_are_written_from_where_they_lie(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tensors_file, "SMALL_BYTES", 100)
    large, small = torch.arange(100.0), torch.arange(6.0)
    names = {"a": small, "b": large, "c": small, "d": small, "e": large}
    found = list(pieces(names))
    views = [each for each in found if isinstance(each, memoryview)]
    assert [len(each) for each in views] == [400, 400]
    large[0] = 7.0
    assert torch.tensor(views[0].tolist(), dtype=torch.uint8).view(torch.float32)[0] == 7.0
    large[0] = 0.0
    assert b"".join(found) == safetensors.torch.save(
        {**names, "c": small + 0, "d": small * 1, "e": large * 1}
    )


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
