"""Broken recordings: exit 3 before anything is trained, and the file is named."""

import os
import struct
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from zipfile import ZIP_BZIP2, ZIP_LZMA

import numpy as np
import pytest
import soundfile
from sounds import FLOAT, RATE, chunk, digits, encoded, fmt, riff, tone, wav, write_folder, zipped

from bptrain.data.audio.audio_folder import AudioFolderConfig
from bptrain.errors import DataError

CONFIG = """
data:
  kind: audio_folder
  path: 'PATH'
  pattern: "{label}_{speaker}_{index}.wav"
  sample_rate: 8000
  seconds: 0.25
  features: {n_fft: 256, hop: 80, mels: 20}
model: {kind: mlp, hidden: []}
"""
BROKEN = "5_b_3.wav"  # the broken file among valid ones


@pytest.fixture
def fit(bptrain: Callable, tmp_path: Path) -> Callable:
    """Fit the recordings in a path and return what was said."""

    def run(path: Path, *words: str) -> str:
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


SOUND = tone(440)
GOOD = wav(SOUND)
VALID = {name: sound for name, sound in digits(4).items() if name[0] in "359"}
DATA = chunk(b"data", encoded(SOUND))


def coded(kind: int, bits: int = 8) -> bytes:
    return riff(fmt(kind, bits=bits), DATA)


def with_sample(value: float) -> bytes:
    numbers = SOUND.copy()
    numbers[100] = value
    return wav(numbers, 32, FLOAT)


def compressed(format: str, subtype: str, sound: np.ndarray = SOUND) -> bytes:
    buffer = BytesIO()
    soundfile.write(buffer, sound, RATE, format=format, subtype=subtype)
    return buffer.getvalue()


def flipped_at(content: bytes, at: int) -> bytes:
    return content[:at] + bytes([content[at] ^ 0xFF]) + content[at + 1 :]


