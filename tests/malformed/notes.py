"""What a file says beside its pixels: EXIF, XMP, texts and colour profiles, good and bad."""

from __future__ import annotations

import random
import zlib

import numpy as np
from PIL import Image, ImageCms, PngImagePlugin

from malformed.outcomes import (
    LOSSY_YEARS,
    NEARLY,
    SEEN,
    TRUNCATED,
    Files,
    Outcome,
    looks_like,
    refused,
)
from malformed.pictures import (
    GREY,
    PICTURE,
    Levels,
    chunk,
    encoded,
    png,
)

_GAMMA = 563  # 2.2, in 256ths


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
    for name, raw in {
        "no TIFF": b"Exif\0\0no TIFF header",
        "directory beyond its end": b"Exif\0\0II*\0\xff\xff\xff\x7f",
        "orientation as text": b"Exif\0\0II*\0\x08\0\0\0\x01\0\x12\x01\x02\0\x04\0\0\0six\0",
        "orientation 0": b"Exif\0\0II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\0\0\0\0",
        "orientation 99": b"Exif\0\0II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x63\0\0\0",
        "cut": b"Exif\0\0II*\0\x08\0\0\0\x09\0\x12\x01",
        "empty": b"Exif\0\0",
    }.items():
        files[f"EXIF, {name}.jpg"] = (encoded(PICTURE, "JPEG", quality=95, exif=raw), NEARLY)
    return files


def profile_files() -> Files:
    """Colours of a profile become sRGB; one that can't be used is a reason, since its colours are unknown."""
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    lab = ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")).tobytes()
    unreadable = refused("unsupported: its colour profile cannot be read; remove it to have the colours taken for sRGB")
    files: Files = {
        "profile, sRGB.jpg": (encoded(PICTURE, "JPEG", quality=95, icc_profile=srgb), NEARLY),
        "profile, sRGB.png": (encoded(PICTURE, "PNG", icc_profile=srgb), SEEN),
        "profile, sRGB, grey.jpg": (encoded(GREY, "JPEG", quality=95, icc_profile=srgb), looks_like(GREY, LOSSY_YEARS)),
        "profile, sRGB and 128 kB.jpg": (encoded(PICTURE, "JPEG", quality=95, icc_profile=srgb + bytes(2**17)), NEARLY),
    }
    wide: dict[str, tuple[Outcome, dict[str, object]]] = {
        "JPEG": (NEARLY, {"quality": 95}),
        "PNG": (WIDE, {}),
        "TIFF": (WIDE, {}),
        "WEBP": (WIDE, {"lossless": True}),
    }
    for kind, (seen, options) in wide.items():
        data = encoded(wide_gamut(PICTURE), kind, icc_profile=wide_profile(), **options)
        files[f"profile, Display P3.{kind.lower()}"] = (data, seen)
    for name, profile in {"cut": srgb[:100], "noise": random.Random(1).randbytes(500)}.items():
        for kind in ("JPEG", "PNG"):
            files[f"profile, {name}.{kind.lower()}"] = (encoded(PICTURE, kind, icc_profile=profile), unreadable)
    other = refused("unsupported: its colour profile is for Lab, its pixels are RGB; remove it to .*")
    files["profile, Lab.png"] = (encoded(PICTURE, "PNG", icc_profile=lab), other)
    files["profile, of grey.png"] = (
        encoded(PICTURE, "PNG", icc_profile=srgb[:16] + b"GRAY" + srgb[20:]),
        refused("unsupported: its colour profile (is for GRAY, its pixels are RGB|cannot be read); remove it to .*"),
    )
    bomb = b"icc\0\0" + zlib.compress(bytes(64 * 2**20))
    too_large = refused("damaged: Decompressed data too large for PngImagePlugin.MAX_TEXT_CHUNK")
    files["profile that unpacks to 64 MB.png"] = (png(PICTURE, 8, 2, extra=chunk(b"iCCP", bomb)), too_large)
    return files


def xmp_files() -> Files:
    """XMP turns nothing."""
    turned = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:Description tiff:Orientation="3"/></x:xmpmeta>'
    text = PngImagePlugin.PngInfo()
    text.add_itxt("XML:com.adobe.xmp", turned.decode())
    return {
        "orientation in XMP.jpg": (encoded(PICTURE, "JPEG", quality=95, xmp=turned), NEARLY),
        "orientation in XMP.png": (encoded(PICTURE, "PNG", pnginfo=text), SEEN),
        "orientation in XMP.webp": (encoded(PICTURE, "WEBP", lossless=True, xmp=turned), SEEN),
        "orientation in XMP.tif": (encoded(PICTURE, "TIFF", tiffinfo={700: turned}), SEEN),
    }


