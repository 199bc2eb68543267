"""Opening images: every mode, turn and defect, and the one preprocessing, pixel by pixel.

tests/golden/drawn.png, 28 x 20 pixels, was drawn by `draw_golden` below; tests/golden/drawn_8x8_*.png are
what plain Pillow 13.0 makes of its centre square:
`Image.open("drawn.png").crop((4, 0, 24, 20)).resize((8, 8), FILTER)`.
"""

from __future__ import annotations

import io
import os
import struct
import zlib
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFile, ImageOps

from agedetect_runtime import modes
from agedetect_runtime.errors import ImageError
from agedetect_runtime.images import load_face, open_rgb
from agedetect_runtime.truncation import truncation_is_an_error

GOLDEN = Path(__file__).parent / "golden"
FILTERS = {"bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC}


def draw_golden() -> Image.Image:
    image = Image.new("RGB", (28, 20), (200, 180, 160))
    pen = ImageDraw.Draw(image)
    pen.ellipse((6, 2, 22, 18), fill=(230, 190, 150))
    pen.rectangle((9, 6, 11, 8), fill=(20, 40, 90))
    pen.rectangle((17, 7, 19, 8), fill=(20, 90, 40))
    pen.line((10, 14, 18, 13), fill=(170, 30, 40))
    pen.line((0, 0, 27, 0), fill=(0, 0, 255))
    return image


def noise(width: int, height: int, seed: int = 0) -> Image.Image:
    levels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(levels)


def encoded(image: Image.Image, kind: str, **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def pixels(source: object) -> NDArray[np.uint8]:
    return np.asarray(open_rgb(source))  # type: ignore[arg-type]


def png_header(width: int, height: int) -> bytes:
    """A PNG that ends where its pixels should begin: decoding it can't succeed."""
    header = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    checked = struct.pack(">I", 13) + header + struct.pack(">I", zlib.crc32(header))
    return b"\x89PNG\r\n\x1a\n" + checked + struct.pack(">I", 1000) + b"IDAT"


# The one preprocessing


def test_two_by_two_pixels_come_out_as_they_are_and_average_by_hand() -> None:
    levels = np.array([[[0, 10, 20], [40, 50, 60]], [[80, 90, 100], [120, 130, 140]]], dtype=np.uint8)
    assert (load_face(levels, 2, "bilinear") == levels).all()
    # One pixel for all four: they are equally far from its centre.
    assert load_face(levels, 1, "bilinear").tolist() == [[[60, 70, 80]]]


@pytest.mark.parametrize("resampling", FILTERS)
@pytest.mark.parametrize(("side", "size"), [(200, 128), (200, 224), (64, 64), (33, 16)])
def test_a_square_image_is_resized_exactly_as_pillow_does(side: int, size: int, resampling: str) -> None:
    image = noise(side, side)
    expected = np.asarray(image.resize((size, size), FILTERS[resampling]))
    assert (load_face(image, size, resampling) == expected).all()


@pytest.mark.parametrize(("width", "height", "left", "top"), [(50, 30, 10, 0), (31, 60, 0, 14), (35, 30, 2, 0)])
def test_the_centre_square_is_taken(width: int, height: int, left: int, top: int) -> None:
    image = noise(width, height)
    side = min(width, height)
    face = load_face(image, side, "bilinear")
    assert (face == np.asarray(image)[top : top + side, left : left + side]).all()


@pytest.mark.parametrize("resampling", FILTERS)
def test_the_golden_face_has_its_golden_pixels(resampling: str) -> None:
    assert (np.asarray(Image.open(GOLDEN / "drawn.png")) == np.asarray(draw_golden())).all()
    face = load_face(GOLDEN / "drawn.png", 8, resampling)
    assert (face == np.asarray(Image.open(GOLDEN / f"drawn_8x8_{resampling}.png"))).all()


def test_the_filters_differ_so_the_golden_pixels_tell_them_apart() -> None:
    bilinear, bicubic = (load_face(GOLDEN / "drawn.png", 8, name).astype(int) for name in FILTERS)
    assert np.abs(bilinear - bicubic).max() > 3


def test_a_face_is_writable_and_contiguous() -> None:
    face = load_face(noise(20, 20), 20, "bilinear")
    assert face.flags.writeable
    assert face.flags.c_contiguous
    assert (face.shape, face.dtype) == ((20, 20, 3), np.dtype(np.uint8))


# Sources


def test_path_bytes_image_and_array_are_the_same_face(tmp_path: Path) -> None:
    data = encoded(noise(40, 40), "JPEG")
    path = tmp_path / "face.jpg"
    path.write_bytes(data)
    expected = load_face(path, 24, "bicubic")
    for source in (str(path), data, Image.open(path), np.asarray(Image.open(path))):
        assert (load_face(source, 24, "bicubic") == expected).all()


@pytest.mark.parametrize("shape", [(5, 4), (5, 4, 1), (5, 4, 3), (5, 4, 4)])
def test_arrays_are_grey_rgb_or_rgba(shape: tuple[int, ...]) -> None:
    array = np.full(shape, 100, np.uint8)
    expected = [100, 100, 100]
    if len(shape) == 3 and shape[2] == 4:
        array[..., 3] = 51  # a fifth of 100 over white
        expected = [224, 224, 224]
    rgb = pixels(array)
    assert rgb.shape == (5, 4, 3)
    assert (rgb == expected).all()


def test_array_channels_are_red_green_blue_and_strides_do_not_matter() -> None:
    array = np.zeros((4, 6, 3), np.uint8)
    array[1, 2] = (1, 2, 3)
    assert pixels(array)[1, 2].tolist() == [1, 2, 3]
    assert (pixels(array[::-1, ::2]) == array[::-1, ::2]).all()


@pytest.mark.parametrize(
    "array",
    [
        np.zeros((4, 4, 3), np.float32),
        np.zeros((4, 4, 3), np.int64),
        np.zeros((4, 4), bool),
        np.zeros((3, 4, 5), np.uint8),
        np.zeros((4, 4, 2), np.uint8),
        np.zeros((1, 4, 4, 3), np.uint8),
        np.zeros(7, np.uint8),
        np.zeros((0, 4, 3), np.uint8),
    ],
)
def test_other_arrays_are_refused_by_shape_and_type(array: NDArray[np.generic]) -> None:
    with pytest.raises(ImageError) as caught:
        open_rgb(array)  # type: ignore[arg-type]
    assert str(array.shape) in str(caught.value)
    assert str(array.dtype) in str(caught.value)


def test_a_value_that_is_no_source_is_refused() -> None:
    with pytest.raises(ImageError, match="not an image: a value of type NoneType"):
        open_rgb(None)  # type: ignore[arg-type]


def test_the_callers_image_stays_as_it_is() -> None:
    image = noise(6, 4).convert("RGBA")
    image.getexif()[0x0112] = 6
    before = image.tobytes()
    assert open_rgb(image).size == (4, 6)
    assert (image.mode, image.size, image.tobytes()) == ("RGBA", (6, 4), before)


# EXIF

# How an upright image is laid down under each orientation: EXIF 2.3 says which corner row 0, column 0 is.
STORED = {
    1: lambda a: a,
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.transpose(1, 0, 2),
    6: lambda a: np.rot90(a, 1),
    7: lambda a: np.rot90(a, 2).transpose(1, 0, 2),
    8: lambda a: np.rot90(a, -1),
}


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "WEBP"])
@pytest.mark.parametrize("orientation", STORED)
def test_every_orientation_comes_out_upright(orientation: int, kind: str) -> None:
    upright = np.asarray(draw_golden())
    stored = Image.fromarray(np.ascontiguousarray(STORED[orientation](upright)))
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = encoded(stored, kind, exif=exif, **({"lossless": True} if kind == "WEBP" else {}))
    assert (pixels(data) == upright).all()


