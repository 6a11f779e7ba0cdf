"""Strict configs: read from YAML with every error at once, written back, explained.

A config class says everything once, in its fields: types, bounds, defaults, descriptions. What a
user is told is allowed comes from the JSON Schema pydantic derives from them.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from os import PathLike
from typing import Any, NamedTuple, TypeAlias, TypeVar, get_args, get_origin

from pydantic import BaseModel, ConfigDict, ValidationError, model_validator
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

from bptrain.errors import UsageError, shorten
from bptrain.yaml_tree import (
    MAX_DEPTH,
    MAX_NUMBER,
    KeyPath,
    Plain,
    Problem,
    read_text,
    read_tree,
    resolve,
    write,
    write_lines,
)

Node: TypeAlias = dict[str, Any]  # a piece of JSON Schema
Config = TypeVar("Config", bound="StrictConfig")

MAX_SHOWN = 50  # errors in one listing
GIVEN_WIDTH = 80  # characters of a value that are quoted


class StrictConfig(BaseModel):
    """The base of every config section: no unknown key, no conversion, no change, no NaN.

    A section that is a union of kinds may leave out `kind` if its field has a default: the
    default's kind is meant. A field without a default makes the user choose.
    """

    model_config = ConfigDict(
        extra="forbid",
        strict=True,
        frozen=True,
        allow_inf_nan=False,
        validate_default=True,
    )

    @model_validator(mode="before")
    @classmethod
    def _complete(cls, given: Any) -> Any:
        if not isinstance(given, dict):
            return given
        return {key: _completed(value, cls.model_fields.get(key)) for key, value in given.items()}


def _completed(value: Any, field: FieldInfo | None) -> Any:
    """Add what YAML leaves unsaid: that a sequence is a tuple, and the default's kind."""
    if field is None:
        return value
    if isinstance(value, list):
        types = (field.annotation, *get_args(field.annotation))
        return tuple(value) if tuple in map(get_origin, types) else value
    kind = default_kind(field)
    return {"kind": kind, **value} if kind is not None and isinstance(value, dict) else value


def default_kind(field: FieldInfo) -> str | None:
    """Return the `kind` that a section has where the user names none."""
    return getattr(field.get_default(call_default_factory=True), "kind", None)


class ConfigErrors(UsageError):
    """All that is wrong with one config, in the order of its lines."""

    def __init__(self, reports: Sequence[str], total: int) -> None:
        super().__init__(f"{total} errors in the config")
        self.reports, self.total = reports, total

    def __str__(self) -> str:
        left_out = self.total - len(self.reports)
        return "\n".join([*self.reports, *[f"... and {left_out} more errors"] * bool(left_out)])


def load_config(
    config_class: type[Config], path: str | PathLike[str], overrides: Sequence[str] = ()
) -> Config:
    """Read a config file, apply `key.path=value` words, and check the result.

    Raises ConfigErrors with all errors at once, or UsageError for a file that cannot be read.
    """
    draft = _Draft(str(path), read_text(path))
    for order, word in enumerate(overrides):
        draft.override(word, _Place(_AFTER_THE_FILE + order, f"override {shorten(word, 80)!r}"))
    return draft.checked(config_class)
