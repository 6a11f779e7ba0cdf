"""Transforms of training images: compared with torchvision's, and drawn for each sample."""

from math import degrees

import pytest
import torch
from torch import Tensor
from torch.nn import functional
from torchvision.transforms import InterpolationMode
from torchvision.transforms import functional as reference

from bptrain.data.augment.color import ColorJitterConfig, NoiseConfig, hue_shifted
from bptrain.data.augment.erasing import Boxes, ErasingConfig
from bptrain.data.augment.geometry import (
    Border,
    CropConfig,
    FlipConfig,
    RotationConfig,
    rotated,
    shifted,
)
from bptrain.data.augment.mixing import CutMixConfig, MixingConfig, MixupConfig, partner_rows
from bptrain.data.augment.transform_config import ImageInfo, TransformConfig
from bptrain.data.hashed_random import Draws

BATCH, CLASSES = 32, 5
INFO = ImageInfo((3, 12, 10), CLASSES, (-2.0, -1.5, -1.0), (2.0, 2.5, 3.0))
BLACK = torch.tensor(INFO.black).view(-1, 1, 1)
WHITE = torch.tensor(INFO.white).view(-1, 1, 1)

ALONE = [  # what a sample gets of these does not depend on the samples beside it
    FlipConfig(),
    FlipConfig(direction="vertical"),
    CropConfig(padding=3),
    CropConfig(padding=3, border="edge"),
    CropConfig(padding=3, border="reflect"),
    RotationConfig(degrees=30),
    ColorJitterConfig(saturation=0.5, hue=0.1),
    ErasingConfig(),
    ErasingConfig(fill="black"),
    ErasingConfig(fill="noise"),
    NoiseConfig(),
]
MIXING = [MixupConfig(alpha=1.0), CutMixConfig()]


def named(config: TransformConfig) -> str:
    return "-".join(str(value) for value in config.model_dump().values())


def pixels() -> Tensor:
    return torch.rand(BATCH, *INFO.shape, generator=torch.Generator().manual_seed(0))


def batch() -> tuple[Tensor, Tensor]:
    return pixels() * (WHITE - BLACK) + BLACK, torch.arange(BATCH) % CLASSES


def draws(epoch: int = 0, use: int = 0, rows: Tensor | None = None) -> Draws:
    return Draws(1, epoch, torch.arange(100, 100 + BATCH) if rows is None else rows, use)


def one_by_one(function: object, images: Tensor, *values: Tensor) -> Tensor:
    """Return what torchvision makes of each image with its own parameters."""
    rows = zip(images, *(value.tolist() for value in values), strict=True)
    return torch.stack([function(*row) for row in rows])  # type: ignore[operator]


@pytest.mark.parametrize(
    ("direction", "mirror"), [("horizontal", reference.hflip), ("vertical", reference.vflip)]
)
def test_a_flip_is_torchvisions(direction: str, mirror: object) -> None:
    images, targets = batch()
    config = FlipConfig(direction=direction, probability=1.0)
    flipped, same = config(images, targets, draws(), INFO)
    assert flipped.equal(one_by_one(mirror, images))
    assert same.equal(targets)


@pytest.mark.parametrize(
    ("border", "mode"), [("black", "constant"), ("edge", "edge"), ("reflect", "reflect")]
)
def test_a_crop_is_torchvisions(border: Border, mode: str) -> None:
    images, padding = batch()[0] - BLACK, 4
    down, right = torch.randint(-4, 5, (2, BATCH), generator=torch.Generator().manual_seed(1))

    def crop(image: Tensor, down: int, right: int) -> Tensor:
        padded = reference.pad(image, [padding] * 4, padding_mode=mode)
        return reference.crop(padded, padding + down, padding + right, *image.shape[1:])

    moved = shifted(images, down, right, border, torch.zeros(3, 1, 1))
    assert moved.equal(one_by_one(crop, images, down, right))