@pytest.mark.parametrize("orientation", STORED)
def test_jpeg_orientations_agree_with_pillow(orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = encoded(draw_golden(), "JPEG", exif=exif)
    assert (pixels(data) == np.asarray(ImageOps.exif_transpose(Image.open(io.BytesIO(data))))).all()


def test_an_upright_image_or_a_crop_of_it_is_not_turned_again() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    upright = open_rgb(encoded(draw_golden(), "PNG", exif=exif))
    assert (pixels(upright) == np.asarray(upright)).all()
    assert (pixels(upright.crop((0, 0, 9, 7))) == np.asarray(upright)[:7, :9]).all()


@pytest.mark.parametrize(
    "exif",
    [
        b"Exif\x00\x00garbage that is no TIFF header",
        b"Exif\x00\x00II*\x00\xff\xff\xff\x7f",
        b"Exif\x00\x00II*\x00\x08\x00\x00\x00\x01\x00\x12\x01\x02\x00\x04\x00\x00\x00six\x00",  # as text
        b"Exif\x00\x00II*\x00\x08\x00\x00\x00\x01\x00\x12\x01\x03\x00\x01\x00\x00\x00\x63\x00\x00\x00",  # 99
        b"Exif\x00\x00II*\x00\x08\x00\x00\x00\x09\x00\x12\x01",
    ],
)
@pytest.mark.filterwarnings("ignore")
def test_broken_exif_leaves_the_image_as_it_lies(exif: bytes) -> None:
    image = noise(24, 16)
    plain = encoded(image, "JPEG")
    assert (pixels(encoded(image, "JPEG", exif=exif)) == pixels(plain)).all()


# Modes


def test_bilevel_and_grey_become_rgb() -> None:
    checker = np.array([[0, 255], [255, 0]], np.uint8)
    assert (pixels(encoded(Image.fromarray(checker).convert("1"), "PNG"))[..., 1] == checker).all()
    ramp = np.arange(256, dtype=np.uint8).reshape(16, 16)
    assert (pixels(encoded(Image.fromarray(ramp), "PNG")) == ramp[..., None]).all()


@pytest.mark.parametrize("mode", ["RGBA", "LA", "PA", "RGBa", "La"])
def test_transparency_goes_over_white(mode: str) -> None:
    image = Image.new("RGBA", (2, 1), (0, 0, 0, 255))
    image.putpixel((1, 0), (0, 0, 0, 51))  # a fifth of black over white: 204
    steps = {"RGBA": [], "LA": ["LA"], "PA": ["PA"], "RGBa": ["RGBa"], "La": ["LA", "La"]}[mode]
    for step in steps:
        image = image.convert(step)
    assert image.mode == mode
    assert pixels(image)[0].tolist() == [[0, 0, 0], [204, 204, 204]]


def test_palette_transparency_goes_over_white() -> None:
    image = Image.new("P", (3, 1))
    image.putpalette([255, 0, 0, 0, 255, 0, 0, 0, 255])
    for index in range(3):
        image.putpixel((index, 0), index)
    assert pixels(encoded(image, "PNG"))[0].tolist() == [[255, 0, 0], [0, 255, 0], [0, 0, 255]]
    by_index = pixels(encoded(image, "PNG", transparency=1))
    assert by_index[0].tolist() == [[255, 0, 0], [255, 255, 255], [0, 0, 255]]
    by_alpha = pixels(encoded(image, "PNG", transparency=bytes([255, 0, 102])))
    assert by_alpha[0].tolist() == [[255, 0, 0], [255, 255, 255], [153, 153, 255]]
    assert pixels(encoded(image, "GIF", transparency=2))[0, 2].tolist() == [255, 255, 255]


def test_a_colour_key_goes_over_white() -> None:
    image = Image.new("RGB", (2, 1), (9, 8, 7))
    image.putpixel((1, 0), (1, 2, 3))
    assert pixels(encoded(image, "PNG", transparency=(1, 2, 3)))[0].tolist() == [[9, 8, 7], [255, 255, 255]]
    grey = Image.new("L", (2, 1), 5)
    grey.putpixel((1, 0), 6)
    assert pixels(encoded(grey, "PNG", transparency=5))[0, :, 0].tolist() == [255, 6]


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "WEBP", "TGA", "ICO", "AVIF"])
def test_an_image_that_is_transparent_everywhere_is_refused(kind: str) -> None:
    hidden = noise(16, 16)
    hidden.putalpha(0)
    invisible = "unsupported: its alpha is 0 everywhere, so nothing of it is visible"
    assert reason(encoded(hidden, kind)) == reason(hidden) == invisible
    hidden.putpixel((3, 3), (0, 0, 0, 255))
    assert pixels(hidden)[3, 3].tolist() == [0, 0, 0]


