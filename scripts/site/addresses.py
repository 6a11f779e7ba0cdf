"""Exit with 1 if a page of the built site would load anything from elsewhere."""

import re
import sys
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path

LOADED = {  # what a browser loads by itself; a link is followed only by a reader
    ("script", "src"), ("img", "src"), ("img", "srcset"), ("source", "src"), ("source", "srcset"),
    ("iframe", "src"), ("embed", "src"), ("object", "data"), ("video", "src"), ("audio", "src"),
    ("link", "href"), ("use", "href"), ("image", "href"),
}  # fmt: skip
NOT_LOADED = {"canonical", "alternate", "next", "prev"}  # kinds of <link> that only name an address
EXTERNAL = re.compile(r"\s*(?:https?:)?//", re.IGNORECASE)
IN_CSS = re.compile(r"(?:url\(|@import)\s*['\"]?\s*((?:https?:)?//[^'\")\s]+)", re.IGNORECASE)


class Addresses(HTMLParser):
    """The addresses that a page loads from elsewhere."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note what an element loads."""
        given = {name: value or "" for name, value in attrs}
        if tag == "link" and given.get("rel") in NOT_LOADED:
            return
        for name, value in given.items():
            if (tag, name) in LOADED and EXTERNAL.match(value):
                self.found.append(value)
            elif name == "style":
                self.found += IN_CSS.findall(value)


def external(path: Path) -> list[str]:
    """Return the addresses that a page or a style sheet loads from elsewhere."""
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".css":
        return IN_CSS.findall(text)
    page = Addresses()
    page.feed(text)
    return page.found


def loaded_from_elsewhere(site: Path) -> Iterator[str]:
    """Yield a line for each address that a file of the site loads."""
    for path in sorted(site.rglob("*")):
        if path.suffix in (".html", ".css"):
            yield from (f"{path.relative_to(site)}: {each}" for each in external(path))


if __name__ == "__main__":
    problems = list(loaded_from_elsewhere(Path(sys.argv[1])))
    print("\n".join(problems) or "no page loads anything from elsewhere")
    sys.exit(bool(problems))
