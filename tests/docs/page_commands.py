"""The commands on the pages, read from their ```bash blocks, and what a comment above one says.

    <!-- not run: REASON -->          no command of the block is run
    <!-- not run (WORD): REASON -->   those that hold the word
    <!-- run with: WORDS -->          words, such as train.epochs=1, that make the commands short
    <!-- run with (WORD): WORDS -->   the same for those that hold the word
    <!-- given: NAMES -->             what the commands find in their folder, see `prepared.py`
    <!-- output -->                   above a ```text block: its lines are in the output before it

A shell comment `# exit code 11` behind a command says how it ends.
"""

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
BLOCK = re.compile(r"((?:^<!--[^\n]*-->\n+)*)^```(bash|text)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
COMMENT = re.compile(r"<!-- (not run|run with|given|output)(?: \(([^)]+)\))?(?:: (.+))? -->")
OURS = re.compile(r"<!--\s*(not run|run with|given|output -->)")
EXIT_CODE = re.compile(r"# exit code (\d+)")


class Command(NamedTuple):
    """A line of a page: commands joined by &&."""

    line: str
    parts: tuple[tuple[str, ...], ...]  # the words of each, those of others left out
    not_run: str  # why; "" if it is run
    added: tuple[str, ...]  # words that make it short
    exit_code: int


class Block(NamedTuple):
    """The commands of a block, what they find, and lines of a later block that they print."""

    commands: tuple[Command, ...]
    given: tuple[str, ...]
    output: tuple[str, ...]


class Note(NamedTuple):
    """A comment above a block."""

    kind: str
    word: str
    text: str


def name_of(page: Path) -> str:
    """Return the path of a page in the repository."""
    return page.relative_to(ROOT).as_posix()


def blocks(page: Path) -> Iterator[Block]:
    """Yield the blocks of a page that hold a command or its output."""
    for comments, language, text in BLOCK.findall(page.read_text(encoding="utf-8")):
        notes = [Note(*found) for found in COMMENT.findall(comments)]
        if language == "text":
            if any(note.kind == "output" for note in notes):
                yield Block((), (), tuple(text.splitlines()))
            continue
        given = [name for note in notes if note.kind == "given" for name in note.text.split()]
        commands = [_command(line, notes) for line in text.splitlines()]
        found = tuple(each for each in commands if each.parts)
        if found:
            yield Block(found, tuple(given), ())


def _command(line: str, notes: list[Note]) -> Command:
    ends = EXIT_CODE.search(line)
    meant = [note for note in notes if note.word in line]
    reasons = [note.text for note in meant if note.kind == "not run"]
    added = [word for note in meant if note.kind == "run with" for word in note.text.split()]
    parts = [tuple(part) for part in _parts(line) if part[:1] == ["bptrain"] or _is_script(part)]
    has_command = any(part[0] == "bptrain" for part in parts)
    return Command(
        line.partition("#")[0].strip(),
        tuple(parts) if has_command else (),
        " ".join(reasons),
        tuple(added),
        int(ends[1]) if ends else 0,
    )


def _parts(line: str) -> Iterator[list[str]]:
    words = shlex.split(line, comments=True)
    while "&&" in words:
        yield words[: words.index("&&")]
        words = words[words.index("&&") + 1 :]
    yield words


def _is_script(words: list[str]) -> bool:
    return words[:1] == ["python"] and words[1].startswith("scripts/")


def misplaced_comments(page: Path) -> list[str]:
    """Return the comments that nothing reads, and the words of others that no command holds."""
    text = page.read_text(encoding="utf-8")
    read: list[str] = []
    unused: list[str] = []
    for comments, _, lines in BLOCK.findall(text):
        read += comments.split("\n")
        unused += [note[1] for note in COMMENT.findall(comments) if note[1] not in lines]
    known = [each for each in read if COMMENT.fullmatch(each)]
    return unused + [line for line in text.splitlines() if OURS.match(line) and line not in known]
