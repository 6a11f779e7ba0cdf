"""Strict configs: read from YAML with every error at once, written back, explained.

A config class says everything once, in its fields: types, bounds, defaults, descriptions. What a
user is told is allowed comes from the JSON Schema that pydantic derives from them.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from difflib import get_close_matches
from os import PathLike
from typing import Any, TypeAlias, TypeVar, get_args, get_origin

from pydantic import BaseModel, ConfigDict, ValidationError, model_validator
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

from bptrain.errors import UsageError, shorten
from bptrain.yaml_tree import (
    MAX_BYTES,
    MAX_DEPTH,
    MAX_NUMBER,
    KeyPath,
    Plain,
    Problem,
    dotted,
    read_text,
    read_tree,
    resolve,
    write,
    write_lines,
)

Node: TypeAlias = dict[str, Any]  # a piece of JSON Schema
Config = TypeVar("Config", bound="StrictConfig")

MAX_SHOWN = 50  # errors in one listing
GIVEN_WIDTH = 80  # characters of what the user wrote that are quoted
LAST_LINE = MAX_BYTES + 1  # no file has more; the n-th override counts as the n-th line behind it


class StrictConfig(BaseModel):
    """The base of every config section: no unknown key, no conversion, no change, no NaN.

    Where a field has a default, its section may leave out `kind`: the default's kind is meant.
    """

    model_config = ConfigDict(
        extra="forbid", strict=True, frozen=True, allow_inf_nan=False, validate_default=True
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
    for word in overrides:
        draft.override(word)
    return draft.checked(config_class)


def to_yaml(config: StrictConfig) -> str:
    """Return the resolved config as YAML that load_config reads back to an equal object."""
    return "\n".join(write_lines(config.model_dump(mode="json"), {})) + "\n"


def starter(config: StrictConfig) -> str:
    """Return the config as YAML to start from: above each key a comment on what it may be."""
    lines = write_lines(config.model_dump(mode="json"), _comments(config))
    return "\n".join(lines).lstrip("\n") + "\n"


def _comments(config: StrictConfig, above: KeyPath = ()) -> dict[KeyPath, str]:
    """Return the comment of each key path: the field's description, then what is allowed."""
    guide = _Guide(json_schema(type(config)))
    comments: dict[KeyPath, str] = {}
    for name, field in type(config).model_fields.items():
        node, value = guide.root["properties"][name], getattr(config, name)
        if isinstance(value, StrictConfig):
            kinds = ", ".join(guide.kinds(node))
            allowed = f"kinds: {kinds}" if kinds else ""
            comments |= _comments(value, (*above, name))
        else:
            allowed = "" if name == "kind" else guide.describe(node)
        comments[*above, name] = "; ".join(filter(None, [field.description, allowed]))
    return comments


def json_schema(config_class: type[StrictConfig]) -> Node:
    """Return the JSON Schema of a config file; `kind` is required where there is no default."""
    schema = config_class.model_json_schema()
    for union in _unions(schema):
        default = union.get("default") or {}
        for kind, reference in union["discriminator"]["mapping"].items():
            member = schema["$defs"][_name(reference)]
            keys = {"kind", *member.get("required", [])}
            member["required"] = sorted(keys - ({"kind"} if kind == default.get("kind") else set()))
    return schema


def _unions(node: Any) -> Iterator[Node]:
    """Yield each tagged union of a JSON Schema."""
    if isinstance(node, dict) and "discriminator" in node:
        yield node
    children = node.values() if isinstance(node, dict) else node if isinstance(node, list) else ()
    for child in children:
        yield from _unions(child)


def _name(reference: str) -> str:
    return reference.rpartition("/")[2]


class _Draft:
    """A config being read: its plain tree, the line of each key path, and what is wrong."""

    def __init__(self, path: str, text: str) -> None:
        tree = read_tree(text)
        self.path, self.words = path, list[str]()
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
            self.problems.append(Problem((), line, "no path of keys and a value", allowed))
            return
        try:
            path = _address(self.root, parts)
        except ValueError as error:
            self.problems.append(Problem(tuple(parts), line, str(error), "a path of keys"))
            return
        tree = read_tree(text)
        self.problems += [replace(each, path=path + each.path, line=line) for each in tree.problems]
        self.root = _replaced(self.root, path, tree.root)
        self._move(path, line)

    def _move(self, path: KeyPath, line: int) -> None:
        """Say that what is at or below `path`, and the sections made for it, came on `line`."""
        below = len(path)
        self.lines = {old: n for old, n in self.lines.items() if old[:below] != path}
        for depth in range(1, below + 1):
            self.lines.setdefault(path[:depth], line)

    def checked(self, config_class: type[Config]) -> Config:
        """Return the config; raise ConfigErrors with what the reader and the schema refuse."""
        total = len(self.problems)
        try:
            config = config_class.model_validate(self.root)
        except ValidationError as refused:
            total += self._note_refused(refused, _Guide(json_schema(config_class)))
        if self.problems:
            raise self._errors(total)
        return config

    def _note_refused(self, refused: ValidationError, guide: "_Guide") -> int:
        """Note the first errors by line, for explaining each costs, and return their number.

        What the reader refused already is left out, and so are the other members of a union.
        """
        known = {problem.path for problem in self.problems}
        errors: dict[KeyPath, ErrorDetails] = {}
        for error in refused.errors(include_url=False):
            path, _ = guide.locate(error)
            if path not in known:
                errors.setdefault(path, error)
        for path in sorted(errors, key=self._line)[:MAX_SHOWN]:
            problem = guide.explain(errors[path], self._line(path), self.root)
            self.problems.append(problem)
        return len(errors)

    def _line(self, path: KeyPath) -> int:
        """Return the line of `path`, or of the nearest section around it."""
        while path not in self.lines:
            path = path[:-1]
        return self.lines[path]

    def _errors(self, total: int) -> ConfigErrors:
        first = sorted(self.problems, key=lambda problem: problem.line)[:MAX_SHOWN]
        return ConfigErrors([self._report(problem) for problem in first], total)

    def _report(self, problem: Problem) -> str:
        if problem.line > LAST_LINE:
            word = self.words[problem.line - LAST_LINE - 1]
            where = f"override {shorten(word, GIVEN_WIDTH)!r}"
        else:
            where = f"{self.path}:{problem.line}"
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
    assert isinstance(first, str) and (isinstance(node, dict) or node is None)
    section = node or {}
    return {**section, first: _replaced(section.get(first), rest, value)}


