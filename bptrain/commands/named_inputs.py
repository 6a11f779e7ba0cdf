"""What words on the command line of `predict` name: files, folders, patterns, lists, texts.

Folders   the files of the run's kind below them, sorted, hidden ones left out
Patterns  such as 'new/*.png' that the shell left as they are, ** for folders in folders
Tables    given to a run of images: the images that they name
-         standard input: an input a line, as on the command line; for a run of tables or arrays the
          file itself
"""

import glob
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from bptrain.config.paths import located
from bptrain.data.data_file import is_directory
from bptrain.data.file_tree import FileKind, tree_of
from bptrain.data.images.image_formats import IMAGE
from bptrain.data.images.labelled_images import ImageIndex, file_column
from bptrain.data.tables.parquet_table import SUFFIXES as PARQUET
from bptrain.data.tables.table_file import TABLE, read_table
from bptrain.data.text.text_file import TEXT
from bptrain.errors import DataError, StorageError

STDIN = "-"
PARQUET_MARK = b"PAR1"


def expanded(words: Iterable[str], kind: FileKind) -> Iterator[str]:
    """Yield the inputs that words name, in their order; raise DataError for one that names none.

    kind  of the files that the run reads; where these are texts, a word may be one itself
    """
    for word in words:
        if word == STDIN:
            yield from expanded(_lines(), kind)
        elif _is_folder(word):
            yield from _files_below(word, kind)
        elif _is_pattern(word, kind):
            yield from _matches(word)
        elif kind is IMAGE and TABLE.has(word):
            yield from _listed_in(located(word))
        else:
            yield word if kind is TEXT else _path_of(word)


def groups_of(
    inputs: Iterable[str], size: int, is_large: Callable[[str], bool]
) -> Iterator[Sequence[str]]:
    """Yield inputs a few at a time, as they come, a large one by itself."""
    group: list[str] = []
    for word in inputs:
        stands_alone = is_large(word)
        if stands_alone and group:
            yield group
            group = []
        group.append(word)
        if stands_alone or len(group) == size:
            yield group
            group = []
    if group:
        yield group


def holds_many(kind: FileKind) -> bool:
    """Tell whether a file is many inputs: of a table, or of arrays."""
    return kind is TABLE or kind.endings == (".npz",)


@contextmanager
def with_file_of_stdin(words: Sequence[str], kind: FileKind) -> Iterator[Sequence[str]]:
    """Give words with a file in the place of -, which holds what standard input does.

    Only for a kind of files that are many inputs; others are named by the lines.
    """
    if STDIN not in words or not holds_many(kind):
        yield words
        return
    with tempfile.TemporaryDirectory() as folder:
        start = sys.stdin.buffer.read(len(PARQUET_MARK))
        is_parquet = kind is TABLE and start == PARQUET_MARK
        path = Path(folder) / f"stdin{PARQUET[0] if is_parquet else kind.endings[0]}"
        try:
            with path.open("wb") as file:
                file.write(start)
                shutil.copyfileobj(sys.stdin.buffer, file)
        except OSError as error:
            instead = "name the file in place of -, or set TMPDIR to a folder with space"
            raise StorageError.refused("a copy of standard input", error, instead) from error
        yield [str(path) if word == STDIN else word for word in words]


def _lines() -> Iterator[str]:
    for line in sys.stdin:
        if text := line.rstrip("\r\n"):
            yield text


def _is_folder(word: str) -> bool:
    try:
        return len(word.splitlines()) == 1 and is_directory(located(word))
    except DataError:  # no name of a file, which is said where it is read
        return False


def _is_pattern(word: str, kind: FileKind) -> bool:
    """Tell whether a word is a pattern; of texts only one that ends as their files do."""
    path = located(word)
    if not glob.has_magic(word) or path.exists():
        return False
    return kind is not TEXT or (len(word.split()) == 1 and kind.has(word))


def _path_of(word: str) -> str:
    """Return a word as it is, or the path that it is short for."""
    path = located(word)
    return word if path == Path(word) else str(path)


def _files_below(word: str, kind: FileKind) -> tuple[str, ...]:
    found = tree_of(located(word), kind)
    if not found.files:
        raise DataError(
            f"{word}: a folder without {kind.noun}s",
            f"their names end in {' '.join(kind.endings)}; "
            f"it holds {len(found.others):,} other files",
        )
    return found.files


def _matches(word: str) -> list[str]:
    found = sorted(glob.glob(str(located(word)), recursive=True))  # noqa: PTH207  may be absolute
    if not found:
        raise DataError(f"{word}: no file matches this pattern", f"looked for in {Path.cwd()}")
    return found


def _listed_in(path: Path) -> list[str]:
    """Return the images that a table names, whatever else it says of them."""
    import polars as pl  # costs a quarter of a second, needed for tables only

    table, index = read_table(path), ImageIndex(path.parent)
    names = table.column(file_column(table, index), "").cast(pl.String).fill_null("")
    return [index.path_of(name) for name in names.to_list()]
