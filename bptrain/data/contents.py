"""What each split of a data set holds: its number of samples, and checksums of them in order.

A run stores it, so that data which changed since is found. The checksums are of what was read,
before statistics are computed and inputs are scaled: rounding, which may differ from one machine
to the next, does not change them.
"""

from collections.abc import Iterable, Mapping, Sequence
from hashlib import sha256
from typing import Any, TypeAlias

from torch import Tensor

from bptrain.data.splits import Parts, Samples

Contents: TypeAlias = dict[str, Any]
SPLITS = ("train", "validation", "test")
CALLED = {"train": "training", "validation": "validation", "test": "test"}


def contents_of(parts: Parts) -> dict[str, Contents]:
    """Return the contents of samples held in memory, by split."""
    held = zip(SPLITS, (parts.train, parts.validation, parts.test), strict=True)
    return {name: content_of_samples(samples) for name, samples in held if samples is not None}


def content_of_samples(samples: Samples) -> Contents:
    """Return the content of a split of tensors."""
    return content(
        len(samples),
        checksum(map(tensor_bytes, present(samples.inputs, samples.lengths))),
        checksum(map(tensor_bytes, present(samples.targets, samples.target_lengths))),
    )


def content(samples: int, inputs: str, targets: str) -> Contents:
    """Return the content of a split: its number of samples, and two checksums."""
    return {"samples": samples, "inputs": inputs, "targets": targets}


def content_of_texts(texts: Sequence[str], labels: Sequence[str]) -> Contents:
    """Return the content of a split of texts with labels."""
    return content(len(texts), *(checksum(map(as_bytes, each)) for each in (texts, labels)))


def checksum(pieces: Iterable[bytes | memoryview]) -> str:
    """Return the SHA-256 of pieces of bytes; their lengths count, so that none can move."""
    total = sha256()
    for piece in pieces:
        total.update(len(piece).to_bytes(8))
        total.update(piece)
    return total.hexdigest()


def tensor_bytes(tensor: Tensor) -> bytes:
    """Return a tensor's numbers as bytes, with its shape and dtype before them."""
    heading = f"{tensor.dtype} {list(tensor.shape)} ".encode()
    return heading + tensor.contiguous().cpu().numpy().tobytes()


def as_bytes(text: str) -> bytes:
    """Return a text as bytes."""
    return text.encode("utf-8", "surrogatepass")


def present(*tensors: Tensor | None) -> list[Tensor]:
    """Return the tensors that are not None."""
    return [tensor for tensor in tensors if tensor is not None]


def differences(
    before: Mapping[str, Mapping[str, Any]], now: Mapping[str, Mapping[str, Any]]
) -> list[str]:
    """Return what differs between stored and present contents, in words."""
    found = []
    for name in SPLITS:
        old, new, called = before.get(name), now.get(name), CALLED[name]
        if old == new:
            continue
        if old is None or new is None:
            found.append(f"there {'was' if old is None else 'is'} no {called} split")
        elif old["samples"] != new["samples"]:
            found.append(f"{new['samples']:,} {called} samples, were {old['samples']:,}")
        else:
            changed = [key for key in ("inputs", "targets") if old[key] != new[key]]
            found.append(f"the {' and '.join(changed)} of the {called} samples, or their order")
    return found
