"""The config of a run, stored twice: config.yaml, and a copy under a checksum to compare with.

config.yaml ends in a checksum of its own. A killed resume may leave one of the two files with keys
that may change and the other without: this is no edit, and the config of config.yaml holds.
"""

import re
from collections.abc import Iterator, Mapping
from hashlib import sha256
from pathlib import Path, PurePath
from typing import Any

from bptrain.config import to_yaml
from bptrain.errors import CheckpointError, shorten
from bptrain.experiment.config import ExperimentConfig

PLACE_OF_DATA = re.compile(
    r"data\.(root|path|test_path|images|workers|worker_timeout_s|memory_bytes)"
)
MAY_CHANGE = re.compile(  # without making the saved state invalid
    r"name|device|monitor\..*|checkpoint\..*|schedule\..*|optimizer\.(lr|adamw_lr|weight_decay)"
    r"|train\.(epochs|steps|early_stopping|l1|clip_.*|on_non_finite|process_timeout_s|sync_batch_norm|bucket_mb|sharded)(\..*)?"
    rf"|{PLACE_OF_DATA.pattern}"
)
STARTING_WEIGHTS = "model.weights"  # a file, which the checkpoints of a run make needless
SIGNATURE = "# SHA-256 of the lines above, by which an edit is found: "
MOST_KEYS = 3  # that a message names


def signed_yaml(config: ExperimentConfig) -> str:
    """Return the text of config.yaml, which ends in its own checksum."""
    text = to_yaml(config)
    return f"{text}{SIGNATURE}{sha256(text.encode()).hexdigest()}\n"


def is_signed(text: str) -> bool:
    """Tell whether a text ends in the checksum of what stands above it."""
    above, signature, found = text.rpartition(SIGNATURE)
    return bool(signature) and found.strip() == sha256(above.encode()).hexdigest()


def refuse_edited_config(path: Path, now: ExperimentConfig, stored: Mapping[str, Any]) -> None:
    """Raise CheckpointError, naming the keys, if a run's config.yaml was edited since.

    An edit that changes no value, such as a comment, is none.
    """
    found = list(differences(stored, plain(now)))
    if is_signed(path.read_text(encoding="utf-8")):
        # unedited, but it may be another run's; keys of a newer version were not stored
        known = flat(stored)
        found = [each for each in found if each[0] in known and not may_change(*each)]
    if found:
        named = [
            f"{key} was {shorten(str(old), 40)}, is {shorten(str(new), 40)}"
            for key, old, new in found
        ]
        more = f", and {len(named) - MOST_KEYS} more" * (len(named) > MOST_KEYS)
        raise edited(path, ", ".join(named[:MOST_KEYS]) + more)


def may_change(key: str, old: Any, new: Any) -> bool:
    """Tell whether a run's saved state is valid under another value of a key too."""
    return MAY_CHANGE.fullmatch(key) is not None or is_moved(key, old, new)


def is_moved(key: str, old: Any, new: Any) -> bool:
    """Tell whether a key names the weights that a run began with, in another folder."""
    return key == STARTING_WEIGHTS and PurePath(str(old)).name == PurePath(str(new)).name


def edited(path: Path, why: str) -> CheckpointError:
    """Return the error for a config.yaml that is not as the run wrote it."""
    return CheckpointError(
        f"{path}: edited since the run wrote it",
        why,
        "restore it; `fit ... --resume key=value` changes what may change",
    )


def plain(config: ExperimentConfig) -> dict[str, Any]:
    """Return a config as plain values of JSON."""
    return config.model_dump(mode="json")


def differences(
    before: Mapping[str, Any], now: Mapping[str, Any]
) -> Iterator[tuple[str, Any, Any]]:
    """Yield the keys whose values differ between two plain configs, with both values."""
    old, new = flat(before), flat(now)
    for key in sorted({*old, *new}):
        if old.get(key) != new.get(key):
            yield key, old.get(key), new.get(key)


def flat(tree: Any, path: str = "") -> dict[str, Any]:
    """Return the values of nested dicts by their keys, joined by dots; lists are values."""
    if not isinstance(tree, Mapping):
        return {path: tree}
    return {
        key: value
        for name, each in tree.items()
        for key, value in flat(each, f"{path}.{name}" if path else name).items()
    }


def hyperparameters_of(config: ExperimentConfig) -> dict[str, float | str]:
    """Return the values of a config by key, numbers as such and all else as text, for a table.

    The name is left out, which differs in every run, and so are keys that are null.
    """
    values = flat(plain(config))
    return {
        key: value if isinstance(value, int | float) and not isinstance(value, bool) else str(value)
        for key, value in values.items()
        if key != "name" and value is not None
    }
