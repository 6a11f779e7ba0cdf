"""A look at texts in a folder for each class."""

from collections import Counter
from pathlib import Path
from typing import Any

from bptrain.data.bad_files import BadFile
from bptrain.data.bad_files import listed as listed_bad
from bptrain.data.class_folders import Listing, list_files
from bptrain.data.encodings import Encoding
from bptrain.data.first_look.found import (
    FEW,
    HELD_OUT,
    Found,
    batch_size_of,
    imbalance_of,
    spread_evenly,
)
from bptrain.data.first_look.text_tables import MOST_COUNTED, length_to_read
from bptrain.data.first_look.texts import encoding_of_texts
from bptrain.data.notes import count, listed
from bptrain.data.text.text_file import TEXT
from bptrain.data.text.text_folder_config import TextFolderConfig
from bptrain.problem import Problem

MOST_OPENED = 2_000  # texts that are read


def look_at_text_folder(root: Path) -> Found:
    """Return what a folder of class folders of texts holds, or raise DataError."""
    listing = list_files(root, TEXT)
    train = listing.train
    opened = spread_evenly(range(len(train.files)), MOST_OPENED)
    encoding = encoding_of_texts([Path(train.files[number]) for number in opened])
    data: dict[str, Any] = {"kind": "text_folder", "root": str(root)}
    reasons: dict[str, str] = {}
    if encoding != "utf-8":
        data["encoding"], reasons["encoding"] = encoding, "the files are not UTF-8; this is likely"
    lengths, bad = _opened(root, listing, encoding, opened)
    if bad:
        data["on_bad_file"] = "skip"
        reasons["on_bad_file"] = f"{len(bad):,} of them cannot be read: {listed_bad(bad)}"
    longest, reasons["max_length"] = length_to_read(lengths)
    data["max_length"] = longest
    texts = len(train.files)
    if texts < FEW and listing.validation is None:
        data["validation_fraction"] = HELD_OUT
        data |= {} if listing.is_split else {"test_fraction": HELD_OUT}
    data["batch_size"] = batch_size_of(texts)
    counts = Counter(listing.classes[number] for number in train.targets.tolist())
    shown = listed([f"{name} ({counts[name]:,})" for name in listing.classes], 20)
    seen = [
        f"{count(texts, 'text')} in {len(listing.classes):,} folders, the classes: {shown}",
        "guessed: classification; for a text to be continued, data.kind: text",
        *listing.notes,
    ]
    problem = Problem(
        "classification", (longest,), len(counts), vocabulary=1, is_sequence=True, varies=True
    )
    return Found(data, reasons, seen, problem, texts, imbalance=imbalance_of(counts))


def _opened(
    root: Path, listing: Listing, encoding: Encoding, opened: list[int]
) -> tuple[list[int], list[BadFile]]:
    """Return the lengths of some texts in tokens, and those of them that cannot be read.

    Raises DataError if that is each of them.
    """
    config = TextFolderConfig(root=str(root), encoding=encoding, max_length=MOST_COUNTED)
    bad: list[BadFile] = []
    files = listing.train._replace(
        files=tuple(listing.train.files[number] for number in opened),
        targets=listing.train.targets[opened],
    )
    texts = config.texts(files, root, listing.classes, bad)
    if not texts:
        raise bad[0].error
    return [sum(1 for _ in config.symbols_in(each.text)) for each in texts], bad
