"""The corpus: every kind of file that an inference may meet, each with the age or the reason that its row must have."""

from __future__ import annotations

import os
import random
import socket
import struct
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from hostile_pictures import (
    BLACK_AND_WHITE,
    BMP_PALETTE,
    COLOURS,
    GREY,
    INDICES,
    PICTURE,
    PNG_SIGNATURE,
    SIDE,
    Levels,
    adobe_ycck,
    age_of,
    bmp,
    chunk,
    encoded,
    grey_levels,
    ink_image,
    over_white,
    palette_image,
    png,
    png_header,
    rle8,
    tiff,
    without_adobe_marker,
)

EXACT_YEARS = 0.01  # float32 sums of a thousand levels
# A level's worth for all of a picture is 0.34 years. Grey by integer or by float differs by half a level, JPEG and
# its like by up to three at quality 95; the mildest mistake, two channels swapped in one quarter, costs 0.4 x 20.
ROUNDED_YEARS = 0.2
LOSSY_YEARS = 1.2


@dataclass(frozen=True)
class Outcome:
    """What a row must hold: an age, one of the reasons, or, where both are given, either."""

    age: float | None = None
    tolerance: float = EXACT_YEARS
    reasons: tuple[str, ...] = ()


@dataclass(frozen=True)
class Kind:
    """A kind of file: `make` puts it at a path, which it may change, and returns what to call it with."""

    family: str
    name: str
    outcome: Outcome
    make: Callable[[Path], Path]
    suffix: str = ".jpg"


def looks_like(levels: Levels, tolerance: float = EXACT_YEARS) -> Outcome:
    return Outcome(age_of(levels), tolerance)


def refused(*reasons: str) -> Outcome:
    return Outcome(reasons=reasons)


SEEN = looks_like(PICTURE)
NEARLY = looks_like(PICTURE, LOSSY_YEARS)
DAMAGED = "damaged: .+"
UNPACKED = refused("damaged: Decompressed data too large for PngImagePlugin.MAX_TEXT_CHUNK")
ANYTHING = Outcome(0.0, float("inf"), ("truncated", "truncated or damaged in its header", "not an image", DAMAGED))
TRUNCATED = refused("truncated", "truncated or damaged in its header")


def a_file(data: bytes) -> Callable[[Path], Path]:
    def make(path: Path) -> Path:
        path.write_bytes(data)
        return path

    return make


def kinds() -> Iterator[Kind]:
    """All of them, named once each."""
    for family, members in FAMILIES.items():
        for name, (data, outcome) in members().items():
            yield Kind(family, name, outcome, a_file(data), name[name.rindex(".") :])
    yield from _places()
    yield from _names()


Files = dict[str, tuple[bytes, Outcome]]


