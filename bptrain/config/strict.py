"""Strict configs: read from YAML with every error at once, written back, explained.

A config class says everything once, in its fields: types, bounds, defaults, descriptions. What a
user is told is allowed comes from the JSON Schema that pydantic derives from them.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import cache
from os import PathLike, fspath
from pathlib import Path
from typing import Annotated, Any, TypeVar, get_args, get_origin

from pydantic import (
    BaseModel,
    ConfigDict,
    SerializerFunctionWrapHandler,
    TypeAdapter,
    ValidationError,
    field_validator,
    model_serializer,
    model_validator,
)
from pydantic.fields import FieldInfo
from pydantic.json_schema import GenerateJsonSchema
from pydantic_core import ErrorDetails

from bptrain.config.guide import GIVEN_WIDTH, Guide, Node, definition, kind_first
from bptrain.config.yaml_tree import (
    MAX_BYTES,
    MAX_DEPTH,
    KeyPath,
    Plain,
    Problem,
    dotted,
    read_text,
    read_tree,
    write,
    write_lines,
)
from bptrain.errors import ConfigKeyError, UsageError, shorten

Config = TypeVar("Config", bound="StrictConfig")

LARGEST = 1e30  # float32 ends at 3.4e38, and some values are multiplied by others
MAX_SHOWN = 50  # errors in one listing
LAST_LINE = MAX_BYTES + 1  # no file has more; the n-th override counts as the n-th line behind it


class StrictConfig(BaseModel):
    """The base of every config section: no unknown key, no conversion, no change, no NaN.

    Where a field has a default, its section may leave out `kind`: the default's kind is meant.
    """

    model_config = ConfigDict(
        extra="forbid",
        strict=True,
        frozen=True,
        allow_inf_nan=False,
        validate_default=True,
        defer_build=True,  # of some 90 sections a command uses a few
    )

    @model_validator(mode="before")
    @classmethod
    def _complete(cls, given: object) -> object:
        if not isinstance(given, dict):
            return given
        return {key: _completed(value, cls.model_fields.get(key)) for key, value in given.items()}

    @field_validator("*")
    @classmethod
    def _refuse_huge(cls, value: object) -> object:
        for each in value if isinstance(value, list | tuple) else [value]:
            if isinstance(each, float) and abs(each) > LARGEST:
                raise ValueError(f"beyond {LARGEST:g} the numbers of a model, float32, overflow")
        return value

    @model_serializer(mode="wrap")
    def _kind_first(self, serialize: SerializerFunctionWrapHandler) -> dict[str, Any]:
        return kind_first(serialize(self))


def _completed(value: object, field: FieldInfo | None) -> object:
    """Add what YAML leaves unsaid: that a sequence is a tuple, and the default's kind."""
    if field is None:
        return value
    if isinstance(value, list):
        types = [get_origin(each) for each in (field.annotation, *get_args(field.annotation))]
        return tuple(value) if tuple in types else value
    kind = getattr(field.get_default(call_default_factory=True), "kind", None)
    return {"kind": kind, **value} if kind is not None and isinstance(value, dict) else value


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
    draft.meant = without_spaces(overrides)
    for word in overrides:
        draft.override(word)
    return draft.checked(config_class, Path(path).parent)


def without_spaces(words: Sequence[str]) -> str:
    """Return `key=value` words without the spaces around = that parted them, "" if none did."""
    given = " ".join(words)
    joined = re.sub(r"\s*=\s*", "=", given)
    return joined if joined != given else ""


def config_of(
    config_class: type[Config], values: Mapping[str, Any], overrides: Sequence[str] = ()
) -> Config:
    """Check a config that is given as a mapping, as `load_config` checks a file.

    Raises ConfigErrors, whose lines are those of the mapping as YAML, or UsageError for a value
    that YAML does not have.
    """
    text = "\n".join(write_lines(_as_plain(values), {})) + "\n"
    return config_of_text(config_class, text, overrides)


def config_of_text(config_class: type[Config], text: str, overrides: Sequence[str] = ()) -> Config:
    """Check a config that is given as YAML text, as `load_config` checks a file."""
    draft = _Draft("config", text)
    for word in overrides:
        draft.override(word)
    return draft.checked(config_class)


def override_words(values: Mapping[str, Any]) -> list[str]:
    """Return `key.path=value` words for values by key, in whose names `__` stands for a point."""
    return [f"{key.replace('__', '.')}={write(_as_plain(each))}" for key, each in values.items()]


