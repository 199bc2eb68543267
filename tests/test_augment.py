"""Augmentation changes what it names, within its bounds, and nothing else."""

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from agedetect.config import AUGMENTATIONS
from agedetect.data.faces import Face, read_faces
from agedetect.training import augment
from agedetect.training.augment import colour_jitter, geometric, random_erasing
from agedetect.training.dataset import FaceDataset


def random(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


@pytest.fixture(scope="module")
def faces(drawn_faces: Path) -> tuple[Face, ...]:
    return read_faces(drawn_faces).faces[:8]


def test_a_crop_keeps_at_least_its_share_of_the_area_and_the_square() -> None:
    image = Image.new("RGB", (200, 200))
    sizes = [geometric(image, ["crop"], random(seed)).size for seed in range(200)]
    assert all(width == height for width, height in sizes)
    areas = [width * height / 200**2 for width, height in sizes]
    assert augment.MIN_AREA - 0.01 < min(areas) < 0.83  # whole pixels: 0.005 of the area
    assert 0.97 < max(areas) <= 1


def test_an_affine_change_scales_rotates_and_shifts_within_its_bounds() -> None:
    """A red square in the middle and a blue one above it stand for a face and which way is up."""
    pixels = np.zeros((200, 200, 3), np.uint8)
    pixels[90:110, 90:110, 0] = 255
    pixels[40:50, 95:105, 2] = 255
    scales, degrees, shifts = [], [], []
    for seed in range(200):
        changed = geometric(Image.fromarray(pixels), ["affine"], random(seed))
        assert changed.width == changed.height
        side = changed.width
        found = np.asarray(changed).astype(float)
        (y, x), (top_y, top_x) = (centre_of(found[:, :, channel], side) for channel in (0, 2))
        scales.append((found[:, :, 0].sum() / 255) ** 0.5 / 20 * 200 / side)
        degrees.append(np.degrees(np.arctan2(top_x - x, y - top_y)))
        shifts += [x / side - 0.5, y / side - 0.5]
    assert augment.SCALE[0] * 0.97 < min(scales) < 0.65  # 200 draws come near the bounds; whole pixels blur them
    assert 1.18 < max(scales) < augment.SCALE[1] * 1.03
    assert 13 < max(map(abs, degrees)) < augment.AFFINE_DEGREES + 1
    # a shift is a share of the picture before it is scaled
    assert 0.06 < max(map(abs, shifts)) < augment.SHIFT * augment.SCALE[1] + 0.01


def centre_of(channel: NDArray[np.float64], side: int) -> tuple[float, float]:
    """The centre of mass within the middle, where no reflection reaches."""
    kept = channel * (np.hypot(*(np.indices(channel.shape) - side / 2)) < 0.45 * side)
    rows, columns = np.indices(channel.shape)
    return float((kept * rows).sum() / kept.sum()), float((kept * columns).sum() / kept.sum())


def test_erasing_hits_about_its_share_of_the_faces_within_its_bounds() -> None:
    changed = []
    for seed in range(400):
        before = np.full((64, 64, 3), 7, np.uint8)
        changed.append((random_erasing(before.copy(), random(seed)) != before).any(axis=2).mean())
    hit = [share for share in changed if share]
    assert 0.2 < len(hit) / 400 < 0.4  # 400 draws at 0.3: four standard deviations are 0.09
    assert augment.ERASE_AREA[0] * 0.7 < min(hit)  # sides are whole pixels
    assert max(hit) < augment.ERASE_AREA[1] * 1.3


def test_colour_jitter_changes_the_brightness_within_its_bounds() -> None:
    pixels = np.full((8, 8, 3), 100, np.uint8)  # grey: contrast and saturation leave it as it is
    means = [colour_jitter(pixels, random(seed)).mean() for seed in range(200)]
    assert 100 * (1 - augment.COLOUR) - 1 <= min(means) < 78  # whole levels; 200 draws come near the bounds
    assert 122 < max(means) <= 100 * (1 + augment.COLOUR) + 1


@pytest.mark.parametrize("name", AUGMENTATIONS)
def test_each_augmentation_changes_some_faces_and_differs_by_epoch(faces: tuple[Face, ...], name: str) -> None:
    plain = FaceDataset(faces, 48, "bilinear", seed=3)
    changing = FaceDataset(faces, 48, "bilinear", seed=3, augmentations=[name])
    keys = [(epoch, index) for epoch in range(1, 5) for index in range(len(faces))]
    changed = [not np.array_equal(changing[key][0], plain[key][0]) for key in keys]
    assert any(changed)
    again = [np.array_equal(changing[key][0], changing[key][0]) for key in keys]
    assert all(again)
    by_epoch = np.array([changing[key][0].numpy() for key in keys]).reshape(4, len(faces), 48, 48, 3)
    assert any(not np.array_equal(by_epoch[0], other) for other in by_epoch[1:])
