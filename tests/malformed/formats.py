"""Every format, mode and depth: files that are sound, and a few that only seem so."""

from __future__ import annotations

import struct

import numpy as np
from PIL import Image

from malformed.outcomes import (
    ANYTHING,
    LOSSY_YEARS,
    NEARLY,
    ROUNDED_YEARS,
    SEEN,
    Files,
    looks_like,
    refused,
)
from malformed.pictures import (
    BLACK_AND_WHITE,
    BMP_PALETTE,
    COLOURS,
    GREY,
    INDICES,
    PICTURE,
    SIDE,
    adobe_ycck,
    bmp,
    chunk,
    encoded,
    grey_levels,
    heic,
    ink_image,
    over_white,
    palette_image,
    png,
    png_header,
    rle8,
    tga,
    tiff,
    without_adobe_marker,
)


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
        "2-bit grey with a colour key.png": (
            png(grey_levels(2)[0], 2, 0, extra=chunk(b"tRNS", b"\0\1")),
            refused("unsupported: PNG of 2 bits with a transparent colour"),
        ),
        "in BT.2020 with PQ.png": (
            png(rgb16, 16, 2, extra=chunk(b"cICP", bytes([9, 16, 0, 1]))),
            refused("unsupported: PNG in the colour space 9/16 of H.273, not sRGB"),
        ),
        "linear light.png": (
            png(PICTURE, 8, 2, extra=chunk(b"gAMA", struct.pack(">I", 100_000))),
            refused("unsupported: PNG with a gamma of 1 or primaries other than sRGB's, and no profile"),
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
            refused("unsupported: cannot handle 12-bit layers", "truncated or damaged in its header"),
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


def tiff_files() -> Files:
    grey16 = grey_levels(16)[0]
    rgb16 = PICTURE.astype(np.uint16) * 257
    grey32 = grey16.astype(np.int32) * 32767
    bw = Image.fromarray(BLACK_AND_WHITE).convert("1")
    alpha = np.full((SIDE, SIDE), 102, np.uint8)
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
        "32-bit integers.tif": (
            encoded(Image.fromarray(grey32), "TIFF"),
            refused("unsupported: TIFF of 32-bit signed grey"),
        ),
        "16-bit grey, white is zero.tif": (
            tiff((65535 - grey16).tobytes(), bits=(16,), photometric=0),
            refused(r"unsupported: TIFF of 16-bit grey \(0 is white\)"),
        ),
        "16-bit planes.tif": (
            tiff(
                np.ascontiguousarray(rgb16.transpose(2, 0, 1)).tobytes(),
                bits=(16,) * 3,
                photometric=2,
                strips=3,
                t284=2,
            ),
            refused("unsupported: TIFF of 16-bit RGB in separate planes"),
        ),
        "float RGB.tif": (
            tiff((PICTURE / np.float32(255)).tobytes(), bits=(32,) * 3, photometric=2, t339=3),
            refused("unsupported: TIFF of 32-bit float RGB"),
        ),
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
        "YCbCr.tif": (
            encoded(Image.fromarray(PICTURE).convert("YCbCr"), "TIFF"),
            refused("unsupported: TIFF of 8-bit YCbCr"),
        ),
        "Lab.tif": (
            encoded(Image.new("LAB", (SIDE, SIDE)), "TIFF"),
            refused("unsupported: TIFF with photometric tag 8"),
        ),
        "planes.tif": (tiff(planes.tobytes(), bits=(8,) * 3, photometric=2, strips=3, t284=2), SEEN),
        "two pages.tif": (
            encoded(PICTURE, "TIFF", save_all=True, append_images=[Image.new("RGB", (SIDE, SIDE))]),
            SEEN,
        ),
        "big.tif": (encoded(PICTURE, "TIFF", big_tiff=True), SEEN),
        "BigTIFF of no tags.tif": (
            b"II+\0\x08\0\0\0" + bytes(16),
            refused("truncated or damaged in its header"),
        ),
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
            refused("unsupported: TIFF of RGB with 13 samples a pixel, 0 of them declared as extra"),
        ),
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
    masks32 = struct.pack("<IIII", 0xFF0000, 0xFF00, 0xFF, 0xFF000000)
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
        "alpha that is 0 everywhere.bmp": (
            bmp(np.dstack([bgr, alpha * 0])[::-1].tobytes(), bits=32, compression=3, header=56, masks=masks32),
            refused("unsupported: its alpha is 0 everywhere, so nothing of it is visible"),
        ),
        "masks of 0.bmp": (
            bmp(np.dstack([bgr, alpha])[::-1].tobytes(), bits=32, compression=3, header=56, masks=bytes(16)),
            refused("unsupported: BMP of 32 bits with the masks 0 0 0 0"),
        ),
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
        "16-bit.tga": (
            tga(rgb565.tobytes(), depth=16),
            refused("unsupported: TGA of type 2 with 16 bits a pixel, 0 in its palette"),
        ),
        "32-bit, no word of alpha.tga": (
            tga(np.dstack([bgr, alpha])[::-1].tobytes(), depth=32),
            refused("unsupported: TGA of 32 bits a pixel that does not say what its last 8 bits are"),
        ),
        "32-bit.tga": (
            tga(np.dstack([bgr, alpha])[::-1].tobytes(), depth=32, descriptor=8),
            half_seen,
        ),
        "run lengths.tga": (encoded(PICTURE, "TGA", compression="tga_rle"), SEEN),
        "icon.ico": (encoded(PICTURE, "ICO", sizes=[(SIDE, SIDE)]), SEEN),
        "dark 16-bit.pgm": (  # below 256 in all, and not 8-bit for that
            f"P5 {SIDE} {SIDE} 65535\n".encode() + GREY.astype(">u2").tobytes(),
            looks_like(np.rint(GREY / 257).astype(np.uint8)),
        ),
        "HEIC.heic": (heic(), NEARLY),
        "lossless.jp2": (encoded(PICTURE, "JPEG2000"), SEEN),
        "lossy.avif": (encoded(PICTURE, "AVIF", quality=95, subsampling="4:4:4"), NEARLY),
    }
