"""Data sets, and the batches cut from them."""

from typing import Annotated

from pydantic import Field

from bptrain.data.audio.audio_folder import AudioFolderConfig
from bptrain.data.batches import Batch, BatchSource
from bptrain.data.generated.memory_tasks import AddingConfig, CopyConfig, ParityConfig
from bptrain.data.generated.points import SpiralsConfig, XorConfig
from bptrain.data.images.cifar import CIFAR10Config, CIFAR100Config
from bptrain.data.images.digits import DigitsConfig
from bptrain.data.images.emnist import EMNISTConfig
from bptrain.data.images.image_folder import ImageFolderConfig
from bptrain.data.images.image_table import ImageTableConfig
from bptrain.data.images.mnist import FashionMNISTConfig, KMNISTConfig, MNISTConfig
from bptrain.data.sequences.sequence_config import SequenceConfig
from bptrain.data.splits import Dataset, Split
from bptrain.data.tables.table_config import TableConfig
from bptrain.data.text.text_config import TextConfig
from bptrain.data.text.text_folder_config import TextFolderConfig
from bptrain.data.text.text_table_config import TextTableConfig

DataConfig = Annotated[
    DigitsConfig
    | MNISTConfig
    | FashionMNISTConfig
    | TableConfig
    | SequenceConfig
    | XorConfig
    | SpiralsConfig
    | AddingConfig
    | CopyConfig
    | ParityConfig
    | KMNISTConfig
    | EMNISTConfig
    | CIFAR10Config
    | CIFAR100Config
    | ImageFolderConfig
    | ImageTableConfig
    | TextConfig
    | TextTableConfig
    | TextFolderConfig
    | AudioFolderConfig,
    Field(discriminator="kind"),
]

__all__ = ["Batch", "BatchSource", "DataConfig", "Dataset", "Split"]