FLAC = compressed("FLAC", "PCM_16")
UNREADABLE = "damaged, or of a kind that is not read"
DOUBLE = struct.pack("<d", 1e300)
ULAW = riff(fmt(7, bits=8), chunk(b"data", bytes(9), 10))[:-1]
HALVES = [  # name, content, words of the error
    ("FLAC file", FLAC, UNREADABLE),
    ("Vorbis file", compressed("OGG", "VORBIS", tone(440, 24_000)), ""),
    ("Opus file", compressed("OGG", "OPUS", tone(440, 240_000)), ""),
    ("MP3 file", compressed("MP3", "MPEG_LAYER_III", tone(440, 24_000)), "24,000 samples declared"),
]
FILES: dict[str, tuple[bytes, str]] = {
    "zero bytes": (b"", "the file is empty"),
    "four bytes": (b"RIFF", "Format not recognised"),
    "a RIFF header alone": (riff(), "No 'data' chunk marker"),
    "a header without sound": (riff(fmt()), "No 'data' chunk marker"),
    "a data chunk of nothing": (riff(fmt(), chunk(b"data", b"")), "no sound"),
    "half a fmt chunk": (riff(fmt())[:30], "cut off at byte 30"),
    "a fmt chunk of 8 bytes": (riff(chunk(b"fmt ", bytes(8)), DATA), "Short 'fmt ' chunk"),
    "sound before its format": (riff(DATA, fmt()), "No 'data' chunk marker"),
    "half of the data": (GOOD[: len(GOOD) // 2], "declares 4,800 bytes, 2,378 are there"),
    "a byte too few": (GOOD[:-1], "4,799 are there"),
    "a declared size of 4 GB": (
        riff(fmt(), chunk(b"data", encoded(SOUND), 2**32 - 2)),
        "declares 4,294,967,294 bytes",
    ),
    "a chunk beyond the end": (riff(chunk(b"LIST", b"", 10**9), fmt(), DATA), "'LIST' chunk"),
    "a frame cut in two": (riff(fmt(), chunk(b"data", bytes(401))), "401 bytes of sound"),
    "two million empty chunks": (riff(*[chunk(b"junk", b"")] * 2_000_000), "more than 1024"),
    "65,535 channels": (riff(fmt(channels=65_535), DATA), "Too many channels"),
    "no channel": (riff(fmt(channels=0), DATA), "Channel count is zero"),
    "a sixth of a frame": (riff(fmt(channels=6), chunk(b"data", bytes(22))), "of 12 bytes"),
    "0 samples a second": (riff(fmt(rate=0), DATA), UNREADABLE),
    "7 samples a second": (wav(SOUND, rate=7), "7 samples per second"),
    "4 billion samples a second": (
        wav(SOUND, rate=2**32 - 1),
        UNREADABLE,
    ),
    "frames of 0 bytes": (riff(fmt(frame=0), DATA), "in frames of 0 bytes"),
    "frames of another size": (riff(fmt(frame=4), DATA), "in frames of 4 bytes"),
    "12 bits": (riff(fmt(bits=12), DATA), "in frames of 1 bytes"),
    "0 bits": (riff(fmt(bits=0), DATA), "unimplemented format"),
    "64-bit PCM": (riff(fmt(bits=64), DATA), "unimplemented format"),
    "64-bit floats of 1e300": (
        riff(fmt(FLOAT, bits=64), chunk(b"data", DOUBLE)),
        "inf",
    ),
    "mu-law cut off": (
        riff(fmt(7, bits=8), chunk(b"data", bytes(9), 10))[:-1],
        "declares 10 bytes",
    ),
    "ADPCM": (coded(2, 4), "Malformed 'fmt ' chunk"),
    "IMA ADPCM": (coded(0x11, 4), "Malformed 'fmt ' chunk"),
    "GSM": (coded(0x31, 0), "Invalid format chunk"),
    "MP3 inside": (coded(0x55, 0), "Malformed 'fmt ' chunk"),
    "a format of its own": (coded(0x1234), "Malformed 'fmt ' chunk"),
    "extensible, and no more": (coded(0xFFFE, 16), "unimplemented format"),
    "NaN": (with_sample(np.nan), "a sample of nan after 0.0125 s"),
    "infinity": (with_sample(-np.inf), "a sample of -inf after 0.0125 s"),
    "beyond any loudness": (with_sample(1e30), "full scale is 1"),
    "a text": (b"This is no recording.\n" * 30, "not a WAV, FLAC, OGG or MP3 file"),
    "an ID3 tag and nothing else": (b"ID3\4" + bytes(500), "ffmpeg -i"),
    "little-endian sizes behind a big-endian name": (b"RIFX" + GOOD[4:], "cut off"),
    "another RIFF": (GOOD[:8] + b"AVI " + GOOD[12:], "Format not recognised"),
    "a MATLAB file": (b"MATLAB 5.0 MAT-file" + bytes(500), "not a WAV, FLAC, OGG or MP3 file"),
    **{
        f"half of a {name}": (whole[: len(whole) // 2], expected)
        for name, whole, expected in HALVES
    },
    "FLAC with one byte flipped": (flipped_at(FLAC, len(FLAC) // 2), UNREADABLE),
}


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("where", ["folder", "zip"])
def test_a_broken_file_is_refused(fit: Callable, tmp_path: Path, name: str, where: str) -> None:
    content, expected = FILES[name]
    files = {**VALID, BROKEN: content}
    if where == "folder":
        path = write_folder(tmp_path / "root", files)
    else:
        path = tmp_path / "root.zip"
        path.write_bytes(zipped(files))
    said = fit(path)
    assert expected in said
    assert BROKEN in said.splitlines()[0]


@pytest.mark.parametrize("name", FILES)
def test_a_broken_file_is_not_predicted(tmp_path: Path, name: str) -> None:
    content, expected = FILES[name]
    path = tmp_path / BROKEN
    path.write_bytes(content)
    settings = AudioFolderConfig(path=str(tmp_path), sample_rate=RATE)
    with pytest.raises(DataError) as caught:
        settings.prepare([str(path)], {"mean": [0.0] * 40, "std": [1.0] * 40})
    assert expected in str(caught.value)
    assert str(path) in caught.value.what


@pytest.mark.parametrize("length", range(0, 44, 3))
def test_a_file_cut_anywhere_in_its_header_is_refused(tmp_path: Path, length: int) -> None:
    path = tmp_path / "cut.wav"
    path.write_bytes(GOOD[:length])
    settings = AudioFolderConfig(path=str(tmp_path), sample_rate=RATE)
    with pytest.raises(DataError, match=r"cut\.wav"):
        settings.prepare([str(path)], {})


def as_folder(root: Path) -> str:
    (root / "9_a_99.wav").mkdir()
    return "9_a_99.wav: a folder where a file should be"


def as_pipe(root: Path) -> str:
    os.mkfifo(root / "9_a_99.wav")
    return "9_a_99.wav: not a regular file"


def as_link_to_nothing(root: Path) -> str:
    (root / "9_a_99.wav").symlink_to(root / "gone")
    return "9_a_99.wav: not found"


def as_huge_file(root: Path) -> str:
    with (root / "9_a_99.wav").open("wb") as file:
        file.truncate(10**12)  # sparse: it takes no room
    return "9_a_99.wav: too large: 1.0 TB"


def as_unmatched(root: Path) -> str:
    (root / "noise.wav").write_bytes(GOOD)
    return "noise.wav: does not match data.pattern"


def as_one_class(root: Path) -> str:
    for path in root.iterdir():
        if not path.name.startswith("3_"):
            path.unlink()
    return "the training recordings have a single class: '3'"


def as_no_recordings(root: Path) -> str:
    for path in list(root.iterdir()):
        path.rename(path.with_suffix(".flac"))
    return "no recordings"


def as_nothing(root: Path) -> str:
    for path in list(root.iterdir()):
        path.unlink()
    return "none of 0 files is a .wav"


@pytest.mark.parametrize(
    "harm",
    [
        as_folder,
        as_pipe,
        as_link_to_nothing,
        as_huge_file,
        as_unmatched,
        as_one_class,
        as_no_recordings,
        as_nothing,
    ],
)
def test_a_broken_folder_is_refused(fit: Callable, tmp_path: Path, harm: Callable) -> None:
    root = write_folder(tmp_path / "root", VALID)
    expected = harm(root)
    assert expected in fit(root)


def test_folders_that_link_in_a_circle_are_read_once(tmp_path: Path) -> None:
    root = write_folder(tmp_path / "root", {f"{c}/{n}.wav": GOOD for c in "ab" for n in range(9)})
    (root / "a" / "again").symlink_to(root)
    settings = AudioFolderConfig(path=str(root), sample_rate=RATE)
    assert len(settings.build(0).train) == 14


def entry_of(content: bytes, name: str = BROKEN) -> tuple[int, int]:
    """Return where a name stands in a zip file's own list, and where its file begins."""
    listed = content.rindex(name.encode()) - 46
    return listed, struct.unpack_from("<I", content, listed + 42)[0]


def flipped(content: bytes) -> bytes:
    _, start = entry_of(content)
    at = start + 30 + len(BROKEN) + 1000
    return content[:at] + bytes([content[at] ^ 0xFF]) + content[at + 1 :]


def with_field(offset: int, form: str, value: int) -> Callable[[bytes], bytes]:
    def change(content: bytes) -> bytes:
        changed = bytearray(content)
        struct.pack_into(form, changed, entry_of(content)[0] + offset, value)
        return bytes(changed)

    return change


ZIPS: dict[str, tuple[Callable[[bytes], bytes], str]] = {
    "an entry with one byte flipped": (flipped, f"{BROKEN}: damaged"),
    "a wrong checksum": (with_field(16, "<I", 1), f"{BROKEN}: damaged: Bad CRC-32"),
    "a declared size of 4 GB": (with_field(24, "<I", 2**32 - 2), f"{BROKEN}: too large: 4.3 GB"),
    "a declared size too small": (with_field(24, "<I", 100), f"{BROKEN}"),
    "a declared size too large": (with_field(24, "<I", 10**6), "of 1,000,000"),
    "an entry beyond the end": (with_field(42, "<I", 2**31), f"{BROKEN}: damaged"),
    "an encrypted entry": (with_field(8, "<H", 1), f"{BROKEN}: encrypted"),
    "an unknown method": (with_field(10, "<H", 99), "compressed by method 99"),
    "its second half": (lambda content: content[len(content) // 2 :], "damaged"),
    "its first half": (lambda content: content[: len(content) // 2], "valid zip file"),
    "nothing": (lambda content: b"", "valid zip file"),
    "a text": (lambda content: b"no zip file" * 9, "File is not a zip file"),
    "a recording itself": (lambda content: GOOD, "neither a folder nor a valid zip file"),
}


@pytest.mark.parametrize("name", ZIPS)
def test_a_broken_zip_file_is_refused(fit: Callable, tmp_path: Path, name: str) -> None:
    harm, expected = ZIPS[name]
    path = tmp_path / "root.zip"
    path.write_bytes(harm(zipped(VALID)))
    assert expected in fit(path)


@pytest.mark.parametrize("name", ["../../5_b_3.wav", "/etc/5_b_3.wav", "a/../5_b_3.wav"])
def test_a_name_that_leads_out_of_the_zip_file_is_refused(
    fit: Callable, tmp_path: Path, name: str
) -> None:
    path = tmp_path / "root.zip"
    path.write_bytes(zipped({**VALID, name: GOOD}))
    assert "leads out of the zip file" in fit(path)


@pytest.mark.parametrize("method", [ZIP_BZIP2, ZIP_LZMA])
def test_methods_without_a_limit_are_refused(fit: Callable, tmp_path: Path, method: int) -> None:
    path = tmp_path / "root.zip"
    path.write_bytes(zipped(VALID, method))
    assert f"compressed by method {method}" in fit(path)


def test_a_compression_bomb_is_decoded_no_further_than_the_limit(
    fit: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bptrain.data.audio.sound_file.MOST_SAMPLES", 2**22)
    bomb = compressed("FLAC", "PCM_16", np.zeros(2**23))
    assert len(bomb) < 100_000
    root = write_folder(tmp_path / "root", {**VALID, BROKEN: bomb})
    assert f"{BROKEN}: too large: more than 4,194,304 samples" in fit(root)


def test_a_zip_bomb_is_never_unpacked(fit: Callable, tmp_path: Path) -> None:
    path = tmp_path / "root.zip"
    path.write_bytes(zipped({**VALID, BROKEN: GOOD + bytes(140_000_000)}))
    assert path.stat().st_size < 1_000_000
    assert f"{BROKEN}: too large: 140.0 MB" in fit(path)


def test_a_folder_entry_named_as_a_recording_is_refused(fit: Callable, tmp_path: Path) -> None:
    path = tmp_path / "root.zip"
    path.write_bytes(zipped({**digits(4), "9_a_99.wav/": b""}))
    assert "9_a_99.wav: a folder where a file should be" in fit(path)


def test_a_name_that_comes_twice_is_refused(fit: Callable, tmp_path: Path) -> None:
    path = tmp_path / "root.zip"
    other = BROKEN.replace("3", "1")  # as long: the name is changed in place
    content = zipped(VALID).replace(other.encode(), BROKEN.encode())
    path.write_bytes(content)
    assert f"{BROKEN}: the zip file holds this name twice" in fit(path)


def test_what_is_not_there_is_named(fit: Callable, tmp_path: Path) -> None:
    assert "not found" in fit(tmp_path / "gone.zip")


@pytest.mark.parametrize(
    ("test", "expected"),
    [
        ("{kind: field, field: speaker, values: [c]}", "the values in the names: a, b"),
        ("{kind: field, field: speaker, values: [a, b]}", "all recordings are for testing"),
        ("{kind: field, field: label, values: [7]}", "no training recording has the label"),
    ],
)
def test_an_impossible_test_split_is_refused(
    fit: Callable, tmp_path: Path, test: str, expected: str
) -> None:
    root = write_folder(tmp_path / "root", digits(4))
    assert expected in fit(root, f"data.test={test}")


TABLE = "file,text\n" + "".join(f"{name},some {name[0]}\n" for name in digits(4))
TABLES: dict[str, tuple[bytes, str]] = {
    "no text of a recording": (TABLE.replace("5_b_3.wav,some 5\n", "").encode(), "5_b_3.wav: no t"),
    "a text of no recording": ((TABLE + "x.wav,some\n").encode(), "no recording 'x.wav'"),
    "two texts of a recording": ((TABLE + "5_b_3.wav,5\n").encode(), "line 42: a second text"),
    "an empty text": (TABLE.replace("5_b_3.wav,some 5", "5_b_3.wav, ").encode(), "an empty text"),
    "a text longer than its sound": (
        TABLE.replace("5_b_3.wav,some 5", "5_b_3.wav," + "some" * 20).encode(),
        "31 frames are too few for its text",
    ),
    "equal letters without room": (
        TABLE.replace("5_b_3.wav,some 5", "5_b_3.wav," + "o" * 17).encode(),
        "33 are needed",
    ),
    "other columns": (
        TABLE.replace("\n", ",x\n").replace("text,x", "said,by", 1).encode(),
        "nothing tells which column is the text",
    ),
    "a field too many": ((TABLE + "x.wav,some,5\n").encode(), "line 42: 3 fields"),
    "an open quote": ((TABLE + '"x.wav,some\n').encode(), "line 42: unexpected end of data"),
    "latin1": (TABLE.replace("some 9", "söme 9").encode("latin1"), "not UTF-8 text: byte"),
    "nothing": (b"", "is empty"),
    "a header alone": (b"file,text\n", "no rows below the header"),
}


@pytest.mark.parametrize("name", TABLES)
def test_a_broken_table_of_texts_is_refused(fit: Callable, tmp_path: Path, name: str) -> None:
    content, expected = TABLES[name]
    root = write_folder(tmp_path / "root", {**digits(4, 2360), "said.csv": content})
    words = ["data.task=transcription", "data.seconds=null", "data.transcripts=said.csv"]
    assert expected in fit(root, *words)


def test_unknown_letters_labels_and_tables_are_refused(fit: Callable, tmp_path: Path) -> None:
    root = write_folder(tmp_path / "root", digits(4))
    words = ["data.task=transcription", "data.seconds=null"]
    assert "no such file" in fit(root, *words, "data.transcripts=said.csv")
    assert "does not have the label '2'" in fit(root, *words, "data.spelling={0: zero, 1: one}")
    held_out = "data.test={kind: field, field: label, values: [7]}"
    assert "no training text has the character '7'" in fit(root, *words, held_out)


def test_sequences_that_take_too_long_or_too_much_memory_are_refused(
    fit: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = write_folder(tmp_path / "root", digits(4))
    with monkeypatch.context() as patched:
        patched.setattr("bptrain.data.audio.spectrograms.free_bytes", lambda: 1000)
        assert "too large: its features take 249.6 kB" in fit(root)
    long = riff(fmt(bits=8), chunk(b"data", bytes([128]) * (601 * RATE)))
    (root / BROKEN).write_bytes(long)
    assert f"{BROKEN}: 601 s long" in fit(root, "data.seconds=null", "data.test.fraction=0.0")


CONFIGS = {
    "pattern: '{label}{speaker}.wav'": "nothing separates {label} and {speaker}",
    "pattern: '{label}_{label}.wav'": "the field {label} comes twice",
    "pattern: '{speaker}.wav'": "pattern holds no {label}",
    "pattern: '{label'": "a field is a word in braces",
    "pattern: '{label}.mp4'": "pattern must end as the files do",
    "test: {kind: field, field: who, values: [1]}": "test.field is 'who'",
    "task: transcription": "needs seconds: null",
    "transcripts: said.csv": "go with task: transcription",
    "spelling: {'1': one}": "go with task: transcription",
    "{task: transcription, seconds: null, transcripts: a, spelling: {'1': one}}": "exclude each",
}


@pytest.mark.parametrize("given", CONFIGS)
def test_an_ambiguous_config_is_refused(bptrain: Callable, tmp_path: Path, given: str) -> None:
    path = tmp_path / "config.yaml"
    inner = given.strip("{}") if given.startswith("{") else given
    inner = inner + "}" if given.endswith("}}") else inner
    path.write_text(f"data: {{kind: audio_folder, path: x, {inner}}}\nmodel: {{kind: mlp}}\n")
    result = bptrain("validate", path)
    assert result.exit_code == 2, result.output
    assert CONFIGS[given] in result.stderr