def test_a_crop_reaches_every_offset_and_pads_with_black() -> None:
    image = torch.ones(1, 1, 4, 4).expand(4000, -1, -1, -1)
    info = ImageInfo((1, 4, 4), 2, (-3.0,), (1.0,))
    cropped = CropConfig(padding=2).transformed(image, draws(rows=torch.arange(4000)), info)
    assert set(cropped.unique().tolist()) == {-3.0, 1.0}
    assert len(cropped.flatten(1).unique(dim=0)) == 25


def test_a_rotation_is_torchvisions() -> None:
    images = batch()[0]
    angles = torch.linspace(-3.1, 3.1, BATCH)

    def rotate(image: Tensor, angle: float) -> Tensor:
        # its own fill weighs the image twice along the border: blended with 0, then with the fill
        moved = reference.rotate(image - BLACK, degrees(angle), InterpolationMode.BILINEAR)
        return moved + BLACK

    # 1e-4: torchvision rounds the angle and the grid differently
    expected = one_by_one(rotate, images, angles)
    torch.testing.assert_close(rotated(images, angles, BLACK), expected, rtol=0, atol=1e-4)


def test_a_rotation_stays_within_its_degrees() -> None:
    # a bright pixel far right of the middle: the row where it ends up tells the angle
    images = torch.zeros(2000, 1, 41, 41)
    images[:, 0, 20, 38] = 1
    info = ImageInfo((1, 41, 41), 2, (0.0,), (1.0,))
    rotated_images = RotationConfig(degrees=20).transformed(
        images, draws(rows=torch.arange(2000)), info
    )
    weights = rotated_images[:, 0].sum(2)
    rows = (weights * torch.arange(41)).sum(1) / weights.sum(1) - 20
    sines = rows / 18
    limit = 0.342 + 0.02  # sin 20 degrees, and what interpolation blurs
    assert sines.abs().max() < limit
    assert sines.min() < -0.3 < 0.3 < sines.max()
    assert abs(sines.mean()) < 0.02


@pytest.mark.parametrize(
    ("name", "column", "adjust"),
    [
        ("brightness", 0, reference.adjust_brightness),
        ("contrast", 1, reference.adjust_contrast),
        ("saturation", 2, reference.adjust_saturation),
    ],
)
def test_pixel_values_change_as_torchvisions(name: str, column: int, adjust: object) -> None:
    strengths = {"brightness": 0.0, "contrast": 0.0, "saturation": 0.0, name: 1.5}
    images = batch()[0]
    factors = (1 + 1.5 * (2 * draws().uniforms(4)[:, column] - 1)).clamp(min=0)
    assert (factors == 0).any()
    expected = one_by_one(adjust, pixels(), factors) * (WHITE - BLACK) + BLACK
    changed = ColorJitterConfig(**strengths).transformed(images, draws(), INFO)
    torch.testing.assert_close(changed, expected, rtol=0, atol=1e-5)


def test_contrast_of_gray_images_is_torchvisions() -> None:
    gray = pixels()[:, :1]
    info = ImageInfo((1, 12, 10), CLASSES, (0.0,), (1.0,))
    factors = 1 + 0.8 * (2 * draws().uniforms(4)[:, 1] - 1)
    expected = one_by_one(reference.adjust_contrast, gray, factors)
    changed = ColorJitterConfig(brightness=0, contrast=0.8).transformed(gray, draws(), info)
    torch.testing.assert_close(changed, expected, rtol=0, atol=1e-5)


def test_hue_is_torchvisions_and_gray_has_none() -> None:
    images = pixels()
    images[0] = images[0, :1]  # gray
    images[1] = 0
    images[2, 0] = images[2, 1]  # two largest values are equal
    turns = torch.linspace(-0.5, 0.5, BATCH)
    expected = one_by_one(reference.adjust_hue, images, turns)
    torch.testing.assert_close(hue_shifted(images, turns), expected, rtol=0, atol=1e-5)
    torch.testing.assert_close(hue_shifted(images, turns)[:2], images[:2])


