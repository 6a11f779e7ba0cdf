"""Describe a config class from its JSON Schema: the allowed values, and error messages."""

from difflib import get_close_matches
from typing import Any, Final, TypeAlias

from pydantic_core import ErrorDetails

from bptrain.config.yaml_tree import MAX_NUMBER, KeyPath, Plain, Problem, resolve, write
from bptrain.errors import shorten

Node: TypeAlias = dict[str, Any]  # a piece of JSON Schema

GIVEN_WIDTH: Final = 80  # characters of what the user wrote that are quoted
_BOUNDS = {
    "minimum": "at least",
    "exclusiveMinimum": "greater than",
    "maximum": "at most",
    "exclusiveMaximum": "less than",
}
_BOOLEANS = {"yes": True, "on": True, "true": True, "no": False, "off": False, "false": False}
_ABSENT: Final = object()


class Guide:
    """Descriptions of the values that the JSON Schema of a config class allows."""

    def __init__(self, schema: Node) -> None:
        self.root = schema
        self._definitions: Node = schema.get("$defs", {})

    def locate(self, error: ErrorDetails) -> tuple[KeyPath, Node]:
        """Return the user's key path of an error, and the schema of the values allowed there.

        Pydantic's path includes the member of a union, which is not a key: a tag is skipped, and
        the path ends at a union without tags, whose member is not known.
        """
        path: KeyPath = ()
        node, section = self.root, self.root
        for part in error["loc"]:
            node = self._followed(node)
            if "discriminator" in node:
                node = self._definitions[definition(node["discriminator"]["mapping"][part])]
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
        """Return the error: the given value, the allowed values and the most similar of them."""
        path, node = self.locate(error)
        if error["type"] == "extra_forbidden":
            keys = _keys(node)
            meant = _nearest(str(path[-1]), keys) or self._elsewhere(path)
            return Problem(path, line, "an unknown key", ", ".join(keys), meant=meant)
        value = _value(root, path)
        given = "nothing" if value is _ABSENT else shorten(write(value), GIVEN_WIDTH)
        context = error.get("ctx", {})
        if reason := context.get("error"):  # the message of a validator
            given = "" if isinstance(value, dict) else given
            return Problem(path, line, given, why=str(reason), meant=context.get("meant", ""))
        return Problem(path, line, given, self.describe(node), meant=self._meant(value, node, path))

    def kinds(self, node: Node) -> list[str]:
        """Return the kinds of a tagged union; none for anything else."""
        return list(self._followed(node).get("discriminator", {}).get("mapping", {}))

    def describe(self, node: Node) -> str:
        """Describe the values that a schema allows."""
        if "$ref" in node:
            return self.describe(self._definitions[definition(node["$ref"])])
        if "anyOf" in node:
            return " or ".join(map(self.describe, node["anyOf"]))
        if "const" in node:
            return write(node["const"])
        if "enum" in node:
            return "one of " + ", ".join(map(write, node["enum"]))
        if "discriminator" in node:
            return f"a section whose kind is one of {', '.join(self.kinds(node))}"
        return self._describe_typed(node)

    def _describe_typed(self, node: Node) -> str:
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
                keys = ", ".join(_keys(node))
                return f"a section with the keys {keys}" if keys else "a section"
        return {"boolean": "true or false", "null": "null"}.get(node.get("type", ""), "any value")

    def _describe_list(self, node: Node) -> str:
        size = _describe_size(node.get("minItems"), node.get("maxItems"), "values")
        items = [self.describe(item) for item in node.get("prefixItems", [node.get("items", {})])]
        each = f"each {items[0]}" if len(set(items)) == 1 else "in turn " + ", ".join(items)
        return f"a list{size}, {each}"

    def _followed(self, node: Node) -> Node:
        """Follow references, and the member of an optional value's union that is not null."""
        if "$ref" in node:
            return self._followed(self._definitions[definition(node["$ref"])])
        members = [each for each in node.get("anyOf", []) if each.get("type") != "null"]
        return self._followed(members[0]) if len(members) == 1 else node

    def _elsewhere(self, path: KeyPath) -> str:
        """Return the key path, at the top or in a section, where the last key of `path` is allowed.

        "" if that is another kind of the same section: then the key is in the right section.
        """
        key = str(path[-1])
        known = {"": _keys(self.root)}
        for name, node in self.root["properties"].items():
            section = self._followed(node)
            references = section.get("discriminator", {}).get("mapping", {}).values()
            members = [self._definitions[definition(each)] for each in references]
            known[f"{name}."] = [each for member in [section, *members] for each in _keys(member)]
        found = [f"{section}{key}" for section, keys in known.items() if key in keys]
        return "" if ".".join(map(str, path)) in found else next(iter(found), "")

    def _meant(self, value: object, node: Node, path: KeyPath) -> str:
        """Return the allowed value that was probably meant, or ""."""
        node = self._followed(node)
        if "anyOf" in node:
            found = (self._meant(value, each, path) for each in node["anyOf"])
            return next(filter(None, found), "")
        type_ = node.get("type")
        if type_ == "integer" and isinstance(value, float) and value.is_integer():
            return write(int(value))
        if not isinstance(value, str) or len(value) > MAX_NUMBER:
            return ""
        if kind := _nearest(value, self.kinds(node)):
            name = ".".join(map(str, path))
            return f"{name}.kind={kind}, or in a file {path[-1]}: {{kind: {kind}}}"
        if type_ == "boolean" and value.lower() in _BOOLEANS:
            return write(_BOOLEANS[value.lower()])
        if type_ in ("integer", "number"):
            number = resolve(value.replace("_", ""))
            return "" if isinstance(number, str | bool | None) else write(number)
        return _nearest(value, [str(each) for each in node.get("enum", [node.get("const", "")])])


