"""The pages: their commands run, their output and code are real, their links lead somewhere."""

import re
import runpy
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from page_commands import PAGES, ROOT, Command, blocks, misplaced_comments, name_of
from prepared import prepare
from small_files import CONFIGS
from typer.main import get_command

from bptrain.bench import products
from bptrain.cli import app
from bptrain.config import load_config
from bptrain.experiment.config import ExperimentConfig
from bptrain.experiment.search.space import read_space

CLI = get_command(app)
COMMANDS = [
    pytest.param(command, id=f"{name_of(page)}: {command.line}")
    for page in PAGES
    for block in blocks(page)
    for command in block.commands
]
RUN = [page for page in PAGES if any(not each.not_run for b in blocks(page) for each in b.commands)]
NOT_RUN = [each for each in COMMANDS if each.values[0].not_run]
CODE = re.compile(r"<!-- code of (\S+) -->\n```python\n(.*?)```", re.DOTALL)
LINK = re.compile(r"\]\((?!https?:|#|mailto:)([^)#\s]+)")


def words_of(part: tuple[str, ...]) -> list[str]:
    """Return the words after `bptrain`, without a redirection."""
    return list(part[1 : part.index(">")] if ">" in part else part[1:])


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_names_options_and_keys_that_exist(command: Command) -> None:
    for part in command.parts:
        if part[0] != "bptrain":
            assert (ROOT / part[1]).is_file()
            continue
        words = words_of(part)
        context = CLI.make_context("bptrain", [], resilient_parsing=True)
        if words[0].startswith("--"):
            assert words[0] in {option for each in CLI.get_params(context) for option in each.opts}
            continue
        name, sub, rest = CLI.resolve_command(context, words)
        given = sub.make_context(name, list(rest)).params
        if str(given.get("config")).startswith("configs/"):
            words = given["overrides"] or []
            if name == "sweep":
                space = read_space(words)
                words = [*space.fixed, *space.words(next(space.combinations()))]
            load_config(ExperimentConfig, ROOT / given["config"], words)


@pytest.mark.parametrize("command", NOT_RUN)
def test_a_command_that_is_not_run_says_why(command: Command) -> None:
    assert len(command.not_run.split()) >= 3


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_comment_of_a_page_is_read(page: Path) -> None:
    assert misplaced_comments(page) == []


@pytest.mark.parametrize("page", RUN, ids=name_of)
def test_the_commands_of_a_page_run(
    page: Path, bptrain: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "configs").symlink_to(CONFIGS)
    monkeypatch.setattr(products, "PEAK_SIDE", {"cpu": 64})  # what the machine can do: no output
    monkeypatch.setattr(products, "COPIED_NUMBERS", 1024)
    printed = ""
    for block in blocks(page):
        for name in block.given:
            prepare(name, tmp_path)
        for line in block.output:
            assert squeezed(line) in printed, f"{line!r} is no longer printed"
        for number, command in enumerate(each for each in block.commands if not each.not_run):
            printed = "" if number == 0 else printed
            for part in command.parts:
                if part[0] == "python":
                    monkeypatch.setattr(sys, "argv", list(part[1:]))
                    runpy.run_path(str(ROOT / part[1]), run_name="__main__")
                    continue
                result = bptrain(*words_of(part), *command.added)
                assert result.exit_code == command.exit_code, f"{command.line}: {result.output}"
                if ">" in part:
                    (tmp_path / part[part.index(">") + 1]).write_text(result.stdout)
                printed += squeezed(result.stdout)


def squeezed(text: str) -> str:
    """Return a text with single spaces."""
    return " ".join(text.split())


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_code_on_a_page_stands_in_its_file(page: Path) -> None:
    for path, code in CODE.findall(page.read_text(encoding="utf-8")):
        assert squeezed(code) in squeezed((ROOT / path).read_text(encoding="utf-8")), path


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_the_links_of_a_page_lead_somewhere(page: Path) -> None:
    made = ("reference/config/", "reference/operations/")
    for link in LINK.findall(page.read_text(encoding="utf-8")):
        target = (page.parent / link).resolve()
        if target.is_relative_to(ROOT / "docs"):
            path = target.relative_to(ROOT / "docs").as_posix()
            assert target.exists() or path.startswith(made), link
        else:
            assert target.exists(), link


def test_the_navigation_has_every_page() -> None:
    nav = yaml.safe_load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"))["nav"]
    patterns = list(leaves(nav))
    docs = ROOT / "docs"
    found = {path.relative_to(docs).as_posix() for path in docs.rglob("*.md")}
    shown = {path.relative_to(docs).as_posix() for each in patterns for path in docs.glob(each)}
    assert found - shown == set(), "mkdocs.yml lacks these pages"


def leaves(nav: object) -> list[str]:
    """Return the paths and patterns of a navigation."""
    if isinstance(nav, str):
        return [nav]
    below = nav.values() if isinstance(nav, dict) else nav
    return [path for each in below for path in leaves(each)]


def test_no_file_holds_the_marks_of_an_unfinished_merge() -> None:
    folders = ("bptrain", "configs", "docs", "scripts", "tests")
    files = [*ROOT.glob("*.*"), *(path for name in folders for path in (ROOT / name).rglob("*.*"))]
    texts = {".cfg", ".css", ".jinja", ".json", ".md", ".py", ".toml", ".txt", ".yaml", ".yml"}
    marks = re.compile(r"^(<{7}|>{7}) ", re.MULTILINE)
    found = [path for path in files if path.suffix in texts and marks.search(path.read_text())]
    assert found == []