@pytest.mark.parametrize("kind", ["JPEG", "TIFF"])
def test_cmyk_becomes_rgb(kind: str) -> None:
    ink = {(0, 0, 0, 0): (255, 255, 255), (0, 0, 0, 255): (0, 0, 0), (255, 0, 0, 0): (0, 255, 255)}
    for cmyk, rgb in ink.items():
        data = encoded(Image.new("CMYK", (8, 8), cmyk), kind)
        # 2 levels: JPEG rounds in another colour space.
        assert np.abs(pixels(data).astype(int) - rgb).max() <= 2


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "PPM"])
def test_sixteen_bit_grey_is_scaled_not_clipped(kind: str) -> None:
    levels = np.linspace(0, 65535, 64).astype(np.uint16).reshape(8, 8)
    image = Image.fromarray(levels)
    assert image.mode == "I;16"
    expected = np.rint(levels / 257).astype(np.uint8)
    assert (pixels(encoded(image, kind)) == expected[..., None]).all()


def test_sixteen_bit_big_endian_tiff_is_scaled_too() -> None:
    levels = np.array([[0, 257 * 100, 65535]], dtype=">u2")
    image = Image.frombytes("I;16B", (3, 1), levels.tobytes())
    assert pixels(image)[0, :, 0].tolist() == [0, 100, 255]


