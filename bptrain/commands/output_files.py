"""Files that a command writes when all else is done."""

from pathlib import Path

from bptrain.bench.chart import FORMATS
from bptrain.errors import StorageError, UsageError


def refuse_unwritable(json: Path | None, chart: Path | None) -> None:
    """Raise an error before anything is measured, if the results could not be stored after it."""
    for path in filter(None, (json, chart)):
        if not path.parent.is_dir():
            raise StorageError(f"{path}: cannot be written", f"there is no folder {path.parent}")
    if chart is not None and chart.suffix not in FORMATS:
        raise UsageError(
            f"--chart {chart}: unknown format", hint=f"a name that ends in {', '.join(FORMATS)}"
        )
