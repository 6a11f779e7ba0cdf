"""`prepared.json`: the problem of a run, and what its data set fitted on the training samples.

With it an input can be predicted without the data set: it is prepared by the same constants,
classes and vocabulary. Written before the first step, read back under a checksum.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict
from hashlib import sha256
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from bptrain.errors import CheckpointError, DataError, shorten
from bptrain.problem import Problem
from bptrain.rundir.durable_files import replace_file, storing
from bptrain.rundir.manifest import read_regular

PREPARED = "prepared.json"
LARGEST = 64 * 2**20  # bytes


def write_prepared(run_dir: Path, problem: Problem, prepared: Mapping[str, Any]) -> None:
    """Write the file into the folder of a run."""
    content = {"problem": asdict(problem), "prepared": dict(prepared)}
    signed = {**content, "sha256": checksum(content)}
    text = json.dumps(signed, indent=2) + "\n"
    with storing(run_dir / PREPARED):
        replace_file(run_dir / PREPARED, text.encode())


def read_prepared(run_dir: Path) -> tuple[Problem, dict[str, Any]]:
    """Return problem and fitted values of a run, or raise CheckpointError for a damaged file."""
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
        problem = TypeAdapter(Problem).validate_json(json.dumps(content["problem"]), strict=True)
        prepared: dict[str, Any] = dict(content["prepared"])
    except ValidationError as error:
        raise refusal(path, error.errors()[0]["msg"]) from error
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise refusal(path, f"{type(error).__name__}: {error}") from error
    return problem, prepared


def refuse_other_data(run_dir: Path, problem: Problem, prepared: Mapping[str, Any]) -> None:
    """Raise DataError if what is fitted on the training samples now is not what the run began with.

    Means, classes and vocabularies are a fingerprint of the samples, though not a proof.
    """
    old_problem, old_prepared = read_prepared(run_dir)
    before = {"problem": asdict(old_problem), "prepared": old_prepared}
    if checksum(before) != checksum({"problem": asdict(problem), "prepared": dict(prepared)}):
        raise DataError(
            f"{run_dir}: the training data is not what it was when the run began",
            "its classes, its vocabulary or its means are others",
            "restore the data, or start a new run",
        )


def checksum(content: Mapping[str, Any]) -> str:
    """Return the SHA-256 of plain values, whatever their layout in a file."""
    return sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def refusal(path: Path, why: str) -> CheckpointError:
    """Return the error for a file that cannot be trusted."""
    return CheckpointError(
        f"{path}: cannot be used", shorten(why), "restore the file, or start a new run"
    )
