"""Random changes of bytes and of configs, each drawn from a generator with a fixed seed."""

import json
from collections.abc import Iterator
from copy import deepcopy
from functools import cache
from random import Random
from typing import Any

from bptrain.config import json_schema
from bptrain.config.yaml_tree import Plain
from bptrain.experiment.config import ExperimentConfig

EXTREMES: list[Any] = [
    *(None, True, False, 0, -1, 1, 2, 3, 7, 2**31, 2**63, 2**64, 10**30, 0.5, -0.0, 1e-320, 1e30),
    *(1e39, 1e308, "", "x", "x" * 300, "\x1b[2J", "ä", "/", "..", "~", "null", "1e3", "\u202e"),
    *([], {}, [[]], [1, 2], [0.5], {"kind": "x"}, [None], "a/b", "{", "kind"),
]
SMALL = (1, 2, 3, 4, 8)
INTEGERS = (0, 5, 100, 2**31, 10**12, 2**63)
NUMBERS = (0.0, 1e-320, 1e-8, 2.0, 1e9, 1e30, 1e39, 1e308)
NOT_CHANGED = {
    "workers",  # each is a process that imports torch
    "compile",  # a minute of the compiler at the first start
}
NAMES = ("x", "\x1b[2J", "[/b]", "\n", "\udcff", "/" * 3)
WORDS = (b"\0\0\0\0", b"\xff\xff\xff\xff", b"\xff\xff\xff\x7f", b"\0\0\0\x80", b"\1\0\0\0")


def changed_bytes(content: bytes, random: Random) -> bytes:
    """Return content with one to four changes of a few bytes each."""
    data = bytearray(content)
    for _ in range(random.randint(1, 4)):
        at = (
            random.randrange(len(data) + 1)
            if random.random() < 0.6
            else random.randrange(min(len(data), 200) + 1)
        )  # headers come first
        length = random.choice((1, 2, 4, 16, 256))
        match random.randrange(7):
            case 0 if at < len(data):
                data[at] ^= 1 << random.randrange(8)
            case 1:
                data[at : at + 4] = random.choice(WORDS)
            case 2:
                del data[at : at + length]
            case 3:
                data[at:at] = data[at : at + length]
            case 4:
                data[at : at + length] = random.randbytes(length)
            case 5:
                data[at : at + length] = bytes(length)
            case 6 if random.random() < 0.3:
                del data[at:]
    return bytes(data)


def changed_tree(tree: Any, random: Random) -> Any:
    """Return plain values with one to three of them replaced, removed or exchanged."""
    changed = {"": deepcopy(tree)}
    for _ in range(random.choice((1, 1, 2, 3))):
        places = list(nodes(changed))
        holder, key = random.choice(places)
        other, of_other = random.choice(places)
        match random.randrange(5):
            case 0 | 1:
                holder[key] = deepcopy(random.choice(EXTREMES))
            case 4 if isinstance(holder, dict) and key:
                holder[f"{key}{random.choice(NAMES)}"] = holder.pop(key)
            case 2 if isinstance(holder, list) or key:
                del holder[key]
            case 3:
                holder[key] = deepcopy(other[of_other])
    return changed[""]


@cache
def config_schema() -> dict[str, Any]:
    """Return the JSON Schema of a config."""
    return json_schema(ExperimentConfig)


