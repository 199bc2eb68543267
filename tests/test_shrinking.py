"""Large JPEG photos are decoded at a fraction of their pixels: what that may change, in years, and what it may not."""

from __future__ import annotations

import io
from functools import cache

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image

from agedetect.synthetic.faces import draw_face
from agedetect_runtime.errors import ImageError
from agedetect_runtime.images import load_face, open_rgb
from export_source import SIZE, TinyAges

# Rounding and libjpeg's averaging change a level by 0.2 on average, a crop that is off by one decoded pixel by 1.9.
MEAN_LEVELS = 0.5
# What bicubic for bilinear moves an age by is the smallest mistake that parity is there to catch: 0.1 year on real
# faces, 0.05 to 0.37 with this program and these photos. Shrinking moves it by 0.0001 to 0.012.
MOVED_YEARS = 0.015


@cache
def photo(width: int, height: int, age: int = 40) -> Image.Image:
    """A drawn face that fills the centre square, nothing symmetric about it, with the noise of a sensor."""
    rng = np.random.default_rng(age)
    side = min(width, height)
    face = draw_face(age, age % 2, age % 5, rng, size=side // 3).resize((side, side), Image.Resampling.BICUBIC)
    image = Image.new("RGB", (width, height), (200, 90, 40))
    image.paste(face, ((width - side) // 2, (height - side) // 2))
    levels = np.asarray(image) + rng.normal(0, 6, (height, width, 1)).astype(np.float32)
    return Image.fromarray(np.clip(levels, 0, 255).astype(np.uint8))


def jpeg(image: Image.Image, orientation: int = 1, **options: object) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = orientation
    file = io.BytesIO()
    image.save(file, "JPEG", quality=92, exif=exif, **options)
    return file.getvalue()


def whole(data: bytes, size: int, resampling: str = "bilinear") -> NDArray[np.uint8]:
    """The face from all of the photo's pixels: an image that is already open is never shrunk."""
    return load_face(open_rgb(data), size, resampling)


def mean_difference(a: NDArray[np.uint8], b: NDArray[np.uint8]) -> float:
    return float(np.abs(a.astype(int) - b.astype(int)).mean())


@pytest.mark.parametrize("side", [64, 200, 256, 511])
@pytest.mark.parametrize("size", [16, 32, 64, 96, 128, 160, 224])
def test_chips_keep_every_bit_at_every_size(side: int, size: int) -> None:
    data = jpeg(photo(side, side))
    assert (load_face(data, size, "bilinear") == whole(data, size)).all()


@pytest.mark.parametrize(
    ("side", "size", "shrunk"),
    [(1022, 128, 1), (1024, 128, 2), (2044, 128, 2), (2048, 128, 4), (508, 16, 1), (512, 16, 2), (2048, 64, 8)],
)
def test_a_photo_is_shrunk_while_four_pixels_a_side_are_left_for_each_of_the_face(
    side: int, size: int, shrunk: int
) -> None:
    data = jpeg(photo(side, side))
    image = Image.open(io.BytesIO(data))
    image.draft(None, (side // shrunk, side // shrunk))
    assert image.size == (side // shrunk, side // shrunk)
    assert (load_face(data, size, "bilinear") == load_face(image, size, "bilinear")).all()


@pytest.mark.parametrize("age", [3, 25, 70])
def test_shrinking_moves_an_age_by_a_fiftieth_of_a_year_at_most_and_the_wrong_filter_by_more(age: int) -> None:
    program = TinyAges().eval()

    def years(face: NDArray[np.uint8]) -> float:
        with torch.inference_mode():
            return float(program(torch.from_numpy(face)[None]))

    data = jpeg(photo(1333, 1000, age))
    moved = abs(years(load_face(data, SIZE, "bilinear")) - years(whole(data, SIZE)))
    assert 0 < moved < MOVED_YEARS
    assert abs(years(whole(data, SIZE, "bicubic")) - years(whole(data, SIZE))) > 3 * MOVED_YEARS


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize(("width", "height"), [(1601, 1031), (1031, 1601)])
def test_a_shrunk_photo_is_upright_and_cropped_where_the_whole_one_is(
    width: int, height: int, orientation: int
) -> None:
    data = jpeg(photo(width, height), orientation)
    assert 0 < mean_difference(load_face(data, 64, "bilinear"), whole(data, 64)) < MEAN_LEVELS


def test_that_bound_would_show_a_crop_that_is_off_by_one_decoded_pixel() -> None:
    image = photo(1601, 1031)
    moved = image.transform(image.size, Image.Transform.AFFINE, (1, 0, 4, 0, 1, 0))  # 4 pixels: one after shrinking
    assert mean_difference(whole(jpeg(moved), 64), whole(jpeg(image), 64)) > 2 * MEAN_LEVELS


@pytest.mark.parametrize("mode", ["L", "CMYK"])
@pytest.mark.parametrize("options", [{}, {"progressive": True}])
def test_grey_cmyk_and_progressive_photos_are_shrunk_too(mode: str, options: dict[str, bool]) -> None:
    data = jpeg(photo(1200, 1100).convert(mode), **options)
    assert 0 < mean_difference(load_face(data, 64, "bicubic"), whole(data, 64, "bicubic")) < MEAN_LEVELS


def test_a_photo_that_is_cut_off_or_too_large_is_refused_as_ever() -> None:
    data = jpeg(photo(1200, 1100))
    for tenths in range(1, 10):
        with pytest.raises(ImageError, match="truncated"):
            load_face(data[: len(data) * tenths // 10], 32, "bilinear")
    with pytest.raises(ImageError, match="too large: 1200x1100 pixels, the limit is 1319999"):
        load_face(data, 32, "bilinear", max_pixels=1_319_999)


def test_the_callers_open_image_is_not_shrunk_under_its_hands() -> None:
    image = Image.open(io.BytesIO(jpeg(photo(1200, 1100))))
    load_face(image, 32, "bilinear")
    assert image.size == (1200, 1100)
