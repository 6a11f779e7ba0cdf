"""`init PATH`: data that the tests make, from a look at it to predictions without an edited key."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args

import image_sets
import numpy as np
import polars as pl
import pytest
import soundfile
import sounds

from bptrain.commands.arguments import DATA_KINDS, MODEL_KINDS
from bptrain.config.yaml_tree import read_tree
from bptrain.data import DataConfig
from bptrain.data.first_look import table_reading


def write_customers(path: Path, rows: int = 120) -> None:
    """Write a table with ids, free text, dates, gaps, a constant, and few customers who left."""
    random = np.random.default_rng(0)
    lines = ["CustomerId,name,token,joined,last seen,age,plan,country,monthly,churned"]
    for row in range(rows):
        left = row % 12 == 0
        age = "" if row % 7 == 0 else 20 + row % 50
        plan = ["basic", "plus", ""][row % 3]
        seen = f"{1 + row % 28:02}.{1 + row % 12:02}.2024"
        monthly = f'"{1 + row % 9},{100 + row:03}.50"'
        lines.append(
            f"{5000 + 3 * row},{'abc'[row % 3]} person no {row},{random.bytes(6).hex()},"
            f"2023-{1 + row % 12:02}-{1 + row % 28:02},{seen},{age},{plan},"
            f"here,{monthly},{'yes' if left else 'no'}"
        )
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def write_photos(root: Path) -> None:
    """Write images in folders spelled otherwise, among them an empty and a truncated one."""
    image_sets.write_folder(root / "Training", images=12)
    image_sets.write_folder(root / "Validation", images=3)
    (root / "Training" / "cat" / "001.png").write_bytes(b"")
    whole = (root / "Training" / "dog" / "002.png").read_bytes()
    (root / "Training" / "dog" / "002.png").write_bytes(whole[: len(whole) // 2])


def write_faces(root: Path) -> None:
    """Write images in one folder, with a table beside them that has a number for each."""
    rows = ["image_id,who,years,set"]
    for number in range(40):
        (root / "img").mkdir(parents=True, exist_ok=True)
        image_sets.picture(number % 2, number).save(root / "img" / f"{number}.png")
        part = ["train", "train", "train", "test"][number % 4]
        rows.append(f"img/{number},person {number},{20 + number % 30}.5,{part}")
    (root / "faces.tsv").write_text("\n".join(rows).replace(",", "\t"))


def write_weather(root: Path) -> None:
    """Write images and a table of their classes, which names one that is not there."""
    image_sets.write_folder(root / "img", images=15, classes=("a", "b"))
    names = sorted(path.relative_to(root).as_posix() for path in root.rglob("*.png"))
    rows = [f"{name},{['sun', 'rain'][name[4] == 'b']}" for name in names]
    rows = ["file,label", *rows, "img/a/99.png,sun"]
    (root / "labels.csv").write_text("\n".join(rows))


FORMATS = (("wav", "FLOAT", 8000), ("flac", "PCM_24", 16_000), ("ogg", "VORBIS", 22_050))


def write_recordings(root: Path) -> None:
    """Write recordings of four formats, rates and numbers of channels, in a folder for each class.

    One of them is cut off.
    """
    formats = [*FORMATS, ("mp3", "MPEG_LAYER_III", 8000)]
    for number in range(24):
        name, (ending, subtype, rate) = ["low", "high"][number % 2], formats[number // 2 % 4]
        path = root / name / f"{number}.{ending}"
        path.parent.mkdir(parents=True, exist_ok=True)
        pitch = 2 * np.pi * (300 + 900 * (number % 2)) * np.arange(rate // 4) / rate
        channels = np.repeat(np.sin(pitch)[:, None] / 2, 1 + number % 2, 1)
        soundfile.write(path, channels, rate, subtype=subtype)
    (root / "low" / "8.wav").write_bytes((root / "low" / "8.wav").read_bytes()[:3000])


def write_verses(path: Path) -> None:
    path.write_text("round and round the rugged rock the ragged rascal ran\n" * 40, "utf-8")


def write_reviews(path: Path) -> None:
    rows = [
        f"{row}\ta {['good', 'bad'][row % 2]} film no {row}\t{'pc'[row % 2]}" for row in range(60)
    ]
    path.write_text("\n".join(["id\treview\tsentiment", *rows]) + "\n", "utf-8")


def write_articles(root: Path) -> None:
    """Write texts in a folder for each class, not in UTF-8, and an empty one."""
    for number in range(30):
        path = root / ["arts", "sports"][number % 2] / f"{number}.TXT"
        path.parent.mkdir(parents=True, exist_ok=True)
        text = f"the {['café', 'goal'][number % 2]} no {number}"
        path.write_bytes(text.encode("cp1252"))
    (root / "arts" / "0.TXT").write_bytes(b"")


def write_gaps(path: Path) -> None:
    """Write texts and labels with semicolons between them, some of them missing."""
    rows = [f"{'a' * (row % 9 > 0)} film as no {row} is" * (row % 9 > 0) for row in range(60)]
    text = "\n".join(f"{text};{'pn'[row % 2]}" for row, text in enumerate(rows))
    path.write_bytes(("opinion;sentiment\n" + text).encode("utf-16"))


def write_walks(path: Path) -> None:
    labels = np.arange(60) % 2 + 1
    steps = np.random.default_rng(0).normal(size=(60, 5, 3)) + labels[:, None, None]
    np.savez(path, X=steps.astype(np.float32), y=labels)


def write_houses(path: Path) -> None:
    """Write a table in another encoding, with decimal commas: numbers to be predicted."""
    rows = [f"{40 + row},{row % 10};Köln {row % 3};{row * 1000},50" for row in range(60)]
    path.write_bytes("\n".join(["größe;ort;price", *rows]).encode("cp1252"))


Row = tuple[str, Callable[[Path], None], list[str], dict[str, Any]]
DATA: list[Row] = [
    (
        "customers.csv",
        write_customers,
        ["customers.csv"],
        {
            "kind": "table",
            "target": "churned",
            "task": "classification",
            "exclude": ["CustomerId", "name", "token", "country"],
            "dates": {"last seen": "%d.%m.%Y"},
            "thousands": ",",
        },
    ),
    (
        "houses.csv",
        write_houses,
        ["houses.csv"],
        {
            "kind": "table",
            "target": "price",
            "task": "regression",
            "scale_target": True,
            "encoding": "cp1252",
            "decimal": ",",
        },
    ),
    (
        "photos",
        write_photos,
        ["photos/Training/cat/000.png"],
        {"kind": "image_folder", "size": 16, "channels": 3, "on_bad_file": "skip"},
    ),
    (
        "weather",
        write_weather,
        ["weather/img/a/000.png"],
        {
            "kind": "image_table",
            "file_column": "file",
            "target": "label",
            "task": "classification",
            "on_bad_file": "skip",
        },
    ),
    (
        "calls",
        write_recordings,
        ["calls/low/0.wav", "calls/high/3.flac"],
        {
            "kind": "audio_folder",
            "pattern": "{label}/{name}.*",
            "sample_rate": 8000,
            "on_bad_file": "skip",
        },
    ),
    ("verses.txt", write_verses, ["the rug"], {"kind": "text", "unit": "character"}),
    (
        "reviews.tsv",
        write_reviews,
        ["a good film"],
        {"kind": "text_table", "text_column": "review", "label_column": "sentiment"},
    ),
    (
        "articles",
        write_articles,
        ["the goal", "articles/arts/2.TXT"],
        {"kind": "text_folder", "encoding": "cp1252", "on_bad_file": "skip", "max_length": 4},
    ),
    (
        "gaps.csv",
        write_gaps,
        ["a film"],
        {"kind": "text_table", "encoding": "utf-16", "missing": "drop"},
    ),
    (
        "walks.npz",
        write_walks,
        ["walks.npz"],
        {
            "kind": "sequence",
            "task": "classification",
            "arrays": {"inputs": "X", "targets": "y"},
        },
    ),
]


def section(text: str, name: str) -> Any:
    root = read_tree(text).root
    assert isinstance(root, dict)
    return root.get(name)


def comments_of(text: str) -> str:
    """Return the comments of a config, as if each were on one line."""
    return " ".join(line.strip(" #") for line in text.splitlines() if line.strip().startswith("#"))


@pytest.mark.parametrize(("name", "write", "asked", "keys"), DATA, ids=[row[0] for row in DATA])
def test_data_goes_from_a_look_to_predictions_without_an_edited_key(
    bptrain: Callable,
    tmp_path: Path,
    name: str,
    write: Callable[[Path], None],
    asked: list[str],
    keys: dict[str, Any],
) -> None:
    write(tmp_path / name)
    made = bptrain("init", name)
    assert (made.exit_code, made.stderr) == (0, "")
    data = section(made.stdout, "data")
    assert {key: data[key] for key in keys if key in data} == keys
    (tmp_path / "my.yaml").write_text(made.stdout, encoding="utf-8")
    assert bptrain("validate", "my.yaml").exit_code == 0
    trained = bptrain("fit", "my.yaml", "train.steps=3")
    assert trained.exit_code == 0, trained.stderr
    leaves_out = "on_bad_file" in data or data.get("missing") == "drop"
    assert ("left out: " in trained.stdout) == leaves_out
    run = f"runs/{section(made.stdout, 'name')}"
    more = ["--length", "5"] if data["kind"] == "text" else ["--csv"]
    predicted = bptrain("predict", run, *asked, *more)
    assert predicted.exit_code == 0, predicted.stderr
    assert predicted.stdout.strip()


def test_numbers_of_images_are_found_in_a_table_beside_them(
    bptrain: Callable, tmp_path: Path
) -> None:
    write_faces(tmp_path / "faces")
    refused = bptrain("init", "faces")
    assert (refused.exit_code, "--target NAME" in refused.stderr) == (2, True)
    data = section(bptrain("init", "faces", "--target", "years").stdout, "data")
    expected = {"file_column": "image_id", "task": "regression", "split_column": "set"}
    assert {key: data[key] for key in expected} == expected
    assert "test_fraction" not in data
    write_weather(tmp_path / "weather")
    data = section(bptrain("init", "weather/labels.csv").stdout, "data")
    assert (data["kind"], data["target"]) == ("image_table", "label")


def test_what_was_guessed_stands_in_comments_with_its_evidence(
    bptrain: Callable, tmp_path: Path
) -> None:
    write_customers(tmp_path / "customers.csv")
    text = bptrain("init", "customers.csv").stdout
    said = comments_of(text)
    for evidence in (
        "120 rows of 10 columns were read",
        "dates, as days and as parts of the year, week and day: joined, last seen",
        "age (with gaps)",
        "guessed: it is named 'churned'",
        "no (110), yes (10)",
        "'CustomerId' numbers the rows",
        "'name' holds 120 different texts in 120 cells: names or free text",
        "'country' is the same in every row",
        "10 samples of the rarest class, 110 of the most frequent one",
    ):
        assert evidence in said
    assert section(text, "loss") == {"kind": "cross_entropy", "class_weights": "balanced"}
    assert section(text, "checkpoint") == {"best_by": "val/balanced_accuracy"}


def test_a_target_that_nothing_tells_is_asked_for_and_taken(
    bptrain: Callable, tmp_path: Path
) -> None:
    rows = "".join(f"{row % 7},{row * 1.25},{row % 5}.5\n" for row in range(40))
    (tmp_path / "t.csv").write_text("a,b,c\n" + rows)
    refused = bptrain("init", "t.csv")
    assert (refused.exit_code, refused.stdout) == (2, "")
    assert "no column looks like the one to predict" in refused.stderr
    assert "--target NAME" in refused.stderr
    data = section(bptrain("init", "t.csv", "--target", "b").stdout, "data")
    assert (data["target"], data["task"]) == ("b", "regression")
    wrong = bptrain("init", "t.csv", "--target", "d")
    assert wrong.exit_code == 3
    assert "no column 'd'" in wrong.stderr


def test_a_wrong_cell_among_a_targets_numbers_does_not_make_classes_of_them(
    bptrain: Callable, tmp_path: Path
) -> None:
    rows = "".join(f"{row % 7},{'12O' if row == 9 else row * 2}\n" for row in range(60))
    (tmp_path / "t.csv").write_text("a,price\n" + rows)
    refused = bptrain("init", "t.csv")
    assert (refused.exit_code, refused.stdout) == (3, "")
    assert "'12O' in row 10 (line 11)" in refused.stderr


HEADERLESS = "".join(f"{row}.5,{row % 3},{row % 2}\n" for row in range(40))
MARKED = "a,b,y\n" + "".join(
    f"{row % 9},{'unknown' if row % 8 == 0 else row * 2},{'pq'[row % 2]}\n" for row in range(40)
)
STRAY = "text\tlabel\n" + "".join(
    f'"a{" very" * (row % 3)} nice one\t{"pq"[row % 2]}\n' for row in range(41)
)
GROUPED = "a,b,y\n" + "".join(
    f'{row % 9},"{row + 1},{100 + row}",{"pq"[row % 2]}\n' for row in range(40)
)


@pytest.mark.parametrize(
    ("name", "text", "key", "value"),
    [
        ("t.csv", HEADERLESS, "header", False),
        ("t.tsv", STRAY, "quoting", "none"),
        ("t.csv", GROUPED, "thousands", ","),
    ],
    ids=["no header", "stray quotes", "thousands"],
)
def test_how_a_table_is_written_becomes_a_key(
    bptrain: Callable, tmp_path: Path, name: str, text: str, key: str, value: Any
) -> None:
    (tmp_path / name).write_text(text)
    made = bptrain("init", name)
    assert made.exit_code == 0, made.stderr
    assert section(made.stdout, "data")[key] == value


def test_a_word_among_numbers_becomes_a_marker_of_missing_ones(
    bptrain: Callable, tmp_path: Path
) -> None:
    (tmp_path / "t.csv").write_text(MARKED)
    text = bptrain("init", "t.csv").stdout
    assert section(text, "data")["missing_values"][-1] == "unknown"
    assert "b (with gaps)" in text


def test_only_the_first_rows_of_a_large_table_are_read_and_it_is_said(
    bptrain: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(table_reading, "MOST_BYTES", 1_000)
    rows = "".join(f'{row % 11},"x\ny{row % 3}",{"pq"[row % 2]}\n' for row in range(500))
    (tmp_path / "t.csv").write_text("a,b,target\n" + rows + "broken\n")
    made = bptrain("init", "t.csv")
    assert made.exit_code == 0, made.stderr
    assert "the first 8" in made.stdout
    assert "the file has more" in made.stdout


def test_only_the_first_rows_of_a_large_parquet_file_are_read(
    bptrain: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = {"a": [n % 11 for n in range(500)], "target": ["pq"[n % 2] for n in range(500)]}
    pl.DataFrame(table).write_parquet(tmp_path / "t.parquet")
    assert "# - 500 rows of 2 columns were read\n" in bptrain("init", "t.parquet").stdout
    monkeypatch.setattr(table_reading, "MOST_BYTES", 100 * 2 * 16)
    made = bptrain("init", "t.parquet")
    assert "the first 100 rows of 2 columns were read; the file has more" in made.stdout


def test_folders_by_split_and_names_hold_the_class_of_recordings(
    bptrain: Callable, tmp_path: Path
) -> None:
    made = sounds.digits(4, samples=1600)
    sounds.write_folder(tmp_path / "named", made)
    data = section(bptrain("init", "named").stdout, "data")
    assert data["pattern"] == "{label}_{part2}_{part3}.wav"
    divided = {
        f"{'Train' if name[-5] < '3' else 'Test'}/{name[0]}/{name}": made[name] for name in made
    }
    sounds.write_folder(tmp_path / "divided", divided)
    data = section(bptrain("init", "divided").stdout, "data")
    assert data["pattern"] == "{split}/{label}/{name}.wav"
    assert data["test"] == {"kind": "field", "field": "split", "values": ["Test"]}


def test_a_table_of_transcripts_makes_recordings_a_transcription(
    bptrain: Callable, tmp_path: Path
) -> None:
    made = sounds.digits(2, samples=2400)
    sounds.write_folder(tmp_path / "read", made)
    rows = [f"{name},{'abcdefghij'[int(name[0])]}" for name in made]
    (tmp_path / "read" / "texts.csv").write_text("\n".join(["file,text", *rows]))
    text = bptrain("init", "read").stdout
    data = section(text, "data")
    assert (data["task"], data["transcripts"], data["seconds"]) == (
        "transcription",
        "texts.csv",
        None,
    )
    assert section(text, "model")["kind"] == "rnn"


def broken_photos(root: Path) -> None:
    for path in image_sets.write_folder(root / "d").rglob("*.png"):
        path.write_bytes(b"\x89PNG\r\n\x1a\n broken")


def broken_sounds(root: Path) -> None:
    made = {f"{n % 2}/{n}.wav": sounds.wav(sounds.tone(400))[:-1] for n in range(8)}
    sounds.write_folder(root / "d", made)


def unnamed_sounds(root: Path) -> None:
    sounds.write_folder(root / "d", {f"{n}.wav": sounds.wav(sounds.tone(400)) for n in range(8)})


def tables(root: Path) -> None:
    (root / "d").mkdir()
    (root / "d" / "one.csv").write_text("a,y\n1,2\n")


@pytest.mark.parametrize(
    ("write", "code", "said"),
    [
        (broken_photos, 3, "000.png"),
        (broken_sounds, 3, "cut off"),
        (unnamed_sounds, 2, "nothing tells the classes of the recordings"),
        (tables, 2, "bptrain init d/one.csv"),
        (lambda root: (root / "d").mkdir(), 3, "nothing to learn from among 0 files"),
        (lambda root: (root / "d").write_bytes(b"\x1f\x8b" + bytes(50)), 3, "compressed by gzip"),
        (lambda root: (root / "d").write_text("x"), 3, "there is nothing to predict"),
        (lambda root: (root / "d").write_text("short"), 3, "too short to train"),
        (lambda root: None, 2, "'d' is no kind"),
    ],
    ids=lambda value: getattr(value, "__name__", str(value)),
)
def test_data_that_would_not_train_ends_with_its_code(
    bptrain: Callable, tmp_path: Path, write: Callable[[Path], object], code: int, said: str
) -> None:
    write(tmp_path)
    made = bptrain("init", "d")
    assert (made.exit_code, made.stdout) == (code, "")
    assert said in made.stderr
    assert len(made.stderr.strip().splitlines()) <= 6


def test_names_that_would_leave_a_comment_do_not(bptrain: Callable, tmp_path: Path) -> None:
    rows = "".join(f"{row % 9},{row % 4},{'pq'[row % 2]}\n" for row in range(40))
    (tmp_path / "t.csv").write_text('"a\n kind: x",b\u2028\x1b[2J,y\n' + rows, encoding="utf-8")
    made = bptrain("init", "t.csv")
    assert made.exit_code == 0, made.stderr
    assert "\x1b" not in made.stdout
    (tmp_path / "my.yaml").write_text(made.stdout, encoding="utf-8")
    assert bptrain("validate", "my.yaml").exit_code == 0


def test_every_kind_of_data_and_model_has_a_starter_that_is_valid(
    bptrain: Callable, tmp_path: Path
) -> None:
    members = get_args(get_args(DataConfig)[0])
    assert list(DATA_KINDS) == [member.model_fields["kind"].default for member in members]
    for kind in (*MODEL_KINDS, *DATA_KINDS):
        made = bptrain("init", kind)
        assert made.exit_code == 0, kind
        (tmp_path / "my.yaml").write_text(made.stdout, encoding="utf-8")
        assert bptrain("validate", "my.yaml").exit_code == 0, kind
        named = section(made.stdout, "data" if kind in DATA_KINDS else "model")
        assert named["kind"] == kind


def test_a_target_goes_with_data_that_has_columns(bptrain: Callable, tmp_path: Path) -> None:
    write_verses(tmp_path / "verses.txt")
    for words in (["verses.txt"], ["mlp"]):
        refused = bptrain("init", *words, "--target", "y")
        assert refused.exit_code == 2
        assert "--target" in refused.stderr


ASKED_FOR = [  # data, the kind of model asked for, and keys by which it fits the data
    ("photos", write_photos, "transformer", {"patch": 4}),
    ("photos", write_photos, "pretrained", {"preset": "resnet18", "weights": "imagenet"}),
    ("calls", write_recordings, "transformer", {}),
    ("verses.txt", write_verses, "transformer", {"tied": True}),
    ("reviews.tsv", write_reviews, "transformer", {}),
    ("walks.npz", write_walks, "transformer", {}),
]


@pytest.mark.parametrize(
    ("name", "write", "model", "keys"), ASKED_FOR, ids=[f"{row[0]} {row[2]}" for row in ASKED_FOR]
)
def test_a_model_that_is_asked_for_is_proposed_and_can_be_trained(
    bptrain: Callable,
    tmp_path: Path,
    name: str,
    write: Callable[[Path], None],
    model: str,
    keys: dict[str, Any],
) -> None:
    write(tmp_path / name)
    offered = comments_of(bptrain("init", name).stdout).partition("init with --model ")[2]
    assert model in offered.split(" proposes")[0].split(" or ")
    made = bptrain("init", name, "--model", model)
    assert (made.exit_code, made.stderr) == (0, "")
    found = section(made.stdout, "model")
    assert {key: found.get(key) for key in ("kind", *keys)} == {"kind": model, **keys}
    (tmp_path / "my.yaml").write_text(made.stdout, encoding="utf-8")
    words = ["model.weights=none", "model.preset=mobilenet_v3_small"] * (model == "pretrained")
    small = ["data.size=32"] * (model == "pretrained")
    trained = bptrain("fit", "my.yaml", "train.steps=1", *words, *small)
    assert trained.exit_code == 0, trained.stderr


@pytest.mark.parametrize("words", [["customers.csv"], ["table"], ["xor"]])
@pytest.mark.parametrize("model", ["transformer", "pretrained"])
def test_a_model_that_cannot_read_the_data_is_refused(
    bptrain: Callable, tmp_path: Path, words: list[str], model: str
) -> None:
    write_customers(tmp_path / "customers.csv")
    refused = bptrain("init", *words, "--model", model)
    assert (refused.exit_code, refused.stdout) == (2, "")
    assert f"--model {model} does not fit" in refused.stderr
    assert "--model" not in bptrain("init", "customers.csv").stdout


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["verses.txt", "--model", "pretrained"], "--model transformer, or leave it out"),
        (["digits", "--model", "pretrained"], "does not fit data.kind digits"),
        (["mlp", "--model", "transformer"], "mlp is a kind of model"),
    ],
)
def test_what_fits_instead_is_said(
    bptrain: Callable, tmp_path: Path, words: list[str], said: str
) -> None:
    write_verses(tmp_path / "verses.txt")
    refused = bptrain("init", *words)
    assert (refused.exit_code, said in refused.stderr) == (2, True), refused.stderr


@pytest.mark.parametrize("kind", ["digits", "parity", "copy", "adding"])
def test_a_transformer_for_a_kind_of_data_trains(
    bptrain: Callable, tmp_path: Path, kind: str
) -> None:
    (tmp_path / "my.yaml").write_text(bptrain("init", kind, "--model", "transformer").stdout)
    assert bptrain("validate", "my.yaml").exit_code == 0
    trained = bptrain("fit", "my.yaml", "train.steps=1", "--dry-run")
    assert trained.exit_code == 0, trained.stderr
