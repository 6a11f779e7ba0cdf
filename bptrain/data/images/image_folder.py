"""Your own images: a folder for each class."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from bptrain.config.paths import DataPath
from bptrain.data.class_folders import list_classes, list_files
from bptrain.data.images.image_files_config import ImageFilesConfig
from bptrain.data.images.image_formats import IMAGE
from bptrain.data.splits import Dataset, Split
from bptrain.problem import Problem


class ImageFolderConfig(ImageFilesConfig):
    """Your own images, in a folder for each class; split by folders train, val, test or at random.

    Before the first step every image is decoded once, to find broken files and to compute the mean
    and std of the training images. Images that all fit into `memory_bytes` stay in memory.
    """

    kind: Literal["image_folder"] = "image_folder"
    root: DataPath = Field(
        min_length=1,
        description="folder that holds CLASS/*.png (split at random), or train/CLASS/*.png and "
        "optionally val and test beside it, in any usual spelling; images may lie in folders "
        "inside a class's folder",
    )

    def build(self, seed: int) -> Dataset:
        """Return the data set, after decoding every file; `seed` selects the validation images."""
        root = Path(self.root)
        return self.augmented(self.dataset(list_files(root, IMAGE), root, self.root, seed))

    def labelled(self, path: Path, problem: Problem, prepared: Mapping[str, Any]) -> Split:
        """Return the images of another folder with a subfolder for each class, none of them bad."""
        _, images = list_classes(path, problem.names, IMAGE)
        return self.labelled_files(images, path, prepared)
