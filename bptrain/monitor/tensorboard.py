"""The TensorBoard board of a run, x axis: optimizer step."""

from collections.abc import Sequence
from pathlib import Path
from textwrap import indent
from types import TracebackType

from torch.utils.tensorboard import SummaryWriter

from bptrain.monitor.exhibits import Shown


class Board:
    """Writes scalars, the config's text, and the charts that lay several of them together.

    measures  names of what is measured of the validation split besides the loss
    """

    def __init__(
        self,
        directory: Path,
        config_text: str,
        gradient_tags: Sequence[str],
        measures: Sequence[str],
    ) -> None:
        self._writer = SummaryWriter(str(directory))
        self._writer.add_text("config", f"```yaml\n{config_text}```")
        self._writer.add_custom_scalars(
            {
                "training": {
                    name: ["Multiline", [f"train/{name}", f"val/{name}"]]
                    for name in ("loss", *measures)
                },
                "gradients": {"norm by layer": ["Multiline", list(gradient_tags)]},
            }
        )

    def write(self, step: int, values: dict[str, float]) -> None:
        """Write a scalar per tag."""
        for tag, value in values.items():
            self._writer.add_scalar(tag, value, step)

    def show(self, step: int, split: str, shown: Sequence[Shown]) -> None:
        """Write pictures and tables of a split's answers under `<split>/<name>`."""
        for each in shown:
            tag = f"{split}/{each.name}"
            if each.picture is not None:
                self._writer.add_image(tag, each.picture, step, dataformats="HWC")
            if each.rows:
                self._writer.add_text(tag, as_markdown(each.rows), step)

    def write_text(self, step: int, tag: str, text: str) -> None:
        """Write a text as it is, line by line: indented, Markdown takes it for code."""
        self._writer.add_text(tag, indent(text, " " * 4, lambda line: True), step)

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


def as_markdown(rows: Sequence[Sequence[str]]) -> str:
    """Return rows as a Markdown table, the first one its heading."""
    escaped = [[cell.replace("\\", "\\\\").replace("|", "\\|") for cell in row] for row in rows]
    lines = [f"| {' | '.join(row)} |" for row in escaped]
    return "\n".join([lines[0], "|" + "---|" * len(rows[0]), *lines[1:]])