class ConfigMutator:
    """Changes configs: most changes use keys and kinds that exist, so that they come far."""

    def __init__(self, random: Random) -> None:
        self.random = random
        self.schema = config_schema()
        self.definitions = self.schema["$defs"]

    def changed(self, config: dict[str, Any]) -> str:
        """Return the text of a config with a few changes."""
        tree: Any = json.loads(json.dumps(config))
        for _ in range(self.random.choice((1, 1, 2, 3))):
            draw = self.random.random()
            if draw < 0.6:
                self._set_known_key(tree)
            elif draw < 0.9:
                self._replace_node(tree)
            else:
                self._remove_node(tree)
        text = json.dumps(tree, indent=1 if self.random.random() < 0.5 else None)
        if self.random.random() < 0.1:
            text = changed_bytes(text.encode(), self.random).decode("latin1")
        return text

    def _set_known_key(self, tree: dict[str, Any]) -> None:
        """Set a key that a section has to a value that it may have, or to an extreme one."""
        name = self.random.choice(
            [key for key in self.schema["properties"] if key not in NOT_CHANGED]
        )
        section = tree.get(name)
        properties = self._properties(self.schema["properties"][name], section)
        if not properties or self.random.random() < 0.05:
            tree[name] = self._value(self.schema["properties"][name])
            return
        if not isinstance(section, dict) or (
            name not in ("data", "model", "train") and self.random.random() < 0.3
        ):
            tree[name] = section = self._section(self.schema["properties"][name])
            properties = self._properties(self.schema["properties"][name], section)
        keys = [key for key in properties if key not in NOT_CHANGED]
        if keys and isinstance(section, dict):
            key = self.random.choice(keys)
            section[key] = self._value(properties[key])

    def _section(self, node: Any) -> dict[str, Any]:
        """Return a section of some kind that a schema allows, with its required keys."""
        kinds = self._kinds(node)
        if not kinds:
            return {}
        kind = self.random.choice(list(kinds))
        member = self._followed({"$ref": kinds[kind]})
        required = [key for key in member.get("required", []) if key != "kind"]
        return {"kind": kind} | {key: self._value(member["properties"][key]) for key in required}

    def _properties(self, node: Any, section: object) -> dict[str, Any]:
        kinds = self._kinds(node)
        kind = section.get("kind") if isinstance(section, dict) else None
        if kinds:
            node = (
                {"$ref": kinds.get(kind, next(iter(kinds.values())))}
                if isinstance(kind, str | None)
                else {}
            )
        found: dict[str, Any] = self._followed(node).get("properties", {})
        return found

    def _kinds(self, node: Any) -> dict[str, str]:
        found: dict[str, str] = self._followed(node).get("discriminator", {}).get("mapping", {})
        return found

    def _followed(self, node: Any) -> Any:
        if "$ref" in node:
            return self._followed(self.definitions[node["$ref"].rpartition("/")[2]])
        members = [each for each in node.get("anyOf", []) if each.get("type") != "null"]
        return self._followed(members[0]) if len(members) == 1 else node

    def _value(self, node: Any, depth: int = 0) -> Any:
        """Return a value of a schema's type, most of them small; or an extreme one."""
        if self.random.random() < 0.1 or depth > 4:
            return deepcopy(self.random.choice(EXTREMES))
        node = self._followed(self.random.choice(node["anyOf"]) if "anyOf" in node else node)
        if "enum" in node or "const" in node:
            return self.random.choice(node.get("enum", [node.get("const")]))
        if "discriminator" in node:
            return self._section(node)
        match node.get("type"):
            case "integer":
                bounds = (node.get("minimum", 1), node.get("maximum", 2), *INTEGERS)
                return self.random.choice((*SMALL, *bounds))
            case "number":
                bounds = (node.get("minimum", 0), node.get("maximum", 1), *NUMBERS)
                return self.random.choice((0.1, 0.5, 0.9, 1.5, *bounds))
            case "boolean":
                return self.random.random() < 0.5
            case "array":
                item = node.get("prefixItems", [node.get("items", {})])[0]
                return [self._value(item, depth + 1) for _ in range(self.random.randrange(4))]
            case "object":
                return {
                    key: self._value(each, depth + 1)
                    for key, each in node.get("properties", {}).items()
                    if self.random.random() < 0.3 and key not in NOT_CHANGED
                }
        return deepcopy(self.random.choice(EXTREMES))

    def _replace_node(self, tree: Plain) -> None:
        holder, key = self.random.choice(list(nodes(tree)) or [({}, "x")])
        if key not in NOT_CHANGED:
            holder[key] = deepcopy(self.random.choice(EXTREMES))

    def _remove_node(self, tree: Plain) -> None:
        holder, key = self.random.choice(list(nodes(tree)) or [({"x": 1}, "x")])
        del holder[key]


def nodes(tree: Any) -> Iterator[tuple[Any, Any]]:
    """Yield each place in a tree: what holds it, and its key or index."""
    pairs = (
        tree.items()
        if isinstance(tree, dict)
        else enumerate(tree)
        if isinstance(tree, list)
        else ()
    )
    for key, each in list(pairs):
        yield tree, key
        yield from nodes(each)
