"""A figure of matplotlib's to draw on, without a window, and its pixels.

matplotlib is imported where something is drawn: it takes as long to import as a small network
takes to train.
"""

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from typing import TYPE_CHECKING, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Picture: TypeAlias = NDArray[np.uint8]

DPI = 100


@contextmanager
def empty_figure(
    width: float, height: float, layout: Literal["constrained"] | None = "constrained"
) -> Iterator["Figure"]:
    """Return an empty figure of this size in inches, without a window or any global state."""
    with _quiet_matplotlib(), warnings.catch_warnings():
        from matplotlib.figure import Figure

        # class names in scripts that the font lacks are drawn as boxes
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        yield Figure((width, height), dpi=DPI, layout=layout)


@contextmanager
def _quiet_matplotlib() -> Iterator[None]:
    """Keep notes on font caches and configuration folders from users of bptrain, in the block."""
    logger = logging.getLogger("matplotlib")
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(before)


def pixels_of(figure: "Figure") -> Picture:
    """Return what was drawn."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()


def png_bytes(picture: Picture) -> bytes:
    """Return a picture as a PNG file."""
    from PIL import Image

    file = BytesIO()
    Image.fromarray(picture).save(file, "PNG")
    return file.getvalue()
