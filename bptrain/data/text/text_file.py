"""Text files read as a whole: regular files that fit into memory, compressed by gzip or not.

The encoding is checked strictly. A byte order mark is dropped. Line ends are not changed: to a
model they are symbols like others.
"""

import stat
import zlib
from collections.abc import Sequence
from gzip import BadGzipFile, GzipFile
from pathlib import Path
from typing import BinaryIO

from bptrain.config.paths import located
from bptrain.data.data_file import missing
from bptrain.data.encodings import HEAD, Encoding, is_utf16, likely_encoding
from bptrain.data.file_kinds import refuse_binary, refuse_utf32
from bptrain.data.file_tree import FileKind, tree_of
from bptrain.errors import DataError
from bptrain.free_memory import format_bytes, free_bytes

MEMORY = 16  # bytes held at most for each byte of a file: text, code points, their indices, tokens
PACKED = ".gz"
TEXT = FileKind("text", (".txt", ".txt.gz"))
BLOCK = 2**20


def read_texts(path: Path, encoding: Encoding = "utf-8") -> str:
    """Return the text of a file, or of all texts below a folder in the order of their paths.

    Hidden files are left out. Raises DataError.
    """
    files = texts_of(path)
    refuse_what_does_not_fit(path, sum(map(size_of, files)) * MEMORY)
    return "".join(read_text(file, encoding) for file in files)


def texts_of(path: Path) -> Sequence[Path]:
    """Return the text files at `path`: itself, or the texts below a folder."""
    try:
        is_folder = stat.S_ISDIR(path.stat().st_mode)
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path
        raise unreadable(path, error) from error
    if not is_folder:
        return [path]
    texts = tree_of(path, TEXT).files
    if not texts:
        raise DataError(f"{path}: a folder without *.txt files")
    return list(map(Path, texts))


def size_of(path: Path) -> int:
    """Return the size of a regular file, or raise DataError: a pipe could block forever."""
    try:
        found = path.stat()
    except (OSError, ValueError) as error:
        raise unreadable(path, error) from error
    if not stat.S_ISREG(found.st_mode):
        raise DataError(f"{path}: not a regular file")
    return found.st_size


def read_text(path: Path, encoding: Encoding = "utf-8") -> str:
    """Return the text of a regular file, unpacked if its name ends in .gz, or raise DataError."""
    return decoded(read_bytes(path), str(path), encoding)


def read_bytes(path: Path) -> bytes:
    """Return what a regular file holds, unpacked if its name ends in .gz, or raise DataError."""
    size = size_of(path)
    refuse_what_does_not_fit(path, size * MEMORY)
    try:
        with path.open("rb") as file:
            is_packed = path.name.lower().endswith(PACKED)
            return _unpacked(path, file) if is_packed else file.read(size)
    except (BadGzipFile, EOFError, zlib.error) as error:
        what = "cut off" if isinstance(error, EOFError) else "damaged, or not compressed by gzip"
        raise DataError(f"{path}: {what}", str(error), "fetch the file again") from error
    except OSError as error:
        raise unreadable(path, error) from error


def _unpacked(path: Path, file: BinaryIO) -> bytes:
    """Return what a gzip file holds; raise DataError once it is more than the memory takes."""
    blocks, size = [], 0
    with GzipFile(fileobj=file) as packed:
        while block := packed.read(BLOCK):
            blocks.append(block)
            size += len(block)
            refuse_what_does_not_fit(path, size * MEMORY)
    return b"".join(blocks)


def decoded(content: bytes, source: str, encoding: Encoding = "utf-8", hint: str = "") -> str:
    """Return the text of a file's bytes, or raise DataError naming the byte that is none.

    hint  what to do where no key of the config says the encoding
    """
    head = content[:HEAD]
    if b"\0" in head:
        refuse_utf32(source, head)
        refuse_binary(source, head)
    if encoding == "utf-8" and is_utf16(head):
        hint = hint or "data.encoding: utf-16"
        raise DataError(f"{source}: is UTF-16, not UTF-8 text", "", hint)
    try:
        return content.decode(encoding).removeprefix("\ufeff")
    except UnicodeDecodeError as error:
        refuse_binary(source, head)
        place = f"byte {error.start:,} is 0x{content[error.start]:02x}"
        what = f"{source}: not {encoding.upper()} text: {place}"
        if b"\0" in content:
            raise DataError(
                what, "it holds NUL bytes, which no text does", "a text file"
            ) from error
        likely = f"data.encoding: {likely_encoding(content)}, which is likely its encoding"
        key = likely if encoding == "utf-8" else "another data.encoding"
        raise DataError(what, error.reason, hint or key) from error


def refuse_what_does_not_fit(path: Path, needed: int) -> None:
    """Raise DataError if more memory is needed for what is in `path` than there is."""
    free = free_bytes()
    if needed > free:
        raise DataError(
            f"{path}: too large: reading it takes about {format_bytes(needed)}",
            f"{format_bytes(free)} of memory are free",
            "use a part of the file",
        )


def given_text(word: str, encoding: Encoding = "utf-8") -> str:
    """Return the text of the file that `word` names, or the word itself.

    Raises DataError for a file that cannot be read, and for a name that ends in .txt and is none.
    """
    is_name = is_file(word) or names_file(word, *TEXT.endings)
    return read_text(located(word), encoding) if is_name else word


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
