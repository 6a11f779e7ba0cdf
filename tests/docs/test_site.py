"""The pages that are made from the code, and the search for addresses that pages would load."""

import re
from pathlib import Path
from xml.etree import ElementTree

import addresses
import config_keys
import operations
import pytest
from page_commands import ROOT

from bptrain.config import json_schema
from bptrain.experiment.config import ExperimentConfig

PAGES = config_keys.pages()
TEXT = "\n".join(PAGES.values())
SCHEMA = json_schema(ExperimentConfig)
CLASSES = {name: each for name, each in SCHEMA["$defs"].items() if "properties" in each}
OPERATIONS = operations.operations(ROOT)


@pytest.mark.parametrize("name", CLASSES)
def test_every_key_of_a_section_is_told_with_its_meaning(name: str) -> None:
    (page,) = [text for text in PAGES.values() if f"{{ #{name} }}" in text or is_whole(name, text)]
    section = page.partition(f"{{ #{name} }}")[2].partition("\n## ")[0] or page
    for key, node in CLASSES[name]["properties"].items():
        if key != "kind":
            assert f"<dt><code>{key}</code>" in section, key
            assert node["description"], key


def is_whole(name: str, page: str) -> bool:
    """Return whether a page is of this section alone, which then has no heading of its own."""
    section = next(iter(re.findall(r"^# `(\w+)`", page)), "")
    return str(SCHEMA["properties"].get(section, {}).get("$ref", "")).endswith(f"/{name}")


def test_the_index_tells_the_keys_at_the_top_and_links_the_sections() -> None:
    index = PAGES["reference/config/index.md"]
    for key in SCHEMA["properties"]:
        assert f"<code>{key}</code>" in index or f"[`{key}`]({key}.md)" in index


def test_a_key_shows_its_default_and_what_is_allowed() -> None:
    found = re.search(
        r"<dt><code>level</code> <span>default <code>(.*?)</code></span></dt>\n"
        r"<dd>.*?<p class='allowed'>(.*?)</p></dd>",
        PAGES["reference/config/monitor.md"],
    )
    assert found is not None
    assert found[1] == "&quot;standard&quot;"
    assert found[2] == "One of basic, standard, full."
    assert "<em>required</em>" in PAGES["reference/config/data.md"]


@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda each: each.name)
def test_the_page_of_an_operation_is_well_formed_and_holds_its_code(operation: object) -> None:
    page = operations.page(operation)
    assert page.startswith(f"# {operation.name}\n")
    assert operation.code in page
    for heading in ("Forward", "Backward"):
        assert f"\n## {heading}\n" in page
    for block in re.findall(r"^<div class='derivation'>.*?^</div>$(?=\n\n)", page, re.M | re.S):
        ElementTree.fromstring(block.replace("&nbsp;", " "))


def test_notes_between_the_rules_and_every_section_are_kept() -> None:
    (norm,) = [each for each in OPERATIONS if each.name == "batch_norm"]
    page = operations.page(norm)
    assert "depends on" in page
    assert "the three terms collapse into one line:" in page
    assert "\n## Saves\n" in page
    assert "Ioffe and Szegedy" in page


def test_formulas_on_a_page_are_typeset() -> None:
    page = (ROOT / "docs" / "scale.md").read_text(encoding="utf-8")
    blocks = re.findall(r"^```formula\n(.*?)^```$", page, re.M | re.S)
    assert len(blocks) > 3
    for block in blocks:
        ElementTree.fromstring(operations.typeset(block))
    assert "<msub><mi>log</mi><mrow><mn>2</mn></mrow></msub>" in operations.typeset(blocks[0])


def test_the_index_lists_every_operation() -> None:
    index = operations.pages(ROOT)["reference/operations/index.md"]
    assert all(f"]({each.name}.md)" in index for each in OPERATIONS)
    assert len(OPERATIONS) > 70


@pytest.mark.parametrize(
    ("lines", "rows"),
    [
        (["x [N, C]", "of one channel"], 2),  # the first is no sentence
        (["n counts the values of a", "channel; they are independent"], 1),
        (["it ends.", "another one"], 2),
        (["a is one   b another", "c is the third   d too"], 2),  # columns
    ],
)
def test_a_broken_sentence_is_one_row(lines: list[str], rows: int) -> None:
    assert len(operations.joined(lines)) == rows


@pytest.mark.parametrize(
    ("name", "text", "found"),
    [
        ("a.html", '<script src="https://x.org/a.js"></script>', ["https://x.org/a.js"]),
        ("a.html", '<link rel="stylesheet" href="//x.org/a.css">', ["//x.org/a.css"]),
        ("a.html", '<p style="background: url(https://x.org/a.png)">', ["https://x.org/a.png"]),
        ("a.html", '<a href="https://x.org">a link</a><img src="a.png">', []),
        ("a.css", "@import 'https://x.org/b.css'; a { b: url(c.png) }", ["https://x.org/b.css"]),
    ],
)
def test_what_a_page_would_load_from_elsewhere_is_found(
    name: str, text: str, found: list[str], tmp_path: Path
) -> None:
    (tmp_path / name).write_text(text)
    assert list(addresses.loaded_from_elsewhere(tmp_path)) == [f"{name}: {each}" for each in found]
