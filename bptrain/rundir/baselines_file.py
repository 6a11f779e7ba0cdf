"""`baselines.json`: what a run stores of the simple predictions it is compared with.

They are made from the training samples at the end of `fit`, and compared with the run on other
data too, where the training samples are not read. Under a checksum; derived from the training data,
and no part of what a run resumes from.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from bptrain.errors import CheckpointError
from bptrain.rundir.durable_files import replace_file, storing
from bptrain.rundir.manifest import read_regular
from bptrain.rundir.prepared import checksum

BASELINES = "baselines.json"
LARGEST = 64 * 2**20  # bytes
AGAIN = "`bptrain fit ... --resume` of the finished run writes it again"


def write_baselines(run_dir: Path, entries: Sequence[Mapping[str, Any]]) -> None:
    """Write the file into the folder of a run."""
    content = {"baselines": list(entries)}
    signed = {**content, "sha256": checksum(content)}
    with storing(run_dir / BASELINES):
        replace_file(run_dir / BASELINES, (json.dumps(signed) + "\n").encode())


def read_baselines(run_dir: Path) -> list[dict[str, Any]]:
    """Return the entries, or raise CheckpointError for a file that is missing or damaged."""
    path = run_dir / BASELINES
    text = read_regular(path, LARGEST)
    try:
        content = json.loads(text.decode())
        is_whole = content.pop("sha256") == checksum(content)
        entries: list[dict[str, Any]] = content["baselines"]
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise CheckpointError(f"{path}: cannot be used", str(error), AGAIN) from error
    if not is_whole:
        raise CheckpointError(
            f"{path}: cannot be used", "its content does not match its checksum", AGAIN
        )
    return entries