def text_files() -> Files:
    """Texts are no part of a picture, whatever is wrong with them."""
    before = {
        "zTXt of 64 MB": chunk(b"zTXt", b"Comment\0\0" + zlib.compress(bytes(64 * 2**20))),
        "iTXt of 64 MB": chunk(b"iTXt", b"Comment\0\1\0\0\0" + zlib.compress(bytes(64 * 2**20))),
        "zTXt by method 9": chunk(b"zTXt", b"Comment\0\x09" + zlib.compress(b"text")),
        "zTXt of noise": chunk(b"zTXt", b"Comment\0\0noise"),
        "100 texts of 1 MB": 100 * chunk(b"tEXt", b"Comment\0" + bytes(2**20)),
        "text with a wrong check sum": chunk(b"tEXt", b"Comment\0text")[:-1] + b"?",
    }
    files: Files = {f"{name}.png": (png(PICTURE, 8, 2, extra=extra), SEEN) for name, extra in before.items()}
    end = chunk(b"IEND", b"")
    whole = png(PICTURE, 8, 2)
    files["zTXt of 64 MB at the end.png"] = (whole[: -len(end)] + before["zTXt of 64 MB"] + end, SEEN)
    files["zTXt of 64 MB, and pixels that are cut.png"] = (files["zTXt of 64 MB.png"][0][:-60], TRUNCATED)
    return files


def wide_profile() -> bytes:
    """The primaries of Display P3 (SMPTE EG 432-1, adapted to D50) with a gamma of 2.2, as ICC.1 lays it down."""

    tags = {
        b"rXYZ": b"XYZ \0\0\0\0" + _fixed(0.51512, 0.24120, -0.00105),
        b"gXYZ": b"XYZ \0\0\0\0" + _fixed(0.29198, 0.69225, 0.04189),
        b"bXYZ": b"XYZ \0\0\0\0" + _fixed(0.15710, 0.06657, 0.78407),
    }
    gamma = b"curv" + bytes(7) + b"\1" + _GAMMA.to_bytes(2, "big") + bytes(2)
    return icc(b"RGB ", b"XYZ ", tags | dict.fromkeys((b"rTRC", b"gTRC", b"bTRC"), gamma))


def icc(space: bytes, connection: bytes, tags: dict[bytes, bytes]) -> bytes:
    """A profile for pixels of `space`, by way of XYZ or Lab; its tags' lengths are multiples of four."""
    white = _fixed(0.9642, 1, 0.8249)  # D50
    tags = {b"wtpt": b"XYZ \0\0\0\0" + white, **tags}
    place, table, data = 128 + 4 + 12 * len(tags), len(tags).to_bytes(4, "big"), b""
    for name, value in tags.items():
        table += name + (place + len(data)).to_bytes(4, "big") + len(value).to_bytes(4, "big")
        data += value
    kind = b"prtr" if space == b"CMYK" else b"mntr"
    head = bytes(8) + b"\x02\x10\0\0" + kind + space + connection + bytes(12) + b"acsp" + bytes(28) + white
    return (place + len(data)).to_bytes(4, "big") + head.ljust(128, b"\0")[4:] + table + data


def _fixed(*values: float) -> bytes:
    return b"".join(round(value * 65536).to_bytes(4, "big", signed=True) for value in values)


def wide_gamut(levels: Levels) -> Levels:
    """sRGB levels -> those of `wide_profile`, by the matrices of CSS Color 4, independent of lcms."""
    encoded_levels = levels / 255
    linear = np.where(encoded_levels <= 0.04045, encoded_levels / 12.92, ((encoded_levels + 0.055) / 1.055) ** 2.4)
    p3 = linear @ np.array([[0.8224621, 0.0331941, 0.0170827], [0.177538, 0.9668058, 0.0723974], [0.0, 0.0, 0.9105199]])
    levels_of_p3: Levels = np.rint(p3.clip(0, 1) ** (256 / _GAMMA) * 255).astype(np.uint8)
    return levels_of_p3


# Two roundings, to Display P3 and back, of one level each at the most: on average half a level, or 0.17 years.
WIDE = looks_like(PICTURE, 0.35)