def png_files() -> Files:
    alpha = np.full((SIDE, SIDE), 102, np.uint8)
    rgb16 = PICTURE.astype(np.uint16) * 257
    rgba16 = np.dstack([rgb16, alpha.astype(np.uint16) * 257])
    grey16, grey8 = grey_levels(16)
    half_seen = over_white(alpha)
    key = chunk(b"tRNS", struct.pack(">HHH", *COLOURS[0, 0].tolist()))
    keyed = np.where((COLOURS[0, 0] == PICTURE).all(axis=2, keepdims=True), 255, PICTURE).astype(np.uint8)
    files: Files = {
        f"{depth}-bit grey.png": (
            png(grey_levels(depth)[0], depth, 0),
            looks_like(grey_levels(depth)[1], ROUNDED_YEARS),
        )
        for depth in (1, 2, 4, 8)
    }
    palette = chunk(b"PLTE", COLOURS.tobytes())
    files |= {f"{depth}-bit palette.png": (png(INDICES, depth, 3, extra=palette), SEEN) for depth in (2, 4, 8)}
    return files | {
        "16-bit grey.png": (png(grey16, 16, 0), looks_like(grey8, ROUNDED_YEARS)),
        "8-bit RGB.png": (png(PICTURE, 8, 2), SEEN),
        "16-bit RGB.png": (png(rgb16, 16, 2), SEEN),
        "8-bit grey with alpha.png": (png(np.dstack([GREY, GREY * 0 + 255]), 8, 4), looks_like(GREY)),
        "16-bit grey with alpha.png": (
            png(np.dstack([grey16, grey16 * 0 + 65535]), 16, 4),
            looks_like(GREY, ROUNDED_YEARS),
        ),
        "8-bit RGBA.png": (png(np.dstack([PICTURE, alpha]), 8, 6), looks_like(half_seen, ROUNDED_YEARS)),
        "16-bit RGBA.png": (png(rgba16, 16, 6), looks_like(half_seen, ROUNDED_YEARS)),
        "colour key.png": (png(PICTURE, 8, 2, extra=key), looks_like(keyed)),
        "palette with transparency.png": (
            png(INDICES, 8, 3, extra=palette + chunk(b"tRNS", b"\0\xff\xff\xff")),
            looks_like(keyed),
        ),
        "interlaced RGB.png": (png(PICTURE, 8, 2, interlaced=True), SEEN),
        "interlaced 2-bit palette.png": (png(INDICES, 2, 3, interlaced=True, extra=palette), SEEN),
        "animated.png": (encoded(PICTURE, "PNG", save_all=True, append_images=[Image.new("RGB", (SIDE, SIDE))]), SEEN),
        "depth of no PNG.png": (png_header(SIDE, SIDE, 3, 2), refused("truncated or damaged in its header")),
        "no pixels.png": (png_header(0, SIDE, 8, 2), refused("truncated or damaged in its header", "has no pixels")),
        "wrong check sum.png": (png(PICTURE, 8, 2).replace(b"IEND\xae", b"IEND\xaf"), SEEN),
        "pixels for fewer rows.png": (
            png_header(SIDE, 2 * SIDE, 8, 2) + png(PICTURE, 8, 2)[33:],
            looks_like(np.vstack([PICTURE, PICTURE * 0])),  # a whole stream, only too short: Pillow doesn't mind
        ),
    }


