"""Text files read as a whole: regular files in strict UTF-8 that fit into memory.

A byte order mark is dropped. Line ends are not changed: to a model they are symbols like others.
"""

import stat
from collections.abc import Sequence
from pathlib import Path

from bptrain.data.data_file import missing
from bptrain.errors import DataError
from bptrain.free_memory import format_bytes, free_bytes

MEMORY = 16  # bytes held at most for each byte of a file: text, code points, their indices, tokens
SUFFIX = ".txt"
UTF_16_MARKS = (b"\xff\xfe", b"\xfe\xff")


def read_texts(path: Path) -> str:
    """Return the text of a file, or of a folder's *.txt files in the order of their names.

    Hidden files are left out. Raises DataError.
    """
    files = texts_of(path)
    sizes = [size_of(file) for file in files]
    refuse_what_does_not_fit(path, sum(sizes) * MEMORY)
    return "".join(read_text(file) for file in files)


def texts_of(path: Path) -> Sequence[Path]:
    """Return the text files at `path`: itself, or the *.txt files of a folder."""
    try:
        if not stat.S_ISDIR(path.stat().st_mode):
            return [path]
        files = sorted(path.iterdir())
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path
        raise unreadable(path, error) from error
    texts = [file for file in files if file.suffix == SUFFIX and not file.name.startswith(".")]
    if not texts:
        raise DataError(f"{path}: a folder without *{SUFFIX} files")
    return texts


def size_of(path: Path) -> int:
    """Return the size of a regular file, or raise DataError: a pipe could block forever."""
    try:
        found = path.stat()
    except (OSError, ValueError) as error:
        raise unreadable(path, error) from error
    if not stat.S_ISREG(found.st_mode):
        raise DataError(f"{path}: not a regular file")
    return found.st_size


def read_text(path: Path) -> str:
    """Return the text of a regular file, or raise DataError."""
    size = size_of(path)
    refuse_what_does_not_fit(path, size * MEMORY)
    try:
        with path.open("rb") as file:
            content = file.read(size)
    except OSError as error:
        raise unreadable(path, error) from error
    return decoded(content, str(path))


def decoded(content: bytes, source: str) -> str:
    """Return the text of a file's bytes, or raise DataError naming the byte that is no UTF-8."""
    try:
        return content.decode("utf-8").removeprefix("\ufeff")
    except UnicodeDecodeError as error:
        encoding = "utf-16" if content.startswith(UTF_16_MARKS) else "latin1"
        raise DataError(
            f"{source}: not UTF-8 text: byte {error.start:,} is 0x{content[error.start]:02x}",
            error.reason,
            f"iconv -f {encoding} -t utf-8, if that is its encoding",
        ) from error


def refuse_what_does_not_fit(path: Path, needed: int) -> None:
    """Raise DataError if more memory is needed for what is in `path` than there is."""
    free = free_bytes()
    if needed > free:
        raise DataError(
            f"{path}: too large: reading it takes about {format_bytes(needed)}",
            f"{format_bytes(free)} of memory are free",
            "use a part of the file",
        )


def given_text(word: str) -> str:
    """Return the text of the file that `word` names, or the word itself.

    Raises DataError for a file that cannot be read, and for a name that ends in .txt and is none.
    """
    return read_text(Path(word)) if is_file(word) or names_file(word, SUFFIX) else word


def names_file(word: str, *suffixes: str) -> bool:
    """Tell whether a word names a file with one of these suffixes, whether it exists or not."""
    return word.lower().endswith(suffixes) and (is_file(word) or len(word.split()) == 1)


def is_file(word: str) -> bool:
    """Tell whether a word is the name of a regular file."""
    try:
        return stat.S_ISREG(Path(word).stat().st_mode)
    except (OSError, ValueError):  # no file, or nothing that could be the name of one
        return False


def unreadable(path: Path, error: OSError | ValueError) -> DataError:
    """Return the error for what the file system refuses."""
    if isinstance(error, FileNotFoundError):
        return missing(path)
    return DataError(f"{path}: cannot be read", getattr(error, "strerror", None) or str(error))