@pytest.mark.parametrize("top", [255, 65535, 2**31 - 1])
def test_integers_are_scaled_from_the_smallest_scale_that_holds_them(top: int) -> None:
    levels = np.array([[-5, 0, round(top * 0.4), top]], dtype=np.int32)
    assert pixels(Image.fromarray(levels))[0, :, 0].tolist() == [0, 0, 102, 255]


@pytest.mark.parametrize("top", [1.0, 255.0, 65535.0, 1e12])
def test_floats_are_scaled_from_the_smallest_scale_that_holds_them(top: float) -> None:
    levels = np.array([[0.0, top * 0.4, top]], dtype=np.float32)
    assert pixels(Image.fromarray(levels))[0, :, 0].tolist() == [0, 102, 255]


def test_a_file_of_floats_is_read_from_0_to_1_and_refused_above() -> None:
    levels = np.array([[0.0, 0.4, 1.0]], dtype=np.float32)
    assert pixels(encoded(Image.fromarray(levels), "TIFF"))[0, :, 0].tolist() == [0, 102, 255]
    brighter = encoded(Image.fromarray(levels * np.float32(1.5)), "TIFF")
    assert reason(brighter) == "unsupported: floating-point levels above 1, whose white the file does not give"


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_floats_that_are_not_numbers_are_refused(value: float) -> None:
    levels = np.array([[0.5, value]], dtype=np.float32)
    with pytest.raises(ImageError, match="not numbers"):
        open_rgb(encoded(Image.fromarray(levels), "TIFF"))


def test_lab_hsv_and_ycbcr_become_rgb() -> None:
    assert pixels(Image.new("LAB", (1, 1), (255, 128, 128)))[0, 0].min() >= 253
    assert pixels(Image.new("LAB", (1, 1), (0, 128, 128)))[0, 0].max() <= 2
    assert pixels(Image.new("HSV", (1, 1), (0, 255, 255)))[0, 0].tolist() == [255, 0, 0]
    assert pixels(Image.new("YCbCr", (1, 1), (77, 128, 128)))[0, 0].tolist() == [77, 77, 77]


