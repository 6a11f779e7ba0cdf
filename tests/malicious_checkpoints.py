"""Malicious checkpoints: attacks that are applied to a valid checkpoint's folder, by name.

The manifest matches the files where it must: the attacker can compute checksums too.
"""

import json
import os
import pickle
import struct
import zipfile
from collections.abc import Callable
from io import BytesIO
from pathlib import Path

from checkpoints import put, rewrite_manifest

Attack = Callable[[Path], object]
MODEL, OPTIMIZER, STATE, MANIFEST = (
    "model.safetensors",
    "optimizer.safetensors",
    "state.json",
    "manifest.json",
)


class Bomb:
    """An object whose pickle starts a program when it is loaded."""

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return (os.system, ("touch bptrain-was-here",))


def bomb() -> bytes:
    return pickle.dumps(Bomb())


def torch_archive() -> bytes:
    """Return a file as torch.save writes it, whose pickle is a bomb."""
    out = BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr("archive/data.pkl", bomb())
        archive.writestr("archive/version", "3\n")
    return out.getvalue()


def tensors(header: object, data: bytes = b"", length: int | None = None) -> bytes:
    """Return a safetensors file with a given header and header length."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + data


def tensor(begin: int, end: int, shape: list[int], dtype: str = "F32") -> dict[str, object]:
    return {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}


def in_model(content: bytes) -> Attack:
    return lambda folder: put(folder, MODEL, content)


def in_state(content: bytes) -> Attack:
    return lambda folder: put(folder, STATE, content)


def in_manifest(content: bytes) -> Attack:
    return lambda folder: (folder / MANIFEST).write_bytes(content)


def manifest_entry(**entry: object) -> Attack:
    return lambda folder: rewrite_manifest(folder, **{MODEL: entry})


def linked(name: str) -> Attack:
    """Make a file a link to a copy outside that agrees with the manifest."""

    def attack(folder: Path) -> None:
        outside = folder.parent.parent / "outside"
        (folder / name).rename(outside)
        (folder / name).symlink_to(outside)

    return attack


def pipe(name: str) -> Attack:
    def attack(folder: Path) -> None:
        (folder / name).unlink()
        os.mkfifo(folder / name)

    return attack


def sparse(name: str) -> Attack:
    """Extend a file to a tebibyte that takes no space on the disk."""
    return lambda folder: os.truncate(folder / name, 2**40)


def sparse_and_declared(folder: Path) -> None:
    entry = json.loads((folder / MANIFEST).read_text())[MODEL]
    rewrite_manifest(folder, **{MODEL: {**entry, "bytes": 2**40}})
    os.truncate(folder / MODEL, 2**40)


def folder_elsewhere(folder: Path) -> None:
    outside = folder.parent.parent / "elsewhere"
    folder.rename(outside)
    folder.symlink_to(outside)


def doubled(folder: Path) -> None:
    content = (folder / MANIFEST).read_bytes()
    (folder / MANIFEST).write_bytes(b'{\n  "model.safetensors": 1,' + content[1:])


def escaped(target: str) -> Attack:
    """Make the manifest name a file outside the folder instead of one of ours."""

    def attack(folder: Path) -> None:
        rewrite_manifest(folder)
        entries = json.loads((folder / MANIFEST).read_text())
        entries[target] = entries.pop(STATE)
        (folder / MANIFEST).write_text(json.dumps(entries, indent=2))

    return attack


def another_step(folder: Path) -> None:
    put(folder, STATE, state(step="99"))


def state(step: str = "2", metrics: str = "{}", states: str = "{}") -> bytes:
    """Return a `state.json` in the format that we write, with given parts."""
    parts = {"step": step, "metrics": metrics, "states": states}
    lines = ",\n".join(f'  "{name}": {part}' for name, part in parts.items())
    return f"{{\n{lines}\n}}".encode()


def list_in_lists(depth: int) -> str:
    """Return JSON of lists in lists, in the format that we write."""
    value: list[object] = []
    for _ in range(depth - 1):
        value = [value]
    return json.dumps(value, indent=2).replace("\n", "\n  ")


def a_file_instead(folder: Path) -> None:
    for path in folder.iterdir():
        path.unlink()
    folder.rmdir()
    folder.write_bytes(bomb())


ATTACKS: dict[str, Attack] = {
    "a pickle as model": in_model(bomb()),
    "a pickle as optimizer": lambda folder: put(folder, OPTIMIZER, bomb()),
    "a pickle as state": in_state(bomb()),
    "a pickle as manifest": in_manifest(bomb()),
    "a pickle as checkpoint": a_file_instead,
    "torch.save's archive as model": in_model(torch_archive()),
    "a header longer than memory": in_model(tensors({}, length=2**63)),
    "a header longer than the file": in_model(tensors({}, length=1000)),
    "a header that is no JSON": in_model(tensors(b"__import__('os')")),
    "a header nested deep": in_model(tensors(b'{"a":' * 100_000)),
    "a header with a name twice": in_model(
        tensors(
            b'{"w":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},'
            b'"w":{"dtype":"U8","shape":[1],"data_offsets":[1,3]}}',
            bytes(2),
        )
    ),
    "overlapping tensors": in_model(
        tensors({"a": tensor(0, 8, [2]), "b": tensor(4, 12, [2])}, bytes(12))
    ),
    "a hole between tensors": in_model(
        tensors({"a": tensor(0, 4, [1]), "b": tensor(8, 12, [1])}, bytes(12))
    ),
    "a tensor beyond the file": in_model(tensors({"a": tensor(0, 4096, [1024])}, bytes(4))),
    "a tensor that ends before it begins": in_model(tensors({"a": tensor(8, 4, [1])}, bytes(8))),
    "a negative shape": in_model(tensors({"a": tensor(0, 4, [-1])}, bytes(4))),
    "a shape that overflows": in_model(tensors({"a": tensor(0, 4, [2**62, 2**62])}, bytes(4))),
    "an empty tensor of endless shape": in_model(tensors({"a": tensor(0, 0, [2**62, 2**62, 0])})),
    "a dtype that nobody has": in_model(tensors({"a": tensor(0, 4, [1], "PICKLE")}, bytes(4))),
    "a dtype that torch's reader lacks": in_model(
        tensors({"a": tensor(0, 4, [8], "F4")}, bytes(4))
    ),
    "metadata that is no text": in_model(tensors({"__metadata__": {"a": {"b": 1}}})),
    "../ in the manifest": escaped("../../outside"),
    "an absolute path in the manifest": escaped("/etc/passwd"),
    "one file too many in the manifest": lambda folder: rewrite_manifest(folder, **{"../x": {}}),
    "a manifest that is a list": in_manifest(b"[1]"),
    "a manifest with a name twice": doubled,
    "a manifest nested deep": in_manifest(b"[" * 4000),
    "a manifest in UTF-16": lambda folder: (folder / MANIFEST).write_bytes(
        (folder / MANIFEST).read_text().encode("utf-16")
    ),
    "an endless manifest": sparse(MANIFEST),
    "a size that is a truth value": manifest_entry(bytes=True, sha256="0" * 64),
    "a size below zero": manifest_entry(bytes=-1, sha256="0" * 64),
    "a size of 4000 digits": in_manifest(b'{"model.safetensors": {"bytes": ' + b"9" * 4000),
    "a checksum that is a list": manifest_entry(bytes=1, sha256=["0" * 64]),
    "YAML's tag in the state": in_state(b"!!python/object/apply:os.system ['true']"),
    "NaN in the state": in_state(state(metrics='{\n    "val/loss": NaN\n  }')),
    "a loss beyond all numbers": in_state(state(metrics='{\n    "val/loss": -1e999\n  }')),
    "a loss that is text": in_state(state(metrics='{\n    "val/loss": "0.1"\n  }')),
    "a state nested deep": in_state(state(states="[" * 100_000 + "]" * 100_000)),
    "a state nested a little too deep": in_state(state(states=list_in_lists(500))),
    "a state with a name twice": in_state(state(step='2,\n  "step": 2')),
    "a step of 4000 digits": in_state(state(step="9" * 4000)),
    "a state that is a list": in_state(b"[\n  2\n]"),
    "a state without its parts": in_state(b'{\n  "step": 2\n}'),
    "a step that is a path": in_state(state(step='"../../outside"')),
    "a step below zero": in_state(state(step="-1")),
    "a step that is a truth value": in_state(state(step="true")),
    "a state of another step": another_step,
    "an endless state": sparse(STATE),
    "an endless model": sparse(MODEL),
    "an endless model, declared in the manifest": sparse_and_declared,
    "a link as model": linked(MODEL),
    "a link as state": linked(STATE),
    "a link as manifest": linked(MANIFEST),
    "a link as checkpoint": folder_elsewhere,
    "a pipe as model": pipe(MODEL),
    "a pipe as manifest": pipe(MANIFEST),
}
