"""Data sets, and the batches cut from them."""

from typing import Annotated

from pydantic import Field

from bptrain.data.batches import Batch, BatchSource
from bptrain.data.digits import DigitsConfig
from bptrain.data.memory_tasks import AddingConfig, CopyConfig, ParityConfig
from bptrain.data.mnist import FashionMNISTConfig, MNISTConfig
from bptrain.data.points import SpiralsConfig, XorConfig
from bptrain.data.sequence import SequenceConfig
from bptrain.data.splits import Dataset, Split
from bptrain.data.table import TableConfig

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
    | ParityConfig,
    Field(discriminator="kind"),
]

__all__ = ["Batch", "BatchSource", "DataConfig", "Dataset", "Split"]
