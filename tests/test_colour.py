"""Colours of a profile are the colours that were stored with it, wherever pixels go from here."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageCms

from agedetect.data.faces import Face
from agedetect.training.dataset import FaceDataset
from agedetect_runtime.errors import ImageError
from agedetect_runtime.images import load_face, open_rgb
from agedetect_runtime.photo import Photo
from malformed.notes import icc, wide_gamut, wide_profile
from tiny_images import noise

SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
# Two roundings, to Display P3 and back, of a level each; the second is larger in a saturated colour.
ROUNDED = 3


def png(levels: NDArray[np.uint8], profile: bytes) -> bytes:
    file = io.BytesIO()
    Image.fromarray(levels).save(file, "PNG", icc_profile=profile)
    return file.getvalue()


def smooth(side: int = 64) -> NDArray[np.uint8]:
    levels = np.asarray(noise(3, (6, 6)).resize((side, side), Image.Resampling.BICUBIC))
    return np.rint(70 + levels * 0.6).astype(np.uint8)


def test_every_way_to_the_pixels_converts_them(tmp_path: Path) -> None:
    plain = smooth()
    stored = wide_gamut(plain)
    assert np.abs(stored.astype(int) - plain).max() > 10  # what ignoring the profile would cost
    data = png(stored, wide_profile())
    path = tmp_path / "30_0_0_1.png"
    path.write_bytes(data)
    expected = load_face(plain, 64, "bilinear").astype(int)
    training = FaceDataset([Face(path, 30.0, None, None, "digest", (64, 64))], 64, "bilinear", seed=0)
    for found in (
        load_face(data, 64, "bilinear"),
        np.asarray(open_rgb(data)),
        np.asarray(open_rgb(Image.open(path))),
        np.asarray(Photo.open(path).region((0, 0, 64, 64), (64, 64))),
        training[0, 0][0].numpy(),
    ):
        assert np.abs(found.astype(int) - expected).max() <= ROUNDED


def test_an_upright_image_is_not_converted_twice() -> None:
    upright = open_rgb(png(wide_gamut(smooth()), wide_profile()))
    assert (np.asarray(open_rgb(upright)) == np.asarray(upright)).all()


def test_levels_of_srgb_stay_as_they_are() -> None:
    levels = np.asarray(noise(1, (40, 40)))
    assert (np.asarray(open_rgb(png(levels, SRGB))) == levels).all()
    assert (np.asarray(open_rgb(png(levels[..., 0], SRGB)))[..., 1] == levels[..., 0]).all()  # grey, by its RGB profile


def test_grey_has_the_tone_curve_of_its_profile() -> None:
    levels = np.arange(256, dtype=np.uint8).reshape(16, 16)
    gamma = icc(
        b"GRAY", b"XYZ ", {b"kTRC": b"curv" + bytes(7) + b"\1" + round(1.8 * 256).to_bytes(2, "big") + bytes(2)}
    )
    linear = (levels / 255) ** (round(1.8 * 256) / 256)
    seen = 255 * np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
    # A level for rounding, and one for the steps of lcms's table in the dark.
    assert np.abs(np.asarray(open_rgb(png(levels, gamma)))[..., 2] - seen).max() <= 2


def test_inks_have_the_colours_of_their_profile() -> None:
    """One by which black ink alone shows, as no other conversion has it."""
    corners = b"".join(
        bytes([0 if corner & 1 else 255, 128, 128]) for corner in range(16)
    )  # Lab of each mix, black last
    ramp = bytes(range(256))
    matrix = b"".join((65536 * (place % 4 == 0)).to_bytes(4, "big") for place in range(9))
    table = b"mft1\0\0\0\0\4\3\2\0" + matrix + 4 * ramp + corners + 3 * ramp
    inks = np.zeros((2, 2, 4), np.uint8)
    inks[0, 1, 3] = inks[1, 0, 0] = 255
    file = io.BytesIO()
    Image.frombytes("CMYK", (2, 2), inks.tobytes()).save(
        file, "TIFF", icc_profile=icc(b"CMYK", b"Lab ", {b"A2B0": table})
    )
    assert np.abs(np.asarray(open_rgb(file.getvalue()))[..., 0].astype(int) - [[255, 0], [255, 255]]).max() <= 2


@pytest.mark.parametrize("profile", [b"noise", SRGB[:200], icc(b"RGB ", b"XYZ ", {}), SRGB[:16] + b"Lab " + SRGB[20:]])
def test_a_profile_that_cannot_be_used_is_a_reason(profile: bytes) -> None:
    with pytest.raises(
        ImageError, match=r"^unsupported: its colour profile .*; remove it to have the colours taken for"
    ):
        open_rgb(png(smooth(), profile))