def jpeg_files() -> Files:
    cmyk = encoded(ink_image(), "JPEG", quality=95)
    plain = encoded(PICTURE, "JPEG", quality=95)
    return {
        "4:4:4.jpg": (encoded(PICTURE, "JPEG", quality=95, subsampling=0), NEARLY),
        "4:2:2.jpg": (encoded(PICTURE, "JPEG", quality=95, subsampling=1), NEARLY),
        "4:2:0.jpg": (encoded(PICTURE, "JPEG", quality=95, subsampling=2), NEARLY),
        "progressive.jpg": (encoded(PICTURE, "JPEG", quality=95, progressive=True), NEARLY),
        "restart markers.jpg": (encoded(PICTURE, "JPEG", quality=95, restart_marker_blocks=1), NEARLY),
        "grey.jpg": (encoded(GREY, "JPEG", quality=95), looks_like(GREY, LOSSY_YEARS)),
        "stored as RGB.jpg": (encoded(PICTURE, "JPEG", quality=95, keep_rgb=True), NEARLY),
        "CMYK of Adobe.jpg": (cmyk, NEARLY),
        "YCCK of Adobe.jpg": (adobe_ycck(), NEARLY),
        # Without the marker nothing says that inks are inverted; browsers and Pillow read them as if they were.
        "CMYK without Adobe's marker.jpg": (without_adobe_marker(cmyk), NEARLY),
        "12-bit.jpg": (
            plain.replace(b"\xff\xc0\0\x11\x08", b"\xff\xc0\0\x11\x0c"),
            refused("damaged: cannot handle 12-bit layers", "truncated or damaged in its header"),
        ),
        "two pictures in one.jpg": (
            encoded(PICTURE, "MPO", quality=95, save_all=True, append_images=[Image.new("RGB", (SIDE, SIDE))]),
            NEARLY,
        ),
        "trailing bytes.jpg": (plain + bytes(1000), NEARLY),
        "bytes before it.jpg": (b"\n" + plain, refused("not an image")),
        "comment of 64 kB.jpg": (encoded(PICTURE, "JPEG", quality=95, comment=b"c" * 65_000), NEARLY),
        "cut and closed again.jpg": (plain[: len(plain) // 2] + b"\xff\xd9", ANYTHING),
        "header alone.jpg": (plain[:2], refused("not an image")),
    }


def other_files() -> Files:
    alpha = np.full((SIDE, SIDE), 102, np.uint8)
    rgba = Image.fromarray(np.dstack([PICTURE, alpha]))
    black = Image.new("RGB", (SIDE, SIDE))
    half_seen = looks_like(over_white(alpha), ROUNDED_YEARS)
    rgb565 = (
        (PICTURE[::-1, :, 0].astype("<u2") >> 3) << 11
        | (PICTURE[::-1, :, 1].astype("<u2") >> 2) << 5
        | PICTURE[::-1, :, 2] >> 3
    )
    masks = struct.pack("<III", 0xF800, 0x07E0, 0x001F)
    bgr = np.ascontiguousarray(PICTURE[:, :, ::-1])
    grey16 = grey_levels(16)[0]
    return {
        "lossy.webp": (encoded(PICTURE, "WEBP", quality=95), looks_like(PICTURE, 2 * LOSSY_YEARS)),  # always 4:2:0
        "lossless.webp": (encoded(PICTURE, "WEBP", lossless=True), SEEN),
        "alpha.webp": (encoded(rgba, "WEBP", lossless=True, exact=True), half_seen),
        "animated.webp": (encoded(PICTURE, "WEBP", lossless=True, save_all=True, append_images=[black]), SEEN),
        "palette.gif": (encoded(palette_image(), "GIF"), SEEN),
        "not interlaced.gif": (encoded(palette_image(), "GIF", interlace=False), SEEN),
        "transparent.gif": (
            encoded(palette_image(), "GIF", transparency=0),
            looks_like(np.where((INDICES == 0)[..., None], 255, PICTURE).astype(np.uint8)),
        ),
        "grey.gif": (encoded(GREY, "GIF"), looks_like(GREY)),
        "animated.gif": (encoded(palette_image(), "GIF", save_all=True, append_images=[black.convert("P")]), SEEN),
        "1-bit.bmp": (encoded(Image.fromarray(BLACK_AND_WHITE).convert("1"), "BMP"), looks_like(BLACK_AND_WHITE)),
        "8-bit grey.bmp": (encoded(GREY, "BMP"), looks_like(GREY)),
        "8-bit palette.bmp": (encoded(palette_image(), "BMP"), SEEN),
        "24-bit.bmp": (encoded(PICTURE, "BMP"), SEEN),
        "24-bit from the top.bmp": (bmp(bgr.tobytes(), bits=24, height=-SIDE), SEEN),
        "32-bit.bmp": (encoded(rgba, "BMP"), SEEN),
        "16-bit 5-6-5.bmp": (bmp(rgb565.tobytes(), bits=16, compression=3, masks=masks), looks_like(PICTURE, 4 * 0.35)),
        "RLE8.bmp": (bmp(rle8(), bits=8, compression=1, palette=BMP_PALETTE), SEEN),
        "P3.ppm": (f"P3 {SIDE} {SIDE} 255 {' '.join(map(str, PICTURE.ravel()))}".encode(), SEEN),
        "P6.ppm": (encoded(PICTURE, "PPM"), SEEN),
        "8-bit.pgm": (encoded(GREY, "PPM"), looks_like(GREY)),
        "16-bit.pgm": (
            f"P5 {SIDE} {SIDE} 65535\n".encode() + grey16.astype(">u2").tobytes(),
            looks_like(GREY, ROUNDED_YEARS),
        ),
        "bilevel.pbm": (encoded(Image.fromarray(BLACK_AND_WHITE).convert("1"), "PPM"), looks_like(BLACK_AND_WHITE)),
        "RGB.tga": (encoded(PICTURE, "TGA"), SEEN),
        "run lengths.tga": (encoded(PICTURE, "TGA", compression="tga_rle"), SEEN),
        "icon.ico": (encoded(PICTURE, "ICO", sizes=[(SIDE, SIDE)]), SEEN),
        "lossless.jp2": (encoded(PICTURE, "JPEG2000"), SEEN),
        "lossy.avif": (encoded(PICTURE, "AVIF", quality=95, subsampling="4:4:4"), NEARLY),
    }


def tiff_files() -> Files:
    grey16 = grey_levels(16)[0]
    rgb16 = PICTURE.astype(np.uint16) * 257
    grey32 = grey16.astype(np.int32) * 32767
    bw = Image.fromarray(BLACK_AND_WHITE).convert("1")
    alpha = np.full((SIDE, SIDE), 102, np.uint8)
    lab = np.zeros((SIDE, SIDE, 3), np.uint8)  # TIFF's a and b are signed
    lab[:, :, 0] = 255
    compressed: Files = {
        f"RGB, {name}.tif": (encoded(PICTURE, "TIFF", compression=name), SEEN)
        for name in ("raw", "tiff_lzw", "tiff_adobe_deflate", "packbits", "zstd")
    }
    planes = np.ascontiguousarray(PICTURE.transpose(2, 0, 1))
    return compressed | {
        "RGB, JPEG.tif": (encoded(PICTURE, "TIFF", compression="jpeg", quality=95), NEARLY),
        "1-bit, Group 4.tif": (encoded(bw, "TIFF", compression="group4"), looks_like(BLACK_AND_WHITE)),
        "1-bit.tif": (encoded(bw, "TIFF"), looks_like(BLACK_AND_WHITE)),
        "8-bit grey.tif": (encoded(GREY, "TIFF"), looks_like(GREY)),
        "8-bit grey, white is zero.tif": (tiff((255 - GREY).tobytes(), bits=(8,), photometric=0), looks_like(GREY)),
        "grey with alpha.tif": (encoded(Image.fromarray(np.dstack([GREY, GREY * 0 + 255])), "TIFF"), looks_like(GREY)),
        "16-bit grey.tif": (tiff(grey16.tobytes(), bits=(16,), photometric=1), looks_like(GREY, ROUNDED_YEARS)),
        "16-bit grey, big-endian.tif": (
            tiff(grey16.astype(">u2").tobytes(), bits=(16,), photometric=1, order=">"),
            looks_like(GREY, ROUNDED_YEARS),
        ),
        "16-bit RGB.tif": (tiff(rgb16.tobytes(), bits=(16,) * 3, photometric=2), SEEN),
        "16-bit RGB, big-endian.tif": (
            tiff(rgb16.astype(">u2").tobytes(), bits=(16,) * 3, photometric=2, order=">"),
            SEEN,
        ),
        "32-bit integers.tif": (encoded(Image.fromarray(grey32), "TIFF"), looks_like(GREY, ROUNDED_YEARS)),
        "32-bit floats.tif": (
            encoded(Image.fromarray(GREY / np.float32(255)), "TIFF"),
            looks_like(GREY, ROUNDED_YEARS),
        ),
        "floats that are no numbers.tif": (
            encoded(Image.fromarray(np.full((SIDE, SIDE), np.nan, np.float32)), "TIFF"),
            refused("holds pixels that are not numbers"),
        ),
        "palette.tif": (encoded(palette_image(), "TIFF"), SEEN),
        "RGBA.tif": (
            encoded(Image.fromarray(np.dstack([PICTURE, alpha])), "TIFF"),
            looks_like(over_white(alpha), ROUNDED_YEARS),
        ),
        "CMYK.tif": (encoded(ink_image(), "TIFF"), SEEN),
        "YCbCr.tif": (encoded(Image.fromarray(PICTURE).convert("YCbCr"), "TIFF"), NEARLY),
        "Lab.tif": (
            encoded(Image.frombytes("LAB", (SIDE, SIDE), lab.tobytes()), "TIFF"),
            looks_like(GREY * 0 + 255, LOSSY_YEARS),
        ),
        "planes.tif": (tiff(planes.tobytes(), bits=(8,) * 3, photometric=2, strips=3, t284=2), SEEN),
        "two pages.tif": (
            encoded(PICTURE, "TIFF", save_all=True, append_images=[Image.new("RGB", (SIDE, SIDE))]),
            SEEN,
        ),
        "big.tif": (encoded(PICTURE, "TIFF", big_tiff=True), SEEN),
        "BigTIFF of no tags.tif": (b"II+\0\x08\0\0\0" + bytes(16), refused("not an image")),
        "a tag of 4 GB.tif": (
            encoded(GREY, "TIFF").replace(struct.pack("<HHI", 258, 3, 1), struct.pack("<HHI", 258, 3, 2**32 - 1)),
            ANYTHING,
        ),
        "directory that is its own next.tif": (
            b"II*\0\x08\0\0\0\0\0\x08\0\0\0",
            refused("truncated or damaged in its header"),
        ),
        "13 samples.tif": (
            tiff(bytes(13 * SIDE * SIDE), bits=(8,) * 13, photometric=2),
            refused("truncated or damaged in its header"),
        ),
    }


def orientation_files() -> Files:
    """The picture laid down so that its EXIF turns it upright: EXIF 2.3 says where row 0, column 0 is."""
    stored: dict[int, Levels] = {
        1: PICTURE,
        2: PICTURE[:, ::-1],
        3: PICTURE[::-1, ::-1],
        4: PICTURE[::-1],
        5: PICTURE.transpose(1, 0, 2),
        6: np.rot90(PICTURE, 1),
        7: np.rot90(PICTURE, 2).transpose(1, 0, 2),
        8: np.rot90(PICTURE, -1),
    }
    files: Files = {}
    for orientation, levels in stored.items():
        exif = Image.Exif()
        exif[0x0112] = orientation
        laid = np.ascontiguousarray(levels)
        files[f"orientation {orientation}.jpg"] = (encoded(laid, "JPEG", quality=95, exif=exif), NEARLY)
        files[f"orientation {orientation}.png"] = (encoded(laid, "PNG", exif=exif), SEEN)
    for name, exif in {
        "no TIFF": b"Exif\0\0no TIFF header",
        "directory beyond its end": b"Exif\0\0II*\0\xff\xff\xff\x7f",
        "orientation as text": b"Exif\0\0II*\0\x08\0\0\0\x01\0\x12\x01\x02\0\x04\0\0\0six\0",
        "orientation 0": b"Exif\0\0II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\0\0\0\0",
        "orientation 99": b"Exif\0\0II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x63\0\0\0",
        "cut": b"Exif\0\0II*\0\x08\0\0\0\x09\0\x12\x01",
        "empty": b"Exif\0\0",
    }.items():
        files[f"EXIF, {name}.jpg"] = (encoded(PICTURE, "JPEG", quality=95, exif=exif), NEARLY)
    return files


def profile_files() -> Files:
    """Colour profiles are ignored, whatever is in them."""
    from PIL import ImageCms

    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    profiles = {"sRGB": srgb, "Lab": ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")).tobytes()}
    profiles |= {"cut": srgb[:100], "noise": random.Random(1).randbytes(500), "128 kB": srgb + bytes(2**17)}
    files: Files = {}
    for name, profile in profiles.items():
        files[f"profile, {name}.jpg"] = (encoded(PICTURE, "JPEG", quality=95, icc_profile=profile), NEARLY)
        files[f"profile, {name}.png"] = (encoded(PICTURE, "PNG", icc_profile=profile), SEEN)
    bomb = b"icc\0\0" + zlib.compress(bytes(64 * 2**20))
    files["profile that unpacks to 64 MB.png"] = (png(PICTURE, 8, 2, extra=chunk(b"iCCP", bomb)), UNPACKED)
    return files


def damaged_files() -> Files:
    """Each format cut at each tenth, and with bytes changed: an age or a reason, as long as there is a row."""
    # With noise, so that pixels are what most of the file holds.
    noisy = PICTURE + np.random.default_rng(0).integers(0, 20, PICTURE.shape, dtype=np.uint8)
    options = {"JPEG": {}, "PNG": {}, "WEBP": {}, "GIF": {}, "TIFF": {"compression": "tiff_lzw"}, "BMP": {}}
    whole = {kind.lower(): encoded(noisy, kind, **options[kind]) for kind in options}
    seen = {"gif": looks_like(noisy, LOSSY_YEARS), "png": looks_like(noisy)}  # the end's mark alone is missing
    files: Files = {}
    for suffix, data in whole.items():
        for tenth in range(1, 10):
            files[f"cut at {tenth} tenths.{suffix}"] = (data[: len(data) * tenth // 10], TRUNCATED)
        files[f"cut before its last byte.{suffix}"] = (data[:-1], seen.get(suffix, TRUNCATED))
        for seed in range(5):
            random_bytes = random.Random(f"{suffix} {seed}")
            flipped = bytearray(data)
            for _ in range(2 * seed + 1):
                flipped[random_bytes.randrange(len(data))] ^= 1 << random_bytes.randrange(8)
            files[f"{2 * seed + 1} bits changed.{suffix}"] = (bytes(flipped), ANYTHING)
    return files


def mistaken_files() -> Files:
    """What is no image, or another one than its name says."""
    photo = encoded(PICTURE, "PNG")
    eps = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\nshowpage\n"
    return {
        "PNG.jpg": (photo, SEEN),
        "JPEG.png": (encoded(PICTURE, "JPEG", quality=95), NEARLY),
        "GIF.webp": (encoded(palette_image(), "GIF"), SEEN),
        "nothing.jpg": (b"", refused("empty file")),
        "one byte.jpg": (b"\xff", refused("not an image")),
        "zeros.jpg": (bytes(4096), refused("not an image")),
        "noise.jpg": (random.Random(2).randbytes(4096), refused("not an image")),
        "text.jpg": (b"file,age\na.jpg,34\n", refused("not an image")),
        "page.jpg": (b"<!DOCTYPE html><title>404 Not Found</title>", refused("not an image")),
        "drawing.png": (b'<svg xmlns="http://www.w3.org/2000/svg"/>', refused("not an image")),
        "document.jpg": (b"%PDF-1.7\n1 0 obj\n<<>>\nendobj\n", refused("not an image")),
        "PostScript.jpg": (eps, refused("not an image")),
        "film.jpg": (b"\0\0\0\x18ftypmp42\0\0\0\0mp42isom" + bytes(200), refused("not an image")),
        "MPEG.jpg": (b"\0\0\x01\xb3\x16\x01\x20\x13" + bytes(200), refused("not an image")),
        "HDF5.jpg": (b"\x89HDF\r\n\x1a\n" + bytes(200), refused("not an image")),
        "FITS.jpg": (b"SIMPLE  =                    T" + b" " * 2850, refused("not an image")),
        "WMF.jpg": (b"\xd7\xcd\xc6\x9a\0\0" + bytes(200), refused("not an image")),
        "archive.jpg": (b"PK\x03\x04" + bytes(200), refused("not an image")),
        "PCX.jpg": (encoded(PICTURE, "PCX"), refused("not an image")),
        "signature alone.png": (PNG_SIGNATURE, refused("truncated or damaged in its header")),
    }


def big_files() -> Files:
    """Bombs: a few bytes that ask for gigabytes. And big ones that are just within the limit."""
    limit = "the limit is 120000000"
    screen = struct.pack("<6sHHBBB", b"GIF89a", 65535, 65535, 0x80, 0, 0) + bytes(6)
    frame = b"," + struct.pack("<HHHHB", 0, 0, 1, 1, 0) + b"\x02\x02\x44\x01\0;"
    wide_frame = struct.pack("<6sHHBBB", b"GIF89a", 1, 1, 0x80, 0, 0) + bytes(6)
    wide_frame += b"," + struct.pack("<HHHHB", 0, 0, 50000, 50000, 0) + b"\x02\x02\x44\x01\0;"
    frames = encoded(
        palette_image(), "GIF", save_all=True, append_images=[Image.new("P", (SIDE, SIDE), i) for i in range(200)]
    )
    text = b"Comment\0\0" + zlib.compress(bytes(64 * 2**20))
    bilevel = zlib.compress(bytes(1251 * 10_000))
    grey = (GREY * 0 + 255)[:1, :1]
    strip = np.broadcast_to(COLOURS[0, :1], (1, 65_500, 3))
    return {
        "60,000 x 60,000.png": (
            png_header(60_000, 60_000, 8, 2) + chunk(b"IDAT", zlib.compress(bytes(99))),
            refused(f"too large: 3600000000 pixels, {limit}"),
        ),
        "12,000 x 12,000.png": (
            png_header(12_000, 12_000, 8, 2) + chunk(b"IDAT", b""),
            refused(f"too large: 12000x12000 pixels, {limit}"),
        ),
        "2 billion wide.png": (
            png_header(2**31 - 1, 2**31 - 1, 8, 2) + chunk(b"IDAT", b""),
            refused(f"too large: {(2**31 - 1) ** 2} pixels, {limit}"),
        ),
        "60,000 x 60,000.tif": (
            tiff(b"\0", bits=(8,), photometric=1)
            .replace(struct.pack("<HHIHH", 256, 3, 1, SIDE, 0), struct.pack("<HHIHH", 256, 3, 1, 60_000, 0))
            .replace(struct.pack("<HHIHH", 257, 3, 1, SIDE, 0), struct.pack("<HHIHH", 257, 3, 1, 60_000, 0)),
            refused(f"too large: 3600000000 pixels, {limit}"),
        ),
        "60,000 x 60,000.bmp": (
            bmp(b"", bits=24).replace(struct.pack("<ii", SIDE, SIDE), struct.pack("<ii", 60_000, 60_000)),
            refused(f"too large: 3600000000 pixels, {limit}"),
        ),
        "screen of 65,535 x 65,535.gif": (screen + frame, refused(f"too large: 4294836225 pixels, {limit}")),
        "frame beyond its screen.gif": (wide_frame, refused(f"too large: 2500000000 pixels, {limit}")),
        "200 frames.gif": (frames, SEEN),
        "text that unpacks to 64 MB.png": (
            png(PICTURE, 8, 2, extra=chunk(b"zTXt", text)),
            UNPACKED,
        ),
        "100 megapixels in 12 kB.png": (
            png_header(10_000, 10_000, 1, 0) + chunk(b"IDAT", bilevel) + chunk(b"IEND", b""),
            looks_like(grey * 0),
        ),
        "65,500 wide and 1 high.jpg": (
            encoded(np.ascontiguousarray(strip), "JPEG", quality=95),
            looks_like(COLOURS[0, :1][None], LOSSY_YEARS),
        ),
        "1 wide and 65,500 high.jpg": (
            encoded(np.ascontiguousarray(strip.transpose(1, 0, 2)), "JPEG", quality=95),
            looks_like(COLOURS[0, :1][None], LOSSY_YEARS),
        ),
        "65,500 wide and 8 high.png": (
            encoded(np.ascontiguousarray(strip.repeat(8, 0)), "PNG"),
            looks_like(COLOURS[0, :1][None]),
        ),
        "1 x 1.png": (encoded(COLOURS[:1, :1].copy(), "PNG"), looks_like(COLOURS[:1, :1])),
    }


FAMILIES: dict[str, Callable[[], Files]] = {
    "PNG": png_files,
    "JPEG": jpeg_files,
    "TIFF": tiff_files,
    "WebP, GIF, BMP and others": other_files,
    "EXIF": orientation_files,
    "colour profiles": profile_files,
    "cut or changed": damaged_files,
    "not what its name says": mistaken_files,
    "bombs and extremes": big_files,
}


def _places() -> Iterator[Kind]:
    """Paths that lead to no file, or to one that can't be read."""
    photo = encoded(PICTURE, "PNG")

    def folder(path: Path) -> Path:
        path.mkdir()
        return path

    def dangling(path: Path) -> Path:
        path.symlink_to(path.with_name("gone.jpg"))
        return path

    def loop(path: Path) -> Path:
        path.symlink_to(path)
        return path

    def link(path: Path) -> Path:
        real = path.with_name(f"real {path.name}")
        real.write_bytes(photo)
        path.symlink_to(real)
        return path

    def pipe(path: Path) -> Path:
        os.mkfifo(path)
        return path

    def unix_socket(path: Path) -> Path:
        here = Path.cwd()
        os.chdir(path.parent)  # a socket's path has 108 bytes at most
        try:
            with socket.socket(socket.AF_UNIX) as listening:
                listening.bind(path.name)
        finally:
            os.chdir(here)
        return path

    def endless(path: Path) -> Path:
        path.symlink_to("/dev/zero")
        return path

    def closed_file(path: Path) -> Path:
        path.write_bytes(photo)
        path.chmod(0)
        return path

    def in_closed_folder(path: Path) -> Path:
        path.mkdir()
        (path / "a.png").write_bytes(photo)
        path.chmod(0)
        return path / "a.png"

    def below_a_file(path: Path) -> Path:
        path.write_bytes(photo)
        return path / "a.jpg"

    def missing(path: Path) -> Path:
        return path

    def too_long(path: Path) -> Path:
        return path.with_name("n" * 256)

    made = {
        "a folder": (folder, refused("is a folder")),
        "a link to nothing": (dangling, refused("no such file")),
        "a link to itself": (loop, refused("cannot be read: too many levels of symbolic links")),
        "a link to an image": (link, SEEN),
        "a FIFO": (pipe, refused("not a regular file")),
        "a socket": (unix_socket, refused("not a regular file")),
        "an endless device": (endless, refused("not a regular file")),
        "no permission": (closed_file, refused("cannot be read: permission denied")),
        "in a folder without permission": (in_closed_folder, refused("cannot be read: permission denied")),
        "below a file": (below_a_file, refused("cannot be read: not a directory")),
        "missing": (missing, refused("no such file")),
        "a name of 256 bytes": (too_long, refused("cannot be read: file name too long")),
    }
    for name, (make, outcome) in made.items():
        yield Kind("places", name, outcome, make)


def _names() -> Iterator[Kind]:
    """Names that are no trouble to the file system, and should be none to anybody else."""
    photo = encoded(PICTURE, "PNG")
    names = {
        "line's end": b"a\nb.png",
        "return": b"a\rb.png",
        "tab": b"a\tb.png",
        "quotes": b"\"a\" 'b'.png",
        "comma": b"a,b.png",
        "backslashes": rb"a\xe9\n.png",
        "not UTF-8": b"caf\xe9.png",
        "250 characters": b"n" * 246 + b".png",
        "250 letters of two bytes": "é".encode() * 123 + b".png",
        "emoji and Chinese": "🙂顔.png".encode(),
        "right to left": "\u202egnp.exe\u202c.png".encode(),
        "escape sequence": b"\x1b[2J\x1b[31m.png",
        "spaces": b"  .png",
        "formula": b"=1+1.png",
        "option": b"--onnx.png",
        "percent": b"%s%n%00.png",
        "no suffix": b"face",
        "two suffixes": b"a.png.exe",
    }
    for label, name in names.items():

        def make(path: Path, name: bytes = name) -> Path:
            return a_file(photo)(path.parent / os.fsdecode(name))

        yield Kind("names", label, SEEN, make)