def _as_plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _as_plain(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_as_plain(each) for each in value]
    if isinstance(value, PathLike):
        return fspath(value)
    if value is None or type(value) in (bool, int, float, str):
        return value
    raise UsageError(
        f"config: it holds a {type(value).__name__}",
        "expected mappings, lists, text, numbers, true, false and None",
    )


@contextmanager
def naming_lines(path: str | PathLike[str], overrides: Sequence[str] = ()) -> Iterator[None]:
    """Put the line of the config in front of an error that names a key by a path.

    Such errors come after the config was read, where its values meet the data. The file is read
    again for its lines: a config object is its values alone.
    """
    try:
        yield
    except ConfigKeyError as error:
        draft = _Draft(str(path), read_text(path))
        for word in overrides:
            draft.override(word)
        place = draft.place(draft.line(error.key))
        named = UsageError(f"{place}: {error.what}", error.why, error.hint)
        named.is_told = error.is_told
        raise named from error


def to_yaml(config: StrictConfig) -> str:
    """Return the resolved config as YAML that load_config reads back to an equal object."""
    return "\n".join(write_lines(config.model_dump(mode="json"), {})) + "\n"


def starter(config: StrictConfig) -> str:
    """Return the config as YAML to start from: above each key a comment on what it may be."""
    lines = write_lines(config.model_dump(mode="json"), _comments(config))
    return "\n".join(lines).lstrip("\n") + "\n"


def _comments(config: StrictConfig, above: KeyPath = ()) -> dict[KeyPath, str]:
    """Return the comment of each key path: what it is, and what is allowed."""
    comments: dict[KeyPath, str] = {}
    for name, field in type(config).model_fields.items():
        value, meaning = getattr(config, name), field.description or ""
        if isinstance(value, StrictConfig):
            meaning = meaning or (value.__doc__ or "").partition("\n")[0].rstrip(".")
            kinds = sorted(_kinds_of(field.annotation))
            allowed = f"kinds: {', '.join(kinds)}" if len(kinds) > 1 else ""
            comments |= _comments(value, (*above, name))
        else:
            allowed_here: Any = Annotated[field.annotation, field]
            guide = Guide(TypeAdapter(allowed_here).json_schema())
            allowed = guide.describe(guide.root)
        if name != "kind":
            extent = f"({allowed})" if meaning and allowed else allowed
            comments[*above, name] = f"{meaning} {extent}".strip()
    return comments


def _kinds_of(annotation: Any) -> list[str]:
    """Return the kinds of the sections in an annotation, by a look at their fields alone."""
    if field := getattr(annotation, "model_fields", {}).get("kind"):
        return [str(each) for each in get_args(field.annotation)]
    return [kind for each in get_args(annotation) for kind in _kinds_of(each)]


@cache
def json_schema(config_class: type[StrictConfig]) -> Node:
    """Return the JSON Schema of a config file; `kind` is required where there is no default.

    It is made once: do not change it.
    """
    schema = config_class.model_json_schema()
    unions = [(each["discriminator"]["mapping"], each.get("default")) for each in _unions(schema)]
    optional = {kinds[default["kind"]] for kinds, default in unions if default}
    for reference in {each for kinds, _ in unions for each in kinds.values()}:
        member = schema["$defs"][definition(reference)]
        others = [key for key in member.get("required", []) if key != "kind"]
        member["required"] = others if reference in optional else ["kind", *others]
    return {"$schema": GenerateJsonSchema.schema_dialect, **schema}


def _unions(node: object) -> Iterator[Node]:
    """Yield each tagged union of a JSON Schema."""
    if isinstance(node, dict) and "discriminator" in node:
        yield node
    children = node.values() if isinstance(node, dict) else node if isinstance(node, list) else ()
    for child in children:
        yield from _unions(child)


