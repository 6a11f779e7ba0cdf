"""Images of shapes, drawn in any color, place, size and direction on a disturbed ground."""

from math import cos, pi, sin
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

SIZE = 32  # pixels
Point = tuple[float, float]


def around(*radii: float, turn: float = 0.0) -> list[Point]:
    """Return corners at equal angles around the middle, at radii that repeat."""
    count = len(radii)
    angles = [turn + 2 * pi * number / count for number in range(count)]
    return [(r * cos(a), r * sin(a)) for r, a in zip(radii, angles, strict=True)]


OUTLINES: dict[str, list[Point]] = {  # within a circle of radius 1
    "disc": around(*[1.0] * 24),
    "triangle": around(*[1.0] * 3),
    "square": around(*[1.0] * 4),
    "star": around(*[1.0, 0.4] * 5),
    "cross": around(*[1.0, 0.45, 1.0] * 4, turn=-0.3),
    "bar": [(-1, -0.25), (1, -0.25), (1, 0.25), (-1, 0.25)],
    "flower": around(*[1.0, 0.75, 0.5, 0.75] * 3),
    "half": [(cos(pi * n / 12), sin(pi * n / 12)) for n in range(13)],
    "arrow": [(1, 0), (0.1, 0.9), (0.1, 0.3), (-1, 0.3), (-1, -0.3), (0.1, -0.3), (0.1, -0.9)],
    "corner": [(-0.9, -0.9), (-0.3, -0.9), (-0.3, 0.3), (0.9, 0.3), (0.9, 0.9), (-0.9, 0.9)],
    "hourglass": [(-0.8, -0.9), (0.8, -0.9), (0.1, 0), (0.8, 0.9), (-0.8, 0.9), (-0.1, 0)],
    "moon": [(cos(pi * n / 9), sin(pi * n / 9)) for n in range(-7, 8)]
    + [(0.45 + 0.75 * cos(pi * n / 9), 0.75 * sin(pi * n / 9)) for n in range(6, -7, -1)],
}


def drawn(shape: str, random: np.random.Generator) -> Image.Image:
    """Return an image of a shape."""
    ground = random.uniform(0, 120, 3) + random.normal(0, 15, (SIZE, SIZE, 3))
    image = Image.fromarray(ground.clip(0, 255).astype(np.uint8))
    pen = ImageDraw.Draw(image)
    for _ in range(3):  # lines that mean nothing
        ends = random.uniform(0, SIZE, 4).tolist()
        pen.line(ends, fill=tuple(random.integers(0, 256, 3).tolist()))
    radius, turn = random.uniform(0.22, 0.4) * SIZE, random.uniform(0, 2 * pi)
    x, y = random.uniform(radius, SIZE - radius, 2)
    corners = [
        (x + radius * (u * cos(turn) - v * sin(turn)), y + radius * (u * sin(turn) + v * cos(turn)))
        for u, v in OUTLINES[shape]
    ]
    pen.polygon(corners, fill=tuple(random.integers(130, 256, 3).tolist()))
    return image


def write_shapes(root: Path, shapes: tuple[str, ...], images: dict[str, int], seed: int) -> None:
    """Write images of each shape into a folder of its name.

    images  number for each shape by split, the name of a folder above those of the shapes
    """
    random = np.random.default_rng(seed)
    for split, count in images.items():
        for shape in shapes:
            folder = root / split / shape
            folder.mkdir(parents=True)
            for number in range(count):
                drawn(shape, random).save(folder / f"{number:04}.png")