_BOUNDS = {
    "minimum": "at least",
    "exclusiveMinimum": "greater than",
    "maximum": "at most",
    "exclusiveMaximum": "less than",
}
_BOOLEANS = {"yes": True, "on": True, "true": True, "no": False, "off": False, "false": False}


class _Guide:
    """The JSON Schema of a config class, put into words."""

    def __init__(self, schema: Node) -> None:
        self.root = schema
        self._definitions: Node = schema.get("$defs", {})

    def locate(self, error: ErrorDetails) -> tuple[KeyPath, Node]:
        """Return the user's key path of an error, and the schema of what may stand there.

        Pydantic names the member of a union on the way, which is no key: a tag is skipped, and
        below a union without tags nothing can be said of one member.
        """
        path: KeyPath = ()
        node, section = self.root, self.root
        for part in error["loc"]:
            node = self._followed(node)
            if "discriminator" in node:
                node = self._definitions[_name(node["discriminator"]["mapping"][part])]
            elif "anyOf" in node:
                break
            else:
                path, section, node = (*path, part), node, _child(node, part)
        if error["type"] == "extra_forbidden":
            return path, section
        if error["type"].startswith("union_tag"):
            return (*path, "kind"), {"enum": self.kinds(node)}
        return path, node

    def explain(self, error: ErrorDetails, line: int, root: Plain) -> Problem:
        """Return what was given instead of what is allowed, and the nearest that is."""
        path, node = self.locate(error)
        if error["type"] == "extra_forbidden":
            keys, key = list(node["properties"]), str(path[-1])
            meant = _nearest(key, keys) or self._elsewhere(key)
            return Problem(path, line, "an unknown key", ", ".join(keys), meant=meant)
        value = _value(root, path)
        given = "nothing" if value is _ABSENT else shorten(write(value), GIVEN_WIDTH)
        if reason := error.get("ctx", {}).get("error"):  # a validator's own words
            return Problem(path, line, "" if isinstance(value, dict) else given, why=str(reason))
        return Problem(path, line, given, self.describe(node), meant=self._meant(value, node))

    def kinds(self, node: Node) -> list[str]:
        """Return the kinds of a tagged union; none for anything else."""
        return list(self._followed(node).get("discriminator", {}).get("mapping", {}))

    def describe(self, node: Node) -> str:
        """Say in words which values a schema allows."""
        if "$ref" in node:
            return self.describe(self._definitions[_name(node["$ref"])])
        if "anyOf" in node:
            return " or ".join(map(self.describe, node["anyOf"]))
        if "const" in node:
            return write(node["const"])
        if "enum" in node:
            return "one of " + ", ".join(map(write, node["enum"]))
        if "discriminator" in node:
            return f"a section whose kind is one of {', '.join(self.kinds(node))}"
        match node.get("type"):
            case "integer":
                return _describe_number("an integer", node)
            case "number":
                return _describe_number("a number", node)
            case "string":
                return _describe_text(node)
            case "array":
                return self._describe_list(node)
            case "object":
                keys = ", ".join(node.get("properties", {}))
                return f"a section with the keys {keys}" if keys else "a section"
        return {"boolean": "true or false", "null": "null"}.get(node.get("type", ""), "any value")

    def _describe_list(self, node: Node) -> str:
        size = _describe_size(node.get("minItems"), node.get("maxItems"), "values")
        items = [self.describe(item) for item in node.get("prefixItems", [node.get("items", {})])]
        each = f"each {items[0]}" if len(set(items)) == 1 else "in turn " + ", ".join(items)
        return f"a list{size}, {each}"

    def _followed(self, node: Node) -> Node:
        """Follow references, and the one way in which an optional value is not null."""
        if "$ref" in node:
            return self._followed(self._definitions[_name(node["$ref"])])
        ways = [way for way in node.get("anyOf", []) if way.get("type") != "null"]
        return self._followed(ways[0]) if len(ways) == 1 else node

    def _elsewhere(self, key: str) -> str:
        """Return the path of a section's key of this name, if there is one."""
        for name, node in self.root["properties"].items():
            references = self._followed(node).get("discriminator", {}).get("mapping", {}).values()
            members = [self._definitions[_name(each)] for each in references]
            if any(key in each.get("properties", {}) for each in [*members, self._followed(node)]):
                return f"{name}.{key}"
        return ""

    def _meant(self, value: Any, node: Node) -> str:
        """Return what text in the place of another value was probably meant to be."""
        node = self._followed(node)
        if not isinstance(value, str) or len(value) > MAX_NUMBER:
            return ""
        if node.get("type") == "boolean" and value.lower() in _BOOLEANS:
            return write(_BOOLEANS[value.lower()])
        if node.get("type") in ("integer", "number"):
            number = resolve(value.replace("_", ""))
            return "" if isinstance(number, str | bool | None) else write(number)
        return _nearest(value, [str(each) for each in node.get("enum", [node.get("const", "")])])
