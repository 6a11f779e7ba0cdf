"""Pictures of what a run has learned, drawn with PIL: plain arrays [H, W, 3] of bytes."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from io import BytesIO
from itertools import product
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

Picture: TypeAlias = NDArray[np.uint8]
Color: TypeAlias = tuple[int, int, int]
Box: TypeAlias = tuple[float, float, float, float]  # left, top, right, bottom

PAPER, INK, FAINT = (255, 255, 255), (40, 40, 40), (150, 150, 150)
RIGHT, WRONG = (31, 119, 180), (214, 39, 40)
MARGIN = 16
TEXT_SIZE = 13

CELL_PX = 34  # of a confusion matrix; smaller ones, without numbers, where there are many classes
LARGEST_MATRIX_PX = 900
READABLE_CELL_PX = 24

MISTAKES_A_ROW = 6
THUMBNAIL_PX = 112

PANEL_PX = 300  # of a scatter plot
PANELS_A_ROW = 3
MOST_POINTS = 4000  # in one panel: more hide each other
DOT_PX = 2.0


@dataclass(frozen=True)
class Mistake:
    """An image that was taken for something else; `pixels` [C, H, W] are of any scale."""

    pixels: NDArray[np.float32]
    true: str
    predicted: str
    loss: float


def confusion_picture(counts: NDArray[np.int64], names: Sequence[str]) -> Picture:
    """Draw how often each class (row) was taken for which (column): blue right, red wrong.

    A cell is as dark as its share of the row's samples.
    """
    classes = len(counts)
    cell = max(2, min(CELL_PX, LARGEST_MATRIX_PX // classes))
    every = -(-16 // cell)  # rows from one name to the next that do not touch
    words = [cut(name, 14 * TEXT_SIZE) for name in names]
    room = round(max(width(word) for word in words)) + 8
    left, top = MARGIN + 24 + room, MARGIN + 24 + room
    side = cell * classes
    image, draw = blank(left + side + MARGIN, top + side + MARGIN)

    shares = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    for row, column in product(range(classes), repeat=2):
        x, y = left + column * cell, top + row * cell
        share = float(shares[row, column])
        shade = blend(PAPER, RIGHT if row == column else WRONG, share**0.5)
        draw.rectangle((x, y, x + cell - 1, y + cell - 1), fill=shade)
        if cell >= READABLE_CELL_PX and counts[row, column]:
            ink = PAPER if share > 0.3 else INK
            draw.text(
                (x + cell / 2, y + cell / 2), short(counts[row, column]), ink, font(11), anchor="mm"
            )
    draw.rectangle((left - 1, top - 1, left + side, top + side), outline=FAINT)

    for index in range(0, classes, every):
        middle = index * cell + cell / 2
        draw.text((left - 6, top + middle), words[index], INK, font(), anchor="rm")
        upright(image, words[index], (left + middle, top - 6), INK, above=True)
    draw.text((left + side / 2, MARGIN), "predicted", FAINT, font(), anchor="ma")
    upright(image, "true", (MARGIN + 6, top + side / 2), FAINT, above=False)
    return np.asarray(image)


def mistakes_picture(mistakes: Sequence[Mistake]) -> Picture:
    """Draw the images in rows, each above its class, the one it was taken for and the loss."""
    columns = min(MISTAKES_A_ROW, len(mistakes))
    rows = -(-len(mistakes) // columns)
    line = TEXT_SIZE + 5
    wide, high = THUMBNAIL_PX + MARGIN, THUMBNAIL_PX + 3 * line + MARGIN
    image, draw = blank(MARGIN + columns * wide, MARGIN + rows * high)
    for number, mistake in enumerate(mistakes):
        x, y = MARGIN + number % columns * wide, MARGIN + number // columns * high
        shown = thumbnail(mistake.pixels)
        at = (x + (THUMBNAIL_PX - shown.width) // 2, y + (THUMBNAIL_PX - shown.height) // 2)
        image.paste(shown, at)
        captions = (
            (f"true {mistake.true}", INK),
            (f"said {mistake.predicted}", WRONG),
            (f"loss {mistake.loss:.2f}", FAINT),
        )
        for place, (caption, ink) in enumerate(captions):
            text = cut(caption, THUMBNAIL_PX)
            draw.text((x, y + THUMBNAIL_PX + 3 + place * line), text, ink, font())
    return np.asarray(image)


def png_bytes(picture: Picture) -> bytes:
    """Return a picture as the content of a PNG file."""
    file = BytesIO()
    Image.fromarray(picture).save(file, "PNG")
    return file.getvalue()


def thumbnail(pixels: NDArray[np.float32]) -> Image.Image:
    """Return an image [1 or 3, H, W] whose least number is black and whose greatest is white."""
    low, high = float(pixels.min()), float(pixels.max())
    scaled = (pixels - low) / ((high - low) or 1.0) * 255
    channels = np.broadcast_to(scaled.round().astype(np.uint8), (3, *pixels.shape[1:]))
    image = Image.fromarray(np.ascontiguousarray(channels.transpose(1, 2, 0)))
    factor = THUMBNAIL_PX / max(image.size)
    size = tuple(max(1, round(side * factor)) for side in image.size)
    # enlarged, each pixel stays a square that can be counted
    return image.resize(
        (size[0], size[1]), Image.Resampling.NEAREST if factor > 1 else Image.Resampling.LANCZOS
    )


def scatter_picture(
    true: NDArray[np.float64], predicted: NDArray[np.float64], names: Sequence[str]
) -> Picture:
    """Draw predicted over true values [N, O], a panel a column; on the diagonal they agree."""
    columns = true.shape[1]
    across = min(PANELS_A_ROW, columns)
    step_x, step_y = PANEL_PX + 84, PANEL_PX + 78
    image, draw = blank(across * step_x + MARGIN, -(-columns // across) * step_y + MARGIN)
    every = -(-len(true) // MOST_POINTS)
    for column in range(columns):
        left = 68 + column % across * step_x
        top = 34 + column // across * step_y
        box = (left, top, left + PANEL_PX, top + PANEL_PX)
        draw.text((left + PANEL_PX / 2, top - 8), cut(names[column], PANEL_PX), INK, font(), "mb")
        panel(image, box, true[::every, column], predicted[::every, column])
    return np.asarray(image)


def panel(
    image: Image.Image, box: Box, true: NDArray[np.float64], said: NDArray[np.float64]
) -> None:
    """Draw the points and the scales of one plot into `box`."""
    low, high = float(min(true.min(), said.min())), float(max(true.max(), said.max()))
    spare = 0.04 * (high - low) or 0.5
    low, high = low - spare, high + spare
    left, top, right, bottom = box
    draw = ImageDraw.Draw(image)
    draw.line((left, bottom, right, top), fill=FAINT)
    x = left + (true - low) / (high - low) * (right - left)
    y = bottom - (said - low) / (high - low) * (bottom - top)
    ink = blend(PAPER, RIGHT, 1.0 if len(true) < 500 else 0.7)
    for at_x, at_y in zip(x.tolist(), y.tolist(), strict=True):
        draw.ellipse((at_x - DOT_PX, at_y - DOT_PX, at_x + DOT_PX, at_y + DOT_PX), fill=ink)
    draw.rectangle(box, outline=FAINT)

    for value in ticks(low, high):
        share = (value - low) / (high - low)
        at_x, at_y = left + share * (right - left), bottom - share * (bottom - top)
        draw.line((at_x, bottom, at_x, bottom + 4), fill=FAINT)
        draw.line((left - 4, at_y, left, at_y), fill=FAINT)
        draw.text((at_x, bottom + 7), f"{value:.4g}", INK, font(11), anchor="ma")
        draw.text((left - 7, at_y), f"{value:.4g}", INK, font(11), anchor="rm")
    draw.text(((left + right) / 2, bottom + 24), "true", FAINT, font(), anchor="ma")
    upright(image, "predicted", (left - 56, (top + bottom) / 2), FAINT, above=False)


def ticks(low: float, high: float) -> list[float]:
    """Return three to seven round numbers between two."""
    decade = 10.0 ** np.floor(np.log10((high - low) / 3))
    step = float(max(step for step in (1, 2, 5) if step * decade * 3 <= high - low) * decade)
    return [number * step for number in range(int(-(-low // step)), int(high // step) + 1)]


def blank(wide: int, high: int) -> tuple[Image.Image, ImageDraw.ImageDraw]:
    """Return empty paper and a pen for it."""
    image = Image.new("RGB", (wide, high), PAPER)
    return image, ImageDraw.Draw(image)


def upright(
    image: Image.Image, text: str, at: tuple[float, float], ink: Color, above: bool
) -> None:
    """Write from the bottom to the top: so that it ends `above` the point, or around it."""
    long, high = round(width(text)) + 2, TEXT_SIZE + 6
    strip = Image.new("L", (long, high), 0)
    ImageDraw.Draw(strip).text((1, high / 2), text, 255, font(), anchor="lm")
    turned = strip.rotate(90, expand=True)
    x = round(at[0] - high / 2)
    y = round(at[1] - long if above else at[1] - long / 2)
    image.paste(ink, (x, y), turned)


def blend(light: Color, dark: Color, share: float) -> Color:
    """Return the color at `share` of the way from one to the other."""
    mixed = [round(a + (b - a) * share) for a, b in zip(light, dark, strict=True)]
    return mixed[0], mixed[1], mixed[2]


def short(count: int) -> str:
    """Return a count in at most four characters."""
    for limit, divisor, unit in ((10**4, 1, ""), (10**6, 10**3, "k"), (10**9, 10**6, "M")):
        if count < limit:
            return f"{count // divisor}{unit}"
    return f"{count // 10**9}G"


def cut(text: str, room: float) -> str:
    """Return the text, its end left out where it is wider than `room` pixels."""
    text = " ".join(text.split())
    if width(text) <= room:
        return text
    while text and width(text + "...") > room:
        text = text[:-1]
    return text + "..."


def width(text: str) -> float:
    """Return the pixels that a text takes."""
    return font().getlength(text)


@cache
def font(size: int = TEXT_SIZE) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    """Return PIL's own font: no file of the system is looked for."""
    return ImageFont.load_default(size)