def test_noise_has_its_standard_deviation() -> None:
    images = torch.zeros(200, 3, 12, 10)
    noise = NoiseConfig(std=0.25).transformed(images, draws(rows=torch.arange(200)), INFO)
    assert noise.std().item() == pytest.approx(0.25, rel=0.01)
    assert noise.mean().item() == pytest.approx(0, abs=0.005)


@pytest.mark.parametrize(("fill", "value"), [("mean", torch.zeros(3, 1, 1)), ("black", BLACK)])
def test_erasing_is_torchvisions(fill: str, value: Tensor) -> None:
    images = batch()[0]
    config = ErasingConfig(probability=1.0, fill=fill)
    erased = config.transformed(images, draws(), INFO)
    boxes = config.boxes(draws().uniforms(41)[:, 1:], 12, 10)

    def erase(image: Tensor, top: int, left: int, height: int, width: int) -> Tensor:
        return reference.erase(image, top, left, height, width, value)

    assert erased.equal(one_by_one(erase, images, *boxes))


def test_erased_rectangles_keep_their_bounds_and_cover_the_range() -> None:
    config = ErasingConfig(area=(0.05, 0.3), ratio=(0.5, 2.0))
    uniforms = draws(rows=torch.arange(5000)).uniforms(40)
    top, left, height, width = config.boxes(uniforms, 100, 120)
    assert (top >= 0).all()
    assert (left >= 0).all()
    assert (top + height <= 100).all()
    assert (left + width <= 120).all()
    area, ratio = height * width / 12_000, height / width
    assert area.min().item() == pytest.approx(0.05, abs=0.005)
    assert area.max().item() == pytest.approx(0.3, abs=0.005)
    assert ratio.min().item() == pytest.approx(0.5, abs=0.03)
    assert ratio.max().item() == pytest.approx(2, abs=0.1)
    assert area.mean().item() == pytest.approx(0.175, abs=0.005)
    assert ratio.log().mean().item() == pytest.approx(0, abs=0.03)


def test_an_image_that_no_rectangle_fits_is_unchanged() -> None:
    images, targets = batch()
    config = ErasingConfig(probability=1.0, area=(1.0, 1.0))
    assert config(images, targets, draws(), INFO)[0].equal(images)


def test_erased_noise_is_like_standardized_images() -> None:
    images = torch.full((64, 3, 32, 32), 9.0)
    info = ImageInfo((3, 32, 32), 2, INFO.black, INFO.white)
    config = ErasingConfig(probability=1.0, fill="noise")
    changed = config.transformed(images, draws(rows=torch.arange(64)), info)
    noise = changed[changed != 9.0]
    assert noise.mean().item() == pytest.approx(0, abs=0.02)
    assert noise.std().item() == pytest.approx(1, abs=0.02)


def test_a_box_masks_its_pixels() -> None:
    boxes = Boxes(*torch.tensor([[1, 0], [2, 0], [2, 0], [3, 5]]))
    mask = boxes.mask(4, 6)
    expected = torch.zeros(2, 1, 4, 6, dtype=torch.bool)
    expected[0, 0, 1:3, 2:5] = True
    assert mask.equal(expected)


def test_mixup_mixes_images_and_classes_with_the_same_weights() -> None:
    images, targets = batch()
    # images that spell their class: whatever is mixed, the image must still say the target
    images = functional.one_hot(targets, CLASSES).float().view(BATCH, CLASSES, 1, 1)
    mixed, probabilities = MixupConfig(alpha=1.0)(images, targets, draws(), INFO)
    torch.testing.assert_close(mixed.view(BATCH, CLASSES), probabilities)
    torch.testing.assert_close(probabilities.sum(1), torch.ones(BATCH))
    assert ((probabilities > 0.01).sum(1) == 2).any()


def test_cutmix_counts_the_pixels_of_each_class() -> None:
    targets = batch()[1]
    spelled = functional.one_hot(targets, CLASSES).float().view(BATCH, CLASSES, 1, 1)
    images = spelled.expand(BATCH, CLASSES, 12, 10)
    mixed, probabilities = CutMixConfig()(images, targets, draws(), INFO)
    torch.testing.assert_close(mixed.mean((2, 3)), probabilities)
    assert set(mixed.unique().tolist()) == {0.0, 1.0}
    assert ((probabilities > 0).sum(1) == 2).any()


