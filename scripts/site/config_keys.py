"""A page for each section of a config: every key, its meaning, allowed values and default."""

import json
from collections.abc import Iterator
from html import escape

from bptrain.config import json_schema
from bptrain.config.guide import Guide, Node, definition
from bptrain.experiment.config import ExperimentConfig

FOLDER = "reference/config"
INDEX = """\
# Every key of a config

A config is a YAML file. These pages are made from the classes that read it.
`bptrain validate CONFIG` names every key that is wrong, with its line, and `bptrain init KIND`
prints a config in which every key is explained. A key can be changed from the command line by its
path: `optimizer.lr=0.01`.

What is not given has its default; a key that is *required* has none.

## Sections

| section | what it sets |
|---|---|
"""
SECTIONS = {
    "data": "the data set, its split, batches and augmentation",
    "model": "the network",
    "loss": "what is minimized; left out, the task's own",
    "optimizer": "how a gradient moves the weights",
    "schedule": "how the learning rate changes",
    "train": "how long to train, clipping, accumulation, averaging, early stopping",
    "monitor": "what is logged, and how often",
    "metrics": "how predictions are judged",
    "checkpoint": "what is kept",
}


def pages() -> dict[str, str]:
    """Return the Markdown of the pages, by their path in the site: an index and the sections."""
    guide = Guide(json_schema(ExperimentConfig))
    properties = guide.root["properties"]
    plain = {name: node for name, node in properties.items() if not _targets(guide, node)}
    sections = [name for name in properties if name not in plain]
    rows = [f"| [`{name}`]({name}.md) | {SECTIONS[name]} |" for name in sections]
    top = _keys(guide, plain, set())
    index = f"{INDEX}{chr(10).join(rows)}\n\n## Keys beside them\n\n{top}\n"
    return {f"{FOLDER}/index.md": index} | {
        f"{FOLDER}/{name}.md": "\n\n".join(_page(guide, name, properties[name])) + "\n"
        for name in sections
    }


def _page(guide: Guide, name: str, node: Node) -> Iterator[str]:
    yield f"# `{name}`"
    yield SECTIONS[name][0].upper() + SECTIONS[name][1:] + "."
    kinds = guide.kinds(node)
    if default := (node.get("default") or {}).get("kind"):
        yield f"`{name}` may be left out: its default kind is `{default}`."
    waiting = _targets(guide, node)
    listed: set[str] = set()
    while waiting:
        target = waiting.pop(0)
        if target in listed:
            continue
        listed.add(target)
        section = guide.root["$defs"][target]
        kind = section["properties"].get("kind", {}).get("const")
        if len(listed) > 1 or kinds:
            yield f"## {_heading(kind, target)} {{ #{target} }}"
        yield escape(_sentence(section.get("description", "").partition("\n")[0]), quote=False)
        yield _keys(guide, section["properties"], set(section.get("required", ())))
        waiting += [each for one in section["properties"].values() for each in _targets(guide, one)]


def _heading(kind: str | None, target: str) -> str:
    return f"`kind: {kind}`" if kind else f"`{target.removesuffix('Config')}`"


def _sentence(text: str) -> str:
    return text if text.endswith(".") or not text else f"{text}."


def _keys(guide: Guide, properties: Node, required: set[str]) -> str:
    rows = [
        row
        for name, node in properties.items()
        for row in _key(guide, name, node, name in required)
        if name != "kind"
    ]
    return "\n".join(["<dl class='keys'>", *rows, "</dl>"])


def _key(guide: Guide, name: str, node: Node, is_required: bool) -> Iterator[str]:
    default = node.get("default")
    if is_required or "default" not in node:
        shown = "<em>required</em>"
    elif isinstance(default, dict):
        shown = f"default: kind <code>{default['kind']}</code>" if "kind" in default else ""
    else:
        shown = f"default <code>{escape(json.dumps(default))}</code>"
    meaning = _sentence(node.get("description", ""))
    links = [f"<a href='#{target}'>{_link(guide, target)}</a>" for target in _targets(guide, node)]
    allowed = f"Its keys: {', '.join(links)}" if links else _text(guide.describe(node))
    yield f"<dt><code>{name}</code> <span>{shown}</span></dt>"
    yield f"<dd>{_text(meaning)}<p class='allowed'>{allowed}.</p></dd>"


def _text(words: str) -> str:
    return escape(words[:1].upper() + words[1:], quote=False)


def _link(guide: Guide, target: str) -> str:
    properties = guide.root["$defs"][target]["properties"]
    return str(properties.get("kind", {}).get("const") or target.removesuffix("Config"))


def _targets(guide: Guide, node: object) -> list[str]:
    """Return the names of the sections that a value may hold, in their order."""
    if isinstance(node, list):
        return [each for one in node for each in _targets(guide, one)]
    if not isinstance(node, dict):
        return []
    if "discriminator" in node:
        return [definition(each) for each in node["discriminator"]["mapping"].values()]
    if "$ref" in node:
        target = definition(node["$ref"])
        return [target] if "properties" in guide.root["$defs"][target] else []
    parts = [node.get(key) for key in ("anyOf", "items", "prefixItems", "additionalProperties")]
    return _targets(guide, parts)
