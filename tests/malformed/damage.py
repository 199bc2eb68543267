"""Files that were cut, changed or swapped, that are no images, or that are far too big."""

from __future__ import annotations

import random
import struct
import zlib

import numpy as np
from PIL import Image

from malformed.outcomes import (
    ANYTHING,
    LOSSY_YEARS,
    NEARLY,
    SEEN,
    TRUNCATED,
    Files,
    looks_like,
    refused,
)
from malformed.pictures import (
    COLOURS,
    GREY,
    PICTURE,
    PNG_SIGNATURE,
    SIDE,
    bmp,
    chunk,
    encoded,
    palette_image,
    png_header,
    tiff,
)


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


def jpeg2000_header(width: int, height: int) -> bytes:
    """A codestream of three 8-bit channels that ends where its first tile should begin (ISO/IEC 15444-1, A.5.1)."""
    size = struct.pack(">HHIIIIIIIIH", 47, 0, width, height, 0, 0, width, height, 0, 0, 3) + b"\7\1\1" * 3
    return b"\xff\x4f\xff\x51" + size + b"\xff\x90"


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
        "100 megapixels of JPEG 2000.jp2": (
            jpeg2000_header(10_000, 10_000),
            refused("too large: 10000x10000 pixels of JPEG2000 take 2.50 GB to decode, the limit is 1.32"),
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