def definition(reference: str) -> str:
    """Return the name under which a schema defines what `reference` points to."""
    return reference.rpartition("/")[2]


def kind_first(entries: dict[str, Any]) -> dict[str, Any]:
    """Return the entries of a section in order, but with `kind` first."""
    return dict(sorted(entries.items(), key=lambda entry: entry[0] != "kind"))


def _keys(section: Node) -> list[str]:
    return list(kind_first(section.get("properties", {})))


def _child(node: Node, part: str | int) -> Node:
    """Return the schema of one entry of a section or list; {} allows anything."""
    if isinstance(part, int):
        items = dict(enumerate(node.get("prefixItems", [])))
        return items.get(part) or node.get("items") or {}
    entries = node.get("additionalProperties")
    return node.get("properties", {}).get(part) or (entries if isinstance(entries, dict) else {})


def _value(root: Plain, path: KeyPath) -> Any:
    """Return what the user gave at `path`, or _ABSENT."""
    node: Any = root
    for part in path:
        entries = dict(enumerate(node)) if isinstance(node, list) else node
        if not isinstance(entries, dict) or part not in entries:
            return _ABSENT
        node = entries[part]
    return node


def _nearest(word: str, choices: list[str]) -> str:
    return next(iter(get_close_matches(word.lower(), choices, n=1)), "")


def _describe_number(noun: str, node: Node) -> str:
    if "minimum" in node and "maximum" in node:
        return f"{noun} from {write(node['minimum'])} to {write(node['maximum'])}"
    bounds = [f"{bound} {write(node[key])}" for key, bound in _BOUNDS.items() if key in node]
    return ", ".join(filter(None, [noun, " and ".join(bounds)]))


def _describe_text(node: Node) -> str:
    size = _describe_size(node.get("minLength"), node.get("maxLength"), "characters")
    pattern = f" matching {node['pattern']}" if "pattern" in node else ""
    return f"text{size}{pattern}"


def _describe_size(low: int | None, high: int | None, noun: str) -> str:
    if low is not None and high is not None:
        return f" of {low} {noun}" if low == high else f" of {low} to {high} {noun}"
    if high is not None:
        return f" of at most {high} {noun}"
    return f" of {low} or more {noun}" if low is not None else ""
