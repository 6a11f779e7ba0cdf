"""What MkDocs calls while it builds the site: pages that are made, and links to the repository.

- The operations and the keys of a config have pages that are made from the code.
- A link that leaves docs/, such as ../configs/xor_tiny.yaml, leads to a page with that file.
- The notebook has a page with its cells and outputs, to which links to it lead.
- A block ```formula is typeset.
- An entry of the navigation such as lessons/*.md stands for the pages it matches.
"""

import posixpath
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import config_keys
import notebook_page
import operations
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).parents[2]
FORMULA = re.compile(r"^```formula\n(.*?)^```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\((\.\./[^)#\s]+)\)")
FILES = "files"  # the folder of the pages that show files of the repository
LANGUAGES = {".py": "python", ".yaml": "yaml", ".yml": "yaml", ".toml": "toml", ".md": "markdown"}


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Replace patterns in the navigation by the pages that match."""
    config.nav = list(_entries(config.nav or [], Path(config.docs_dir)))
    return config


def _entries(nav: list[Any], docs: Path) -> Iterator[Any]:
    for entry in nav:
        if isinstance(entry, str) and "*" in entry:
            yield from (path.relative_to(docs).as_posix() for path in sorted(docs.glob(entry)))
        elif isinstance(entry, dict):
            for title, below in entry.items():
                yield {title: list(_entries(below, docs)) if isinstance(below, list) else below}
        else:
            yield entry


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages that are made from the code, and those of the files that pages link to."""
    made = operations.pages(ROOT) | config_keys.pages()
    made |= notebook_page.pages(Path(config.docs_dir))
    for path, text in made.items():
        files.append(File.generated(config, path, content=text))
    linked: set[str] = set()
    for file in list(files.documentation_pages()):
        targets = LINK.findall(file.content_string)
        linked |= {found for each in targets if (found := in_repository(file.src_uri, each))}
    for path in sorted(linked):
        files.append(File.generated(config, f"{FILES}/{path}.md", content=_listing(path)))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Turn links to files of the repository into links to the pages that show them."""
    here = page.file.src_uri
    if here != notebook_page.PAGE:
        markdown = markdown.replace(f"]({notebook_page.NOTEBOOK})", f"]({notebook_page.PAGE})")
    markdown = FORMULA.sub(lambda block: operations.typeset(block[1]), markdown)

    def shown(link: re.Match[str]) -> str:
        path = in_repository(here, link[1])
        if path is None:
            return link[0]
        return f"]({posixpath.relpath(f'{FILES}/{path}.md', posixpath.dirname(here))})"

    return LINK.sub(shown, markdown)


def in_repository(page: str, link: str) -> str | None:
    """Return the path of a file outside of docs/ that a link of a page leads to, or None."""
    path = posixpath.normpath(posixpath.join("docs", posixpath.dirname(page), link))
    is_outside = not path.startswith(("docs/", ".."))
    return path if is_outside and (ROOT / path).is_file() else None


def _listing(path: str) -> str:
    """Return a page that shows a file."""
    text = (ROOT / path).read_text(encoding="utf-8")
    language = LANGUAGES.get(Path(path).suffix, "text")
    return f"# {path}\n\n``````{language}\n{text.rstrip()}\n``````\n"
