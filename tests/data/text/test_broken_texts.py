"""Broken texts: exit 3 before anything is trained, the file and the byte named."""

import lzma
import os
import tarfile
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from zipfile import ZipFile

import pytest

from bptrain.data.text.text_config import TextConfig
from bptrain.errors import DataError

CONFIG = """
data: {kind: text, path: PATH, window: 8, batch_size: 2}
model: {kind: mlp}
"""


@pytest.fixture
def fit(bptrain: Callable, tmp_path: Path) -> Callable:
    """Fit the text at `path`, or with these bytes, and return the error message."""

    def run(given: bytes | Path, *words: str) -> str:
        path = given if isinstance(given, Path) else tmp_path / "text.txt"
        if isinstance(given, bytes):
            path.write_bytes(given)
        config = tmp_path / "config.yaml"
        config.write_text(CONFIG.replace("PATH", str(path)))
        result = bptrain("fit", config, *words)
        assert result.exit_code == 3, result.output
        assert str(path) in result.stderr
        assert len(result.stderr.strip().splitlines()) <= 6
        assert "Traceback" not in result.stderr
        assert not Path("runs").exists()
        return str(result.stderr)

    return run


def packed(pack: Callable[[Path], None]) -> bytes:
    """Return the bytes of an archive that `pack` makes."""
    with TemporaryDirectory() as folder:
        pack(Path(folder, "archive"))
        return Path(folder, "archive").read_bytes()


def zipped(path: Path) -> None:
    with ZipFile(path, "w") as archive:
        archive.writestr("text.txt", "abcd" * 50)


def tarred(path: Path) -> None:
    with tarfile.open(path, "w") as archive:
        archive.addfile(tarfile.TarInfo("text.txt"))


BROKEN: dict[str, tuple[bytes, str]] = {
    "a zip file": (packed(zipped), "is a zip file, no text"),
    "a tar archive": (packed(tarred), "is a tar archive, no text"),
    "xz": (lzma.compress(b"abcd" * 50), "is compressed by xz, no text"),
    "UTF-32": (("abcd" * 50).encode("utf-32"), "is UTF-32, not UTF-8 text"),
    "latin1": ("ein schöner text ".encode("latin1") * 20, "byte 7 is 0xf6"),
    "a cut character": (b"text " * 20 + "é".encode()[:1], "byte 100 is 0xc3"),
    "utf-16": (("text " * 20).encode("utf-16"), "data.encoding: utf-16"),
    "utf-16 without a mark": (("text " * 20).encode("utf-16-le"), "data.encoding: utf-16"),
    "a likely encoding": (
        "smart \u201cquotes\u201d ".encode("cp1252") * 9,
        "data.encoding: cp1252",
    ),
    "a surrogate": (b"text " * 20 + b"\xed\xa0\x80", "byte 100 is 0xed"),
    "an overlong form": (b"text " * 20 + b"\xc0\xaf", "byte 100 is 0xc0"),
    "a PNG": (b"\x89PNG\r\n\x1a\n" + bytes(100), "is a PNG image, no text"),
    "nothing": (b"", "it is empty"),
    "a byte order mark alone": (b"\xef\xbb\xbf", "it is empty"),
    "one character": (b"a" * 1000, "nothing to predict"),
    "a single character": (b"a", "nothing to predict"),
    "one character in training": (b"a" * 90 + b"b" * 10, "nothing to predict"),
    "a short validation part": (b"abcd" * 20, "validation part: 8 characters, 9 are needed"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_text_is_refused(fit: Callable, name: str) -> None:
    content, expected = BROKEN[name]
    assert expected in fit(content)


def test_a_short_test_part_is_refused(fit: Callable) -> None:
    assert "test part: 4 characters, 9 are needed" in fit(b"abcd" * 50, "data.test_fraction=0.02")


@pytest.mark.parametrize("validation", [0.0, 0.5])
def test_a_text_too_short_for_a_window_in_each_stream_is_refused(
    tmp_path: Path, validation: float
) -> None:
    path = tmp_path / "text.txt"
    path.write_text("abcd" * 4)
    config = TextConfig(path=str(path), window=4, batch_size=8, validation_fraction=validation)
    train = config.build(0).train
    with pytest.raises(DataError, match=r"text.txt, training part: \d+ characters, 33 are needed"):
        train.serve(config.batch_size, seed=0)


def test_a_missing_file_is_refused(fit: Callable, tmp_path: Path) -> None:
    assert f"there is no {tmp_path / 'missing.txt'}" in fit(tmp_path / "missing.txt")


def test_a_name_with_a_zero_byte_is_refused() -> None:
    with pytest.raises(DataError, match="null"):
        TextConfig(path="a\0b").build(0)


def test_a_link_in_a_circle_is_refused(fit: Callable, tmp_path: Path) -> None:
    link = tmp_path / "link.txt"
    link.symlink_to(link)
    assert "symbolic links" in fit(link)


def test_a_folder_with_a_link_in_a_circle_is_refused(fit: Callable, tmp_path: Path) -> None:
    folder = tmp_path / "texts"
    folder.mkdir()
    (folder / "a.txt").write_text("abcd" * 50)
    (folder / "b.txt").symlink_to(folder / "b.txt")
    assert "b.txt: cannot be read" in fit(folder)


def test_a_folder_without_texts_is_refused(fit: Callable, tmp_path: Path) -> None:
    folder = tmp_path / "texts"
    folder.mkdir()
    (folder / "a.md").write_text("abcd" * 50)
    assert "a folder without *.txt files" in fit(folder)


def test_a_folder_names_the_file_that_is_broken(fit: Callable, tmp_path: Path) -> None:
    folder = tmp_path / "texts"
    folder.mkdir()
    (folder / "a.txt").write_text("abcd" * 50)
    (folder / "b.txt").write_bytes(b"ab\xff")
    assert "b.txt: not UTF-8 text: byte 2 is 0xff" in fit(folder)


def test_a_folder_under_the_name_of_a_text_is_refused(fit: Callable, tmp_path: Path) -> None:
    (tmp_path / "texts" / "a.txt").mkdir(parents=True)
    assert "a.txt: a folder where a text should be" in fit(tmp_path / "texts")


def test_a_pipe_is_not_waited_for(fit: Callable, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.txt")
    assert "not a regular file" in fit(tmp_path / "pipe.txt")


def test_an_endless_device_is_not_read(fit: Callable) -> None:
    assert "not a regular file" in fit(Path("/dev/zero"))


def test_a_text_larger_than_memory_is_refused_before_it_is_read(
    fit: Callable, tmp_path: Path
) -> None:
    path = tmp_path / "huge.txt"
    with path.open("wb") as file:
        file.truncate(2**42)  # 4 TiB of zeros that take no place on the disk
    assert "too large" in fit(path)


@pytest.mark.parametrize(
    ("word", "expected"),
    [("", "input 2 '': an empty text"), ("prompt.txt", "prompt.txt: not found")],
)
def test_a_prompt_without_text_is_refused(word: str, expected: str) -> None:
    with pytest.raises(DataError, match=expected):
        TextConfig(path="unused").prepare(["a", word], {"symbols": ["?", "a"]})


def test_a_prompt_in_a_broken_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "prompt.txt"
    path.write_bytes(b"ab\xff")
    with pytest.raises(DataError, match="byte 2"):
        TextConfig(path="unused").prepare([str(path)], {"symbols": ["?", "a"]})
