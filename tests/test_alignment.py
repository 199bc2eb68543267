"""Chips: the landmarks come to lie on the template, whatever the photo's scale, turn and storage."""

from __future__ import annotations

import io
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from agedetect_runtime.alignment import Similarity, cut_chip, photo_pixels_per_chip_pixel
from agedetect_runtime.errors import ImageError
from agedetect_runtime.photo import Photo
from agedetect_runtime.spec import UTKFACE_TEMPLATE
from tiny_images import stored_jpeg

TEMPLATE = np.array(UTKFACE_TEMPLATE)
NOISE = np.random.default_rng(1).integers(0, 256, (90, 120, 3), dtype=np.uint8)


def turned(points: NDArray[np.float64], scale: float, degrees: float, x: float, y: float) -> NDArray[np.float64]:
    angle = math.radians(degrees)
    rotation = scale * np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
    return points @ rotation.T + (x, y)


def umeyama(
    points: NDArray[np.float64], targets: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Equations 40 to 42 of the paper, by singular values, in two dimensions."""
    start, goal = points - points.mean(0), targets - targets.mean(0)
    left, values, right = np.linalg.svd(goal.T @ start / len(points))
    signs = np.array([1.0, np.sign(np.linalg.det(left) * np.linalg.det(right))])
    rotation = left @ np.diag(signs) @ right
    matrix = (values * signs).sum() / (start**2).sum(1).mean() * rotation
    return matrix, targets.mean(0) - matrix @ points.mean(0)


@settings(deadline=None, derandomize=True)
@given(st.floats(0.01, 50), st.floats(-180, 180), st.floats(-1000, 1000), st.floats(-1000, 1000))
def test_a_similarity_is_found_exactly(scale: float, degrees: float, x: float, y: float) -> None:
    moved = turned(TEMPLATE, scale, degrees, x, y)
    found = Similarity.between(moved, TEMPLATE)
    assert abs(found.turn) == pytest.approx(1 / scale)
    assert found(moved) == pytest.approx(TEMPLATE, abs=1e-9)  # float64, points of up to 1000 pixels
    assert found.inverse(TEMPLATE) == pytest.approx(moved, abs=1e-6)


@settings(deadline=None, derandomize=True)
@given(st.integers(0, 1000))
def test_where_none_fits_it_is_umeyamas(seed: int) -> None:
    """Mirrored targets too: a reflection would fit better, and isn't allowed."""
    points, targets = np.random.default_rng(seed).normal(size=(2, 5, 2))
    for goal in (targets, points * (-1, 1)):
        matrix, shift = umeyama(points, goal)
        assert Similarity.between(points, goal)(points) == pytest.approx(points @ matrix.T + shift, abs=1e-9)


@pytest.mark.parametrize("points", [np.ones((5, 2)), np.full((5, 2), np.nan), np.full((5, 2), np.inf)])
def test_landmarks_that_say_nothing_are_refused(points: NDArray[np.float64]) -> None:
    with np.errstate(invalid="ignore"), pytest.raises(ImageError, match="the landmarks of a face coincide or are not"):
        cut_chip(Photo.open(NOISE), points, 32)


def test_a_chip_is_drawn_at_twice_its_side_and_then_reduced() -> None:
    chip = cut_chip(Photo.open(NOISE), TEMPLATE * 90 + (20, 0), 90, resampling="bicubic")
    finer = Image.fromarray(NOISE).transform(
        (180, 180), Image.Transform.AFFINE, (0.5, 0, 20, 0, 0.5, 0), Image.Resampling.BILINEAR
    )
    expected = np.asarray(finer.resize((90, 90), Image.Resampling.BICUBIC))
    assert np.abs(chip.astype(int) - expected).max() <= 1  # a landmark's last digit moves a level by one


def drawn_face(side: int, scale: float, degrees: float) -> tuple[Photo, NDArray[np.float64]]:
    """Fine rings on grey around the middle of a photo, and the landmarks of a face there, turned and scaled."""
    size = round(2 * side * scale)
    rows, columns = (np.mgrid[:size, :size] + 0.5 - size / 2) / scale
    distance, angle = np.hypot(rows, columns), np.arctan2(rows, columns) - math.radians(degrees)
    levels = 128 + 60 * np.cos(distance / 2) + 60 * np.cos(5 * angle)
    pixels = np.repeat(np.clip(levels, 0, 255).astype(np.uint8)[..., None], 3, axis=2)
    centre = (TEMPLATE - 0.5) * side
    return Photo.open(pixels), turned(centre, scale, degrees, size / 2, size / 2)


def reference(photo: Photo, landmarks: NDArray[np.float64], side: int, samples: int) -> NDArray[np.float64]:
    """Each pixel of the chip the mean of `samples` x `samples` nearest pixels of the photo."""
    fine = side * samples
    grid = (np.stack(np.meshgrid(np.arange(fine), np.arange(fine)), axis=-1).reshape(-1, 2) + 0.5) / samples
    points = Similarity.between(landmarks, TEMPLATE * side).inverse(grid)
    columns, rows = np.floor(points).astype(int).T
    pixels = np.asarray(photo.opened.rgb)[rows, columns].reshape(side, samples, side, samples, 3)
    means: NDArray[np.float64] = pixels.mean(axis=(1, 3))
    return means


@pytest.mark.parametrize("scale", [1, 1.7, 3, 8.3])
@pytest.mark.parametrize("degrees", [0, 30, -75])
def test_a_smaller_chip_is_antialiased_like_a_supersampled_one(scale: float, degrees: float) -> None:
    photo, landmarks = drawn_face(64, scale, degrees)
    chip = cut_chip(photo, landmarks, 64)
    expected = reference(photo, landmarks, 64, samples=16)
    # The rings are 12 pixels apart, so a wider filter than a box dulls them by a few of their 60 levels, no more; the
    # middle, where five sectors meet in a point, is for nobody to get right.
    difference = np.abs(chip - expected)
    assert difference.mean() < 2.5
    away = np.hypot(*(np.mgrid[:64, :64] - 31.5)) > 8
    assert difference[away].max() < 12
    half_a_pixel_off = cut_chip(photo, landmarks + scale / 2, 64)
    assert np.abs(half_a_pixel_off - expected).mean() > 1.5 * difference.mean()  # the measure would show it


def test_interpolating_alone_would_alias() -> None:
    """Lines of one pixel, eight times finer than the chip: their mean is grey, one line of them black or white."""
    stripes = np.zeros((512, 512, 3), np.uint8)
    stripes[:, ::2] = 255
    chip = cut_chip(Photo.open(stripes), TEMPLATE * 512, 64)
    assert np.abs(chip.astype(int) - 127.5).max() <= 2


def test_a_larger_chip_is_interpolated() -> None:
    dots = np.zeros((16, 16, 3), np.uint8)
    dots[8:] = 200
    chip = cut_chip(Photo.open(dots), TEMPLATE * 16, 128)
    assert (chip[:56] == 0).all()
    assert (chip[72:] == 200).all()
    assert (np.diff(chip[:, 64, 0].astype(int)) >= 0).all()


def test_what_lies_outside_the_photo_is_black() -> None:
    white = Photo.open(np.full((100, 100, 3), 255, np.uint8))
    half_out = cut_chip(white, TEMPLATE * 80 + (60, 10), 80)  # its right half
    assert (half_out[:, :39] == 255).all()
    assert (half_out[:, 41:] == 0).all()
    assert (cut_chip(white, TEMPLATE * 80 + (500, 500), 80) == 0).all()


def test_the_template_is_the_models() -> None:
    middle = ((0.3, 0.3), (0.7, 0.3), (0.5, 0.5), (0.35, 0.7), (0.65, 0.7))
    photo = Photo.open(NOISE)
    landmarks = np.array(middle) * 60 + (10, 20)
    chip = cut_chip(photo, landmarks, 60, template=middle)
    same = cut_chip(photo, TEMPLATE * 60 + (10, 20), 60).astype(int)
    assert np.abs(chip - same).max() <= 1  # the last digits of two templates move a level by one
    assert photo_pixels_per_chip_pixel(landmarks, 30, middle) == pytest.approx(2)


def large_face() -> Image.Image:
    """1,600 x 1,200 pixels: a smooth picture without any symmetry."""
    photo = Image.new("RGB", (1600, 1200), (90, 120, 60))
    canvas = ImageDraw.Draw(photo)
    for index, colour in enumerate(("red", "white", "blue", "yellow", "black")):
        x, y = TEMPLATE[index] * 800 + (500, 150)
        canvas.ellipse((x - 60, y - 40, x + 60, y + 40), fill=colour)
    return photo


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("enough", [None, 300])
def test_a_chip_is_the_same_however_the_photo_is_stored_jpeg(orientation: int, enough: int | None) -> None:
    landmarks = TEMPLATE * 800 + (500, 150)
    data = stored_jpeg(large_face(), orientation)
    photo = Photo.open(data) if enough is None else Photo.open(data, enough)
    assert (photo.size, photo.shrunk) == ((1600, 1200), 1 if enough is None else 4)
    expected = cut_chip(Photo.open(large_face()), landmarks, 64).astype(int)
    difference = np.abs(cut_chip(photo, landmarks, 64) - expected).mean()
    assert difference < 0.1  # a level in ten: JPEG's own errors, and libjpeg's reduction
    assert np.abs(cut_chip(photo, landmarks + 3, 64) - expected).mean() > 0.5  # a quarter of a pixel off


def test_a_photo_is_opened_again_only_for_more_pixels_than_it_has() -> None:
    data = stored_jpeg(large_face(), 6)
    photo = Photo.open(io.BytesIO(data), 300)
    assert photo.with_pixels_of(4) is photo.with_pixels_of(9) is photo
    finer = photo.with_pixels_of(2.5)
    assert (finer.shrunk, finer.size) == (2, (1600, 1200))
    assert photo.with_pixels_of(1).shrunk == 1
