"""The TensorBoard board of a run, x axis: optimizer step."""

from collections.abc import Sequence
from pathlib import Path
from types import TracebackType

from torch.utils.tensorboard import SummaryWriter


class Board:
    """Writes scalars, the config's text, and the charts that lay several of them together."""

    def __init__(self, directory: Path, config_text: str, gradient_tags: Sequence[str]) -> None:
        self._writer = SummaryWriter(str(directory))
        self._writer.add_text("config", f"```yaml\n{config_text}```")
        self._writer.add_custom_scalars(
            {
                "training": {
                    "loss": ["Multiline", ["train/loss", "val/loss"]],
                    "accuracy": ["Multiline", ["train/accuracy", "val/accuracy"]],
                },
                "gradients": {"norm by layer": ["Multiline", list(gradient_tags)]},
            }
        )

    def write(self, step: int, values: dict[str, float]) -> None:
        """Write a scalar per tag."""
        for tag, value in values.items():
            self._writer.add_scalar(tag, value, step)

    def flush(self) -> None:
        """Make what was written visible to a reader of the files."""
        self._writer.flush()

    def __enter__(self) -> "Board":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._writer.close()
