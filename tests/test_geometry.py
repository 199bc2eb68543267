"""A moved face: where it comes to lie, how large and how turned; and unmoved, not a pixel changes."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from agedetect.data.geometry import Filling, Movement, move

SIDE = 200


def marked() -> Image.Image:
    """A red square in the middle and a blue one above it stand for a face and which way is up."""
    pixels = np.zeros((SIDE, SIDE, 3), np.uint8)
    pixels[90:110, 90:110, 0] = 255
    pixels[60:70, 95:105, 2] = 255
    return Image.fromarray(pixels)


def centre(channel: NDArray[np.float64]) -> tuple[float, float]:
    """x and y of the centre of mass, as shares of the side."""
    rows, columns = np.indices(channel.shape) + 0.5
    total, side = channel.sum(), len(channel)
    return float((channel * columns).sum() / total / side), float((channel * rows).sum() / total / side)


def test_without_a_movement_a_square_keeps_its_pixels_and_another_picture_its_centre_square() -> None:
    pixels = np.random.default_rng(1).integers(0, 256, (60, 80, 3), dtype=np.uint8)
    assert np.array_equal(np.asarray(move(Image.fromarray(pixels), Movement())), pixels[:, 10:70])
    assert np.array_equal(np.asarray(move(Image.fromarray(pixels[:, :60]), Movement())), pixels[:, :60])


@pytest.mark.parametrize("scale", [0.7, 1.0, 1.4])
def test_a_face_goes_right_and_down_and_grows_about_the_middle(scale: float) -> None:
    found = np.asarray(move(marked(), Movement(scale, right=0.1, down=0.05), "constant")).astype(float)
    assert found.shape[:2] == (round(SIDE / scale),) * 2
    x, y = centre(found[:, :, 0])
    # it is shifted before it is scaled; half a pixel of 143 or more
    assert (x, y) == pytest.approx((0.5 + 0.1 * scale, 0.5 + 0.05 * scale), abs=0.004)
    share = found[:, :, 0].sum() / 255 / found[:, :, 0].size
    assert share**0.5 == pytest.approx(0.1 * scale, rel=0.01)  # whole pixels of the square's side


@pytest.mark.parametrize("degrees", [-30, 15, 90])
def test_a_face_is_turned_clockwise(degrees: float) -> None:
    found = np.asarray(move(marked(), Movement(degrees=degrees), "constant")).astype(float)
    x, y = centre(found[:, :, 2])
    angle = np.radians(degrees)
    assert (x, y) == pytest.approx((0.5 + 0.175 * np.sin(angle), 0.5 - 0.175 * np.cos(angle)), abs=0.003)


@pytest.mark.parametrize(("filling", "level"), [("reflect", 90), ("edge", 200), ("constant", 0)])
def test_what_lies_outside_is_the_reflection_the_edge_or_black(filling: Filling, level: int) -> None:
    """White but for a frame of one pixel, and grey within it on the left, which only a reflection shows."""
    pixels = np.full((40, 40, 3), 255, np.uint8)
    pixels[:, :1], pixels[:, 1:20] = 200, 90
    found = np.asarray(move(Image.fromarray(pixels), Movement(right=0.25), filling))
    assert (found[:, 8] == level).all()  # two pixels outside
    assert (found[:, 10] == 200).all()
