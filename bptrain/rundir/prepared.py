"""`prepared.json`: what a run stores of its data and its config, under a checksum.

problem   what the data asks of a model
prepared  what was fitted on the training samples: with it an input can be predicted without the
          data set, by the same constants, classes and vocabulary
contents  of each split, its number of samples and checksums of them
config    the resolved config, as config.yaml has it

Written before the first step. A resumed run replaces the config, some keys of which may change.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict
from functools import cache
from hashlib import sha256
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

from pydantic import TypeAdapter, ValidationError

from bptrain.errors import CheckpointError, shorten
from bptrain.problem import Problem
from bptrain.rundir.durable_files import replace_file, storing
from bptrain.rundir.manifest import read_regular

PREPARED = "prepared.json"
LARGEST = 64 * 2**20  # bytes
NOTHING: Mapping[str, Any] = MappingProxyType({})


class Stored(NamedTuple):
    """What a run stores of its data and its config."""

    problem: Problem
    prepared: dict[str, Any]
    contents: dict[str, Any]
    config: dict[str, Any]


def write_prepared(
    run_dir: Path,
    problem: Problem,
    prepared: Mapping[str, Any],
    contents: Mapping[str, Any] = NOTHING,
    config: Mapping[str, Any] = NOTHING,
) -> None:
    """Write the file into the folder of a run."""
    content = {
        "problem": asdict(problem),
        "prepared": dict(prepared),
        "contents": dict(contents),
        "config": dict(config),
    }
    signed = {**content, "sha256": checksum(content)}
    text = json.dumps(signed, indent=2) + "\n"
    with storing(run_dir / PREPARED):
        replace_file(run_dir / PREPARED, text.encode())


@cache
def _problems() -> TypeAdapter[Problem]:
    return TypeAdapter(Problem)


def read_prepared(run_dir: Path) -> tuple[Problem, dict[str, Any]]:
    """Return problem and fitted values of a run, or raise CheckpointError for a damaged file."""
    stored = read_stored(run_dir)
    return stored.problem, stored.prepared


def read_stored(run_dir: Path) -> Stored:
    """Return all that a run stores, or raise CheckpointError for a damaged file."""
    path = run_dir / PREPARED
    try:
        text = read_regular(path, LARGEST)
    except CheckpointError as error:
        raise refusal(path, error.why) from error
    try:
        content = json.loads(text.decode())  # of bytes it would guess an encoding
        signature = content.pop("sha256")
        if signature != checksum(content):
            raise refusal(path, "its content does not match its checksum")
        # json mode: a list of sizes becomes the tuple it was
        problem = _problems().validate_json(json.dumps(content["problem"]), strict=True)
        rest = [dict(content[key]) for key in ("prepared", "contents", "config")]
    except ValidationError as error:
        raise refusal(path, error.errors()[0]["msg"]) from error
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise refusal(path, f"{type(error).__name__}: {error}") from error
    return Stored(problem, *rest)


def checksum(content: Mapping[str, Any]) -> str:
    """Return the SHA-256 of plain values, whatever their layout in a file."""
    return sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def refusal(path: Path, why: str) -> CheckpointError:
    """Return the error for a file that cannot be trusted."""
    return CheckpointError(
        f"{path}: cannot be used", shorten(why), "restore the file, or start a new run"
    )
