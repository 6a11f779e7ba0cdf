"""Labelled texts from files: a folder for each class."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from bptrain.config.paths import DataPath
from bptrain.data import bad_files
from bptrain.data.bad_files import BadFile
from bptrain.data.class_folders import FileList, list_classes, list_files
from bptrain.data.encodings import Encoding
from bptrain.data.splits import Dataset, Samples
from bptrain.data.text.labelled_texts import (
    TEST_SEED,
    LabelledText,
    LabelledTextsConfig,
    refuse_if_empty,
    split_by_label,
)
from bptrain.data.text.text_file import TEXT, given_text, read_text
from bptrain.errors import DataError
from bptrain.problem import Problem


class TextFolderConfig(LabelledTextsConfig):
    """Labeled texts to classify, a file each, in a folder for each class.

    Split by folders train, val, test in any usual spelling, or at random.
    """

    kind: Literal["text_folder"] = "text_folder"
    root: DataPath = Field(
        min_length=1,
        description="folder that holds CLASS/*.txt (split at random), or train/CLASS/*.txt and "
        "optionally val and test beside it, in any usual spelling; texts may lie in folders inside "
        "a class's folder, and may be compressed: *.txt.gz",
    )
    encoding: Encoding = Field(
        default="utf-8",
        description="encoding of the files, also of those given to predict and evaluate; where "
        "they are not UTF-8, the error names the likely one",
    )
    on_bad_file: bad_files.OnBadFile = Field(
        default="error",
        description="what to do about texts that are empty, in another encoding, or cannot be "
        "read. error lists them all at once and does not train. skip leaves them out, says how "
        "many, and stores which; a resumed run must find the same ones. `evaluate RUN DATA` takes "
        "no bad files",
    )
    test_fraction: float = Field(
        default=0.1,
        ge=0,
        le=0.5,
        description="fraction of the texts held out as the test split, the same ones whatever the "
        "seed; ignored with a train folder",
    )

    def build(self, seed: int) -> Dataset:
        """Return the data set, the validation texts drawn by `seed`."""
        listing = list_files(Path(self.root), TEXT)
        bad: list[BadFile] = []
        train, validation, test = (
            self.texts(part, Path(self.root), listing.classes, bad)
            for part in (listing.train, listing.validation, listing.test)
        )
        if self.on_bad_file == "error":
            bad_files.refuse(self.root, bad)
        if not listing.is_split:
            train, test = split_by_label(train, self.test_fraction, TEST_SEED)
        if listing.validation is None:
            train, validation = split_by_label(train, self.validation_fraction, seed)
        self.refuse_missing_classes(train, listing.classes)
        parts = (listing.train, listing.validation, listing.test)
        files = sum(len(part.files) for part in parts if part is not None)
        notes = (*listing.notes, *bad_files.left_out(bad, files))
        dataset = self.dataset(self.root, (train, validation, test), notes)
        if not bad:
            return dataset
        left_out = {"left_out_files": sorted(each.name for each in bad)}
        return replace(dataset, prepared={**dataset.prepared, **left_out})

    def texts(
        self, part: FileList | None, root: Path, classes: Sequence[str], bad: list[BadFile]
    ) -> list[LabelledText]:
        """Return the texts of a split, without those that cannot be read, which `bad` gets."""
        found = []
        files = zip(part.files, part.targets.tolist(), strict=True) if part is not None else ()
        for file, number in files:
            try:
                text = LabelledText(file, read_text(Path(file), self.encoding), classes[number])
                refuse_if_empty(text)
            except DataError as error:
                bad.append(BadFile(str(Path(file).relative_to(root)), error))
                continue
            found.append(text)
        return found

    def refuse_missing_classes(self, train: Sequence[LabelledText], classes: Sequence[str]) -> None:
        """Raise DataError for a class of which no training text is left."""
        there = {each.label for each in train}
        if missing := [name for name in classes if name not in there]:
            raise DataError(
                f"{self.root}: no training text of class {missing[0]!r} is left",
                "all of its texts were held out, or cannot be read",
                "more texts of it, or smaller fractions",
            )

    def labelled(self, path: Path, problem: Problem, prepared: Mapping[str, Any]) -> Samples:
        """Return the texts of another folder with a subfolder for each class, none of them bad."""
        classes, files = list_classes(path, problem.names, TEXT)
        bad: list[BadFile] = []
        texts = self.texts(files, path, classes, bad)
        bad_files.refuse(str(path), bad, way_out="")
        return self.samples(texts, prepared["symbols"], prepared["classes"])

    def prepare(self, words: Sequence[str], prepared: Mapping[str, Any]) -> Samples:
        """Return texts as tokens: words, or files of one text each.

        Raises DataError for an empty text, or a file that cannot be read.
        """
        texts = [
            LabelledText(f"input {number}", given_text(word, self.encoding))
            for number, word in enumerate(words, start=1)
        ]
        return self.unlabelled(texts, prepared)