@pytest.mark.parametrize("mode", Image.MODES)
def test_no_mode_of_pillow_is_left_out(mode: str) -> None:
    bands = Image.getmodebands(mode)
    assert open_rgb(Image.new(mode, (3, 2), 255 if bands == 1 else (255,) * bands)).mode == "RGB"


@pytest.mark.parametrize("mode", ["RGBA", "LA", "PA", "P", "I;16", "I", "F", "LAB", "La", "1"])
def test_an_image_converted_in_bands_is_the_same(mode: str, monkeypatch: pytest.MonkeyPatch) -> None:
    levels = np.random.default_rng(0).integers(0, 256, (23, 37, 4), dtype=np.uint8)
    if mode in ("I;16", "I", "F"):
        image = Image.fromarray(levels[..., 0].astype({"I;16": np.uint16, "I": np.int32, "F": np.float32}[mode]) * 99)
    elif mode == "LAB":
        image = Image.frombytes(mode, (37, 23), levels[..., :3].tobytes())
    else:
        steps = {"La": ["LA", "La"], "1": ["L", "1"], "P": ["RGB", "P"]}.get(mode, [mode])
        image = Image.fromarray(levels)
        for step in steps:
            image = image.convert(step)
    if mode == "P":
        image.info["transparency"] = image.getpixel((5, 5))
    whole = pixels(image)
    for band_pixels in (1, 100):
        monkeypatch.setattr(modes, "_BAND_PIXELS", band_pixels)
        assert (pixels(image) == whole).all()


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG", "TIFF"])
def test_the_first_frame_of_many_is_taken(kind: str) -> None:
    red, blue = Image.new("RGB", (8, 8), (255, 0, 0)), Image.new("RGB", (8, 8), (0, 0, 255))
    options: dict[str, object] = {"lossless": True} if kind == "WEBP" else {}
    data = encoded(red, kind, save_all=True, append_images=[blue], **options)
    assert pixels(data)[4, 4].tolist() == [255, 0, 0]


# Refusals


def reason(source: object, **options: int) -> str:
    with pytest.raises(ImageError) as caught:
        open_rgb(source, **options)  # type: ignore[arg-type]
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="Windows doesn't fork")
@pytest.mark.filterwarnings("ignore:.*use of fork:DeprecationWarning")
def test_a_child_that_is_forked_while_images_are_opened_has_pillows_setting_back(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", True)
    with truncation_is_an_error():
        assert not ImageFile.LOAD_TRUNCATED_IMAGES
        child = os.fork()
        if child == 0:
            os._exit(ImageFile.LOAD_TRUNCATED_IMAGES)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 1
    assert ImageFile.LOAD_TRUNCATED_IMAGES


def test_what_is_not_an_image_says_so(tmp_path: Path) -> None:
    assert reason(b"") == "empty file"
    assert reason(b"age,file\n34,a.jpg\n") == "not an image"
    assert reason(b"\x89PNG\r\n\x1a\n") == "truncated or damaged in its header"
    assert reason(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\n") == "not an image"
    assert reason(tmp_path) == "is a folder"
    assert reason(tmp_path / "none.jpg") == "no such file"
    assert reason(str(tmp_path / "none" / "face.jpg")) == "no such file"
    assert reason("x" * 5000) == "cannot be read: file name too long"
    (tmp_path / "empty.jpg").touch()
    assert reason(tmp_path / "empty.jpg") == "empty file"
    assert reason(tmp_path / "empty.jpg" / "face.jpg") == "cannot be read: not a directory"


def test_links_and_pipes_that_lead_nowhere_do_not_hang(tmp_path: Path) -> None:
    (tmp_path / "dangling.jpg").symlink_to(tmp_path / "gone.jpg")
    (tmp_path / "loop.jpg").symlink_to(tmp_path / "loop.jpg")
    os.mkfifo(tmp_path / "pipe.jpg")
    assert reason(tmp_path / "dangling.jpg") == "no such file"
    assert reason(tmp_path / "loop.jpg") == "cannot be read: too many levels of symbolic links"
    assert reason(tmp_path / "pipe.jpg") == "not a regular file"


def test_reasons_do_not_hold_the_path(tmp_path: Path) -> None:
    for data in (b"junk", b"\x89PNG\r\n\x1a\n", encoded(noise(9, 9), "PNG")[:60]):
        path = tmp_path / "some_name.png"
        path.write_bytes(data)
        assert "some_name" not in reason(path)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "GIF", "BMP", "TIFF", "WEBP", "PPM", "TGA"])
