"""Reads HTML pages in tests: are they well formed, and do they need nothing from elsewhere?"""

import re
from html.parser import HTMLParser

VOID = {"meta", "link", "img", "input", "br", "circle", "line", "rect", "polyline", "stop", "path"}
HANDLERS = ("onclick", "onload", "onerror")
PICTURES = re.compile(r"data:image/png;base64,[A-Za-z0-9+/=]*")


class Elements(HTMLParser):
    """Reads a page: its elements, and whether each is closed."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.attributes: list[tuple[str, str, str | None]] = []
        self.tags: set[str] = set()
        self.text: list[str] = []
        self.wrong: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes += [(tag, name, value) for name, value in attrs]
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag in VOID:
            return
        if not self.open or self.open.pop() != tag:
            self.wrong.append(tag)

    def handle_data(self, data: str) -> None:
        self.text.append(data)


def read(content: str) -> Elements:
    """Return a page's elements, after checking that it is well formed and needs nothing else."""
    found = Elements()
    found.feed(content)
    assert found.wrong == []
    assert found.open == []
    for tag, attribute, value in found.attributes:
        assert attribute not in HANDLERS
        if attribute in ("src", "href"):
            assert (value or "").startswith(("#", "data:image/png;base64,")), (tag, value)
    assert "@import" not in content
    plain = PICTURES.sub("", content)
    assert "http:" not in plain
    assert "https:" not in plain
    anchors = {value for _, name, value in found.attributes if name == "id"}
    links = {value[1:] for _, name, value in found.attributes if name == "href" and value}
    assert links <= anchors
    return found
