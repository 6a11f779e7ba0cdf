"""Spoken texts in the usual forms: tables, LJSpeech, LibriSpeech, manifests, a file beside each."""

import json
from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest
from sounds import tone, wav, write_folder, zipped

from bptrain.config.yaml_tree import read_tree
from bptrain.data.audio.audio_folder import AudioFolderConfig
from bptrain.errors import DataError

TEXTS = {f"clips/a{n}.wav": f"said {f'{n:04b}'.translate({48: 'o', 49: 'i'})}" for n in range(12)}
SOUNDS = {name: wav(tone(300 + 50 * n, 2400)) for n, name in enumerate(TEXTS)}


def stem(name: str) -> str:
    return name.removesuffix(".wav")


def lines(*rows: str) -> bytes:
    return "\n".join(rows).encode()


def parquet(path: Path) -> bytes:
    frame = pl.DataFrame({"path": list(TEXTS), "sentence": list(TEXTS.values())})
    frame.write_parquet(path)
    return path.read_bytes()


FORMS: dict[str, tuple[str, dict[str, bytes]]] = {
    "csv with other columns": (
        "said.csv",
        {
            "said.csv": lines(
                "id,path,sentence", *(f"{n},{f},{t}" for n, (f, t) in enumerate(TEXTS.items()))
            )
        },
    ),
    "tsv of bare names, as Common Voice": (
        "train.tsv",
        {
            "train.tsv": lines(
                "client\tpath\tsentence\tage",
                *(f"x\t{Path(f).name}\t{t}\tteens" for f, t in TEXTS.items()),
            )
        },
    ),
    "LJSpeech": (
        "metadata.csv",
        {"metadata.csv": lines(*(f'{Path(f).stem}|"{t}|{t}' for f, t in TEXTS.items()))},
    ),
    "LibriSpeech": (
        "*.trans.txt",
        {"clips/c.trans.txt": lines(*(f"{Path(f).stem} {t}" for f, t in TEXTS.items()))},
    ),
    "a text beside each": (
        "*.txt",
        {f"{stem(name)}.txt": f" {text}\n".encode() for name, text in TEXTS.items()},
    ),
    "a manifest": (
        "train.jsonl",
        {
            "train.jsonl": lines(
                *(
                    json.dumps({"audio_filepath": f"/data/x/{Path(f).name}", "d": 1, "text": t})
                    for f, t in TEXTS.items()
                )
            )
        },
    ),
}


def config(path: Path, where: str, **keys: object) -> AudioFolderConfig:
    return AudioFolderConfig(
        path=str(path),
        pattern="{folder}/{name}.wav",
        task="transcription",
        transcripts=where,
        sample_rate=8000,
        seconds=None,
        features={"n_fft": 256, "hop": 80, "mels": 8},
        validation_fraction=0.2,
        **keys,
    )


def texts_of(settings: AudioFolderConfig) -> dict[str, str]:
    from bptrain.data.audio.folder_or_zip import opened

    with opened(Path(settings.path)) as files:
        return {each.name: each.label for each in settings.recordings(files, settings.path)}


@pytest.mark.parametrize("form", FORMS)
def test_each_form_gives_each_recording_its_text(tmp_path: Path, form: str) -> None:
    where, files = FORMS[form]
    write_folder(tmp_path / "d", {**SOUNDS, **files})
    assert texts_of(config(tmp_path / "d", where)) == TEXTS
    (tmp_path / "d.zip").write_bytes(zipped({**SOUNDS, **files}))
    assert texts_of(config(tmp_path / "d.zip", where)) == TEXTS


def test_a_parquet_file_holds_them_too(tmp_path: Path) -> None:
    write_folder(tmp_path / "d", SOUNDS)
    parquet(tmp_path / "d" / "said.parquet")
    assert texts_of(config(tmp_path / "d", "said.parquet")) == TEXTS


def test_columns_are_named_where_nothing_tells(tmp_path: Path) -> None:
    rows = [f"{name},{text},x" for name, text in TEXTS.items()]
    write_folder(tmp_path, {**SOUNDS, "said.csv": lines("wav,words,by", *rows)})
    with pytest.raises(DataError, match="nothing tells which column is the text"):
        texts_of(config(tmp_path, "said.csv"))
    found = texts_of(config(tmp_path, "said.csv", transcript_columns={"text": "words"}))
    assert found == TEXTS
    with pytest.raises(DataError, match="no column 'word'"):
        texts_of(config(tmp_path, "said.csv", transcript_columns={"text": "word"}))


@pytest.mark.parametrize(
    ("where", "content", "said"),
    [
        ("m.jsonl", b'{"audio_filepath": "a0", "text"', "line 1: no JSON"),
        ("m.jsonl", b"[1]", "no JSON object"),
        ("m.jsonl", b'{"audio_filepath": "a0.wav"}', "which column is the text"),
        ("m.jsonl", b"[" * 100_000, "no JSON"),
        ("m.csv", b"clips/a0.wav,x\nclips/b.wav,x", r"no recording 'clips/b.wav'"),
        ("m.csv", b"a0,x\na0.wav,y", "line 2: a second text"),
        ("m.csv", b"a0,x", "no text in m.csv[\\s\\S]*11 recordings have none"),
        ("*.trans.txt", b"", "no text in"),
    ],
)
def test_what_is_wrong_with_transcripts_is_said(
    tmp_path: Path, where: str, content: bytes, said: str
) -> None:
    write_folder(tmp_path, {**SOUNDS, where.replace("*", "x"): content})
    with pytest.raises(DataError, match=said):
        texts_of(config(tmp_path, where))


@pytest.mark.parametrize("form", FORMS)
def test_init_finds_each_form(bptrain: Callable, tmp_path: Path, form: str) -> None:
    where, files = FORMS[form]
    write_folder(tmp_path / "d", {**SOUNDS, **files, "README.md": b"x"})
    made = bptrain("init", "d")
    assert made.exit_code == 0, made.stderr
    root = read_tree(made.stdout).root
    assert (root["data"]["task"], root["data"]["transcripts"]) == ("transcription", where)
    assert "ignored: 1 file" in made.stdout
    if form == "LJSpeech":  # one is enough to see that such a config trains
        (tmp_path / "my.yaml").write_text(made.stdout)
        fitted = bptrain("fit", "my.yaml", "train.steps=2", "model.hidden=4")
        assert fitted.exit_code == 0, fitted.stderr