@pytest.mark.parametrize("tenths", range(1, 10))
@pytest.mark.filterwarnings("ignore")
def test_a_truncated_file_is_never_an_image(kind: str, tenths: int) -> None:
    data = encoded(noise(40, 40), kind)
    assert reason(data[: len(data) * tenths // 10])


def test_truncation_is_an_error_even_where_pillow_is_told_to_allow_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", True)
    data = encoded(noise(64, 64), "JPEG")
    cut = data[: len(data) // 2]
    Image.open(io.BytesIO(cut)).load()  # Pillow itself gives a half-grey image now
    with ThreadPoolExecutor(4) as threads:
        assert set(threads.map(lambda _: reason(cut), range(40))) == {"truncated"}
    assert ImageFile.LOAD_TRUNCATED_IMAGES is True


def test_a_lazily_opened_image_that_is_truncated_is_refused() -> None:
    data = encoded(noise(64, 64), "JPEG")
    assert reason(Image.open(io.BytesIO(data[: len(data) // 2]))) == "truncated"


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_the_pixel_limit_is_checked_before_decoding() -> None:
    assert reason(png_header(12000, 12000)) == "too large: 12000x12000 pixels, the limit is 120000000"
    assert reason(png_header(30, 20), max_pixels=599) == "too large: 30x20 pixels, the limit is 599"
    assert reason(png_header(30, 20), max_pixels=600) == "truncated"  # now it was decoded
    assert open_rgb(noise(30, 20), max_pixels=600).size == (30, 20)
    assert reason(noise(30, 20), max_pixels=599).startswith("too large")


def test_bombs_that_pillow_itself_refuses_are_image_errors() -> None:
    assert reason(png_header(60000, 60000)) == "too large: 3600000000 pixels, the limit is 120000000"
    assert Image.MAX_IMAGE_PIXELS is not None
    told = reason(png_header(60000, 60000), max_pixels=10**12)
    assert told == f"too large: 3600000000 pixels, the limit is {2 * Image.MAX_IMAGE_PIXELS}"


@pytest.mark.filterwarnings("error")
def test_pillows_bomb_warning_as_an_error_is_an_image_error() -> None:
    told = reason(png_header(10000, 10000))
    assert told == f"too large: 100000000 pixels, the limit is {Image.MAX_IMAGE_PIXELS}"


def test_pillows_settings_are_left_alone() -> None:
    before = (Image.MAX_IMAGE_PIXELS, ImageFile.LOAD_TRUNCATED_IMAGES)
    reason(png_header(60000, 60000))
    reason(encoded(noise(9, 9), "PNG")[:60])
    assert before == (Image.MAX_IMAGE_PIXELS, ImageFile.LOAD_TRUNCATED_IMAGES)


def test_an_image_without_pixels_is_refused() -> None:
    assert reason(Image.new("RGB", (0, 5))) == "has no pixels"


@settings(max_examples=80, deadline=None, derandomize=True)
@given(
    kind=st.sampled_from(["JPEG", "PNG", "GIF", "BMP", "TIFF", "WEBP"]),
    changes=st.lists(st.tuples(st.integers(0, 4000), st.integers(0, 255)), min_size=1, max_size=8),
)
@pytest.mark.filterwarnings("ignore")
def test_flipped_bytes_give_an_image_or_an_image_error(kind: str, changes: list[tuple[int, int]]) -> None:
    data = bytearray(encoded(noise(20, 20), kind))
    for position, value in changes:
        data[position % len(data)] = value
    with suppress(ImageError):  # and nothing else
        assert open_rgb(bytes(data)).mode == "RGB"