class _Draft:
    """A config being read: its plain tree, the line of each key path, and what is wrong."""

    def __init__(self, path: str, text: str) -> None:
        tree = read_tree(text)
        self.path = path
        self.words: list[str] = []
        self.meant = ""
        self.root, self.lines, self.problems = tree.root, tree.lines, tree.problems
        if tree.whole and not isinstance(tree.root, dict):
            given = shorten(write(tree.root), GIVEN_WIDTH) if tree.lines else "nothing"
            self.problems.append(Problem((), 1, given, "a mapping of keys to values"))
        if not isinstance(tree.root, dict):
            raise self._errors(len(self.problems))

    def override(self, word: str) -> None:
        """Set one value; what is wrong with the word is noted."""
        self.words.append(word)
        line = LAST_LINE + len(self.words)
        key, equals, text = word.partition("=")
        parts = key.split(".")
        if not (equals and all(parts)) or len(parts) > MAX_DEPTH:
            allowed = f"key=value or section.key=value, at most {MAX_DEPTH} keys deep"
            problem = Problem((), line, "no path of keys and a value", allowed, meant=self.meant)
            self.problems.append(problem)
            return
        try:
            path = _address(self.root, parts)
        except ValueError as error:
            self.problems.append(Problem((), line, str(error), "a path of keys"))
            return
        tree = read_tree(text)
        self.problems += [replace(each, path=path + each.path, line=line) for each in tree.problems]
        if tree.whole:
            self.root = _replaced(self.root, path, tree.root)
            self._move(path, line)

    def _move(self, path: KeyPath, line: int) -> None:
        """Say that what is at or below `path`, and the sections made for it, came on `line`."""
        below = len(path)
        self.lines = {old: n for old, n in self.lines.items() if old[:below] != path}
        for depth in range(1, below + 1):
            self.lines.setdefault(path[:depth], line)

    def checked(self, config_class: type[Config], folder: Path | None = None) -> Config:
        """Return the config; raise ConfigErrors with what the reader and the schema refuse.

        folder  of the config's file, where paths that it names are looked up too
        """
        total = len(self.problems)
        try:
            config = config_class.model_validate(self.root, context={"folder": folder})
        except ValidationError as refused:
            total += self._note_refused(refused, Guide(json_schema(config_class)))
        if self.problems:
            raise self._errors(total)
        return config

    def _note_refused(self, refused: ValidationError, guide: Guide) -> int:
        """Note the first errors by line, for explaining each costs, and return their number.

        What the reader spoiled is left out, and so are the other members of a union.
        """
        spoiled = {problem.path for problem in self.problems if problem.spoils}
        errors: dict[KeyPath, ErrorDetails] = {}
        for error in refused.errors(include_url=False):
            path, _ = guide.locate(error)
            if path not in spoiled:
                errors.setdefault(path, error)
        for path in sorted(errors, key=self.line)[:MAX_SHOWN]:
            problem = guide.explain(errors[path], self.line(path), self.root)
            self.problems.append(problem)
        return len(errors)

    def line(self, path: KeyPath) -> int:
        """Return the line of `path`, or of the nearest section around it."""
        while path not in self.lines:
            path = path[:-1]
        return self.lines[path]

    def _errors(self, total: int) -> ConfigErrors:
        first = sorted(self.problems, key=lambda problem: problem.line)[:MAX_SHOWN]
        return ConfigErrors([self._report(problem) for problem in first], total)

    def place(self, line: int) -> str:
        """Return a line as users find it: in the file, or among the overrides behind it."""
        if line > LAST_LINE:
            word = self.words[line - LAST_LINE - 1]
            return f"override {shorten(word, GIVEN_WIDTH)!r}"
        return shorten(f"{self.path}:{line}")

    def _report(self, problem: Problem) -> str:
        where = self.place(problem.line)
        rows = {"given": problem.given, "allowed": problem.allowed, "why": problem.why}
        lines = [f"{name + ':':<8} {text}" for name, text in rows.items() if text]
        lines += [f"did you mean: {problem.meant}"] * bool(problem.meant)
        path = shorten(dotted(problem.path), GIVEN_WIDTH)
        heading = f"error: {where}: {path}" if path else f"error: {where}"
        return "\n".join([heading, *(shorten(f"  {line}") for line in lines)])


def _address(root: Plain, parts: Sequence[str]) -> KeyPath:
    """Return the key path that `parts` spell; raise ValueError if it leads through a scalar."""
    path: KeyPath = ()
    node = root
    for part in parts:
        if isinstance(node, list):
            index = next((i for i in range(len(node)) if str(i) == part), None)
            if index is None:
                raise ValueError(f"{dotted(path)} has no item {shorten(part, GIVEN_WIDTH)}")
            path, node = (*path, index), node[index]
        elif isinstance(node, dict) or node is None:  # a missing section, and null, become one
            path, node = (*path, part), (node or {}).get(part)
        else:
            held = shorten(write(node), GIVEN_WIDTH)
            raise ValueError(f"{dotted(path)} is {held}, which has no keys")
    return path


def _replaced(node: Plain, path: KeyPath, value: Plain) -> Plain:
    """Return the tree `node` with `value` at `path`."""
    if not path:
        return value
    first, rest = path[0], path[1:]
    if isinstance(node, list) and isinstance(first, int):
        return [*node[:first], _replaced(node[first], rest, value), *node[first + 1 :]]
    assert isinstance(first, str)
    assert isinstance(node, dict | None)
    section = node or {}
    return {**section, first: _replaced(section.get(first), rest, value)}
