"""Data sets held in memory, and the batches cut from them."""

from typing import Annotated

from pydantic import Field

from bptrain.data.audio_folder import AudioFolderConfig
from bptrain.data.batches import Batch, BatchSource
from bptrain.data.digits import DigitsConfig
from bptrain.data.mnist import FashionMNISTConfig, MNISTConfig
from bptrain.data.splits import Dataset, Split
from bptrain.data.text import TextConfig
from bptrain.data.text_table import TextTableConfig

DataConfig = Annotated[
    DigitsConfig
    | MNISTConfig
    | FashionMNISTConfig
    | TextConfig
    | TextTableConfig
    | AudioFolderConfig,
    Field(discriminator="kind"),
]

__all__ = ["Batch", "BatchSource", "DataConfig", "Dataset", "Split"]