def test_mixing_twice_starts_from_probabilities() -> None:
    images, targets = batch()
    images, once = MixupConfig()(images, targets, draws(), INFO)
    _, twice = CutMixConfig()(images, once, draws(use=1), INFO)
    torch.testing.assert_close(twice.sum(1), torch.ones(BATCH))
    assert ((twice > 0).sum(1) >= 3).any()


@pytest.mark.parametrize("rows", [2, 3, 100])
def test_a_partner_is_any_other_row_with_equal_probability(rows: int) -> None:
    uniform = Draws(0, 0, torch.arange(rows * 500)).uniforms(1).view(500, rows)
    steps = torch.stack([partner_rows(each) - torch.arange(rows) for each in uniform]) % rows
    assert sorted(steps.unique().tolist()) == list(range(1, rows))
    counts = steps.flatten().bincount(minlength=rows)[1:].double()
    spread = (steps.numel() / (rows - 1)) ** 0.5
    assert (counts - counts.mean()).abs().max() < 4.5 * spread


@pytest.mark.parametrize("config", MIXING, ids=named)
def test_a_batch_of_one_mixes_with_itself(config: MixingConfig) -> None:
    images, targets = batch()
    changed, probabilities = config(images[:1], targets[:1], draws(rows=torch.arange(1)), INFO)
    torch.testing.assert_close(changed, images[:1])
    assert probabilities.argmax(1).equal(targets[:1])


@pytest.mark.parametrize(
    "config",
    [
        FlipConfig(probability=0),
        ErasingConfig(probability=0),
        MixupConfig(probability=0),
        CutMixConfig(probability=0),
    ],
    ids=named,
)
def test_at_a_probability_of_0_nothing_changes(config: TransformConfig) -> None:
    images, targets = batch()
    changed, same = config(images, targets, draws(), INFO)
    assert changed.equal(images)
    assert (same.argmax(1) if config.mixes else same).equal(targets)


@pytest.mark.parametrize(
    "config", [FlipConfig(probability=0.3), ErasingConfig(probability=0.3)], ids=named
)
def test_the_probability_is_the_fraction_of_changed_images(config: TransformConfig) -> None:
    images = torch.rand(3000, 1, 8, 8) + 1
    info = ImageInfo((1, 8, 8), 2, (0.0,), (2.0,))
    changed = config.transformed(images, draws(rows=torch.arange(3000)), info)
    share = (changed != images).flatten(1).any(1).float().mean().item()
    assert share == pytest.approx(0.3, abs=0.04)


@pytest.mark.parametrize("config", ALONE, ids=named)
def test_a_transform_of_a_sample_does_not_depend_on_its_batch(config: TransformConfig) -> None:
    images, targets = batch()
    whole, _ = config(images, targets, draws(), INFO)
    chosen = torch.tensor([7, 30, 3])
    few, _ = config(images[chosen], targets[chosen], draws(rows=chosen + 100), INFO)
    # a vector's last elements are rounded by other instructions than its first ones
    torch.testing.assert_close(few, whole[chosen], rtol=0, atol=2e-6)


@pytest.mark.parametrize("config", ALONE + MIXING, ids=named)
def test_a_transform_is_reproducible_and_differs_between_epochs_and_positions(
    config: TransformConfig,
) -> None:
    images, targets = batch()
    given = images.clone()
    first = config(images, targets, draws(), INFO)
    again = config(images, targets, draws(), INFO)
    assert images.equal(given)  # the data set itself is left alone
    assert all(one.equal(other) for one, other in zip(first, again, strict=True))
    for other in (draws(epoch=1), draws(use=1)):
        assert not config(images, targets, other, INFO)[0].equal(first[0])
    assert first[0].dtype == torch.float32
    assert not first[0].equal(images)
