"""Near-duplicates: a photograph that was saved again is found, one that only looks alike is not."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageEnhance

from agedetect.data.duplicates import group_near_duplicates, thumbnail
from agedetect.data.faces import read_faces


def grouped(images: list[Image.Image]) -> list[int]:
    rows = [np.frombuffer(thumbnail(image), np.uint8) for image in images]
    return list(group_near_duplicates(np.stack(rows)))


@pytest.fixture(scope="module")
def portraits(drawn_faces: Path) -> list[Image.Image]:
    return [Image.open(path).convert("RGB") for path in sorted(drawn_faces.iterdir())[:40]]


def recompressed(image: Image.Image) -> Image.Image:
    file = io.BytesIO()
    image.save(file, "JPEG", quality=20)
    return Image.open(file)


def stamped(image: Image.Image) -> Image.Image:
    copy = image.copy()
    ImageDraw.Draw(copy).text((20, 150), "agency", fill="white")
    return copy


COPIES: dict[str, Callable[[Image.Image], Image.Image]] = {
    "recompressed": recompressed,
    "made smaller": lambda image: image.resize((90, 90)),
    "made larger": lambda image: image.resize((500, 500), Image.Resampling.BICUBIC),
    "grey": lambda image: image.convert("L"),
    "darker": lambda image: ImageEnhance.Brightness(image).enhance(0.6),
    "of less contrast": lambda image: ImageEnhance.Contrast(image).enhance(0.5),
    "stamped": stamped,
}


@pytest.mark.parametrize("how", COPIES)
def test_a_copy_is_found(portraits: list[Image.Image], how: str) -> None:
    count = len(portraits)
    assert grouped([*portraits, *map(COPIES[how], portraits)]) == [*range(count), *range(count)]


def test_drawn_faces_that_look_alike_are_different(drawn_faces: Path) -> None:
    """The drawn faces share their pose, their background's kind and a handful of looks."""
    assert {face.near for face in read_faces(drawn_faces).faces} == {None}


def test_the_mirror_image_is_another_picture(portraits: list[Image.Image]) -> None:
    mirrored = [image.transpose(Image.Transpose.FLIP_LEFT_RIGHT) for image in portraits[:5]]
    assert grouped([*portraits[:5], *mirrored]) == list(range(10))


def test_blank_images_are_like_none() -> None:
    assert grouped([Image.new("RGB", (20, 20), colour) for colour in ("white", "white", "black")]) == [0, 1, 2]


def test_a_copy_of_a_copy_belongs_to_the_group() -> None:
    """In steps of 25 degrees: neighbours correlate by cos(25) = 0.906, the ends by cos(50) = 0.643."""
    across, down = np.meshgrid(np.arange(16) % 2, np.arange(16) % 2)
    angles = np.radians([0, 50, 25])
    waves = np.stack([100 + 50 * (np.cos(angle) * across + np.sin(angle) * down) for angle in angles])
    rows = np.round(waves).astype(np.uint8).reshape(3, -1)
    assert group_near_duplicates(rows, 0.9).tolist() == [0, 0, 0]
    assert group_near_duplicates(rows[:2], 0.9).tolist() == [0, 1]


def test_more_images_than_are_compared_at_once() -> None:
    rows = np.random.default_rng(0).integers(0, 256, (1300, 256)).astype(np.uint8)
    rows[1299] = rows[3]
    assert np.flatnonzero(group_near_duplicates(rows) != np.arange(1300)).tolist() == [1299]


def test_faces_say_which_photograph_they_show(portraits: list[Image.Image], tmp_path: Path) -> None:
    for name, image in {
        "1_1_1_1": portraits[0],
        "2_1_1_1": recompressed(portraits[0]),
        "3_1_1_1": portraits[1],
    }.items():
        image.save(tmp_path / f"{name}.png")
    portraits[1].save(tmp_path / "4_1_1_1.png")
    one, copy, other, identical = read_faces(tmp_path).faces
    assert one.near == copy.near == min(one.digest, copy.digest)
    assert one.picture == copy.picture != other.picture
    assert (other.near, other.picture) == (None, identical.picture)
