"""One picture of four colours, encoded in every way that a file may hold it, and in many that none may.

`PICTURE` tells every mistake apart: its quarters differ in all channels, so a swapped channel, an inverted ink, a
wrong turn or a lost row changes the age that `write_quarters_model` gives by years.
"""

from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from PIL import Image
from pillow_heif import from_pillow

from agedetect_runtime.images import load_face
from agedetect_runtime.spec import METADATA_KEY
from tiny_models import tiny_spec

Levels = NDArray[np.uint8]

SIDE = 64
COLOURS = np.array([[[200, 40, 60], [40, 180, 90]], [[60, 70, 220], [230, 210, 30]]], np.uint8)
PICTURE: Levels = COLOURS.repeat(SIDE // 2, 0).repeat(SIDE // 2, 1)
INDICES: Levels = np.array([[0, 1], [2, 3]], np.uint8).repeat(SIDE // 2, 0).repeat(SIDE // 2, 1)
GREY: Levels = np.array(Image.fromarray(PICTURE).convert("L"))
BLACK_AND_WHITE: Levels = (INDICES % 3 == 0).astype(np.uint8) * 255

# Years a level, of each quarter and channel: no two alike.
YEARS = np.array([[0.02, 0.03], [0.05, 0.08]])[..., None] * np.array([1.0, 0.6, 0.3])


def write_quarters_model(path: Path, size: int = 32) -> Path:
    """Write a model with age = sum over quarters and channels of YEARS x the quarter's mean level."""
    weights = quarter_weights(size).astype(np.float32)
    nodes = [
        helper.make_node("Cast", ["faces"], ["levels"], to=TensorProto.FLOAT),
        helper.make_node("Mul", ["levels", "weights"], ["parts"]),
        helper.make_node("ReduceSum", ["parts", "axes"], ["age"], keepdims=0),
    ]
    graph = helper.make_graph(
        nodes,
        "quarters",
        [helper.make_tensor_value_info("faces", TensorProto.UINT8, ["batch", size, size, 3])],
        [helper.make_tensor_value_info("age", TensorProto.FLOAT, ["batch"])],
        [numpy_helper.from_array(weights, "weights"), numpy_helper.from_array(np.array([1, 2, 3]), "axes")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    helper.set_model_props(model, {METADATA_KEY: tiny_spec(size).to_json()})
    onnx.save(model, path)
    return path


def age_of(levels: Levels, size: int = 32) -> float:
    """The age that the model must give for a picture: (H, W) grey or (H, W, 3) RGB."""
    rgb = levels if levels.ndim == 3 else levels[..., None].repeat(3, 2)
    return float((load_face(rgb, size, "bilinear") * quarter_weights(size)).sum())


def quarter_weights(size: int) -> NDArray[np.float64]:
    half = size // 2
    weights: NDArray[np.float64] = YEARS.repeat(half, 0).repeat(half, 1) / half**2
    return weights


def encoded(levels: Levels | Image.Image, kind: str, **options: object) -> bytes:
    file = io.BytesIO()
    image = levels if isinstance(levels, Image.Image) else Image.fromarray(levels)
    image.save(file, kind, **options)
    return file.getvalue()


def over_white(alpha: Levels) -> Levels:
    """The picture as it is seen through `alpha`, (H, W)."""
    share = alpha[..., None] / 255
    return np.rint(PICTURE * share + 255 * (1 - share)).astype(np.uint8)


def palette_image(transparent: int | None = None) -> Image.Image:
    image = Image.fromarray(INDICES).convert("P")
    image.putdata(INDICES.ravel().tolist())
    image.putpalette(COLOURS.ravel().tolist())
    if transparent is not None:
        image.info["transparency"] = transparent
    return image


# PNG, written here where Pillow can't: https://www.w3.org/TR/png-3

PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
ADAM7 = ((0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2), (0, 1, 2, 2), (1, 0, 2, 1))


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png_header(width: int, height: int, depth: int, colour: int, interlaced: bool = False) -> bytes:
    return PNG_SIGNATURE + chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, interlaced))


def png(
    samples: NDArray[np.generic], depth: int, colour: int, *, interlaced: bool = False, extra: bytes = b""
) -> bytes:
    """(H, W) or (H, W, C) whole numbers below 2 to the power of `depth` -> a PNG of that colour type."""
    height, width = samples.shape[:2]
    passes = [samples[y::dy, x::dx] for y, x, dy, dx in ADAM7] if interlaced else [samples]
    data = zlib.compress(b"".join(b"\0" + packed(row, depth) for part in passes for row in part))
    header = png_header(width, height, depth, colour, interlaced)
    return header + extra + chunk(b"IDAT", data) + chunk(b"IEND", b"")


def packed(row: NDArray[np.generic], depth: int) -> bytes:
    """Samples of a row, big-endian, the first in the highest bits."""
    if depth == 16:
        return row.astype(">u2").tobytes()
    bits = np.unpackbits(row.astype(np.uint8).reshape(-1, 1), axis=1)[:, 8 - depth :]
    return np.packbits(bits).tobytes()


def grey_levels(depth: int) -> tuple[NDArray[np.uint16], Levels]:
    """The grey picture in samples of so many bits, and how it looks in eight."""
    top = 2**depth - 1
    samples = np.rint(GREY.astype(float) * top / 255).astype(np.uint16)
    return samples, np.rint(samples * 255.0 / top).astype(np.uint8)


# TIFF, written here where Pillow can't: TIFF 6.0


def tiff(
    data: bytes, *, bits: tuple[int, ...], photometric: int, order: str = "<", strips: int = 1, **tags: int
) -> bytes:
    """Uncompressed strips of SIDE x SIDE pixels; more tags by number, as t284=2."""
    short, long = (3, "H"), (4, "I")
    entries: dict[int, tuple[tuple[int, str], tuple[int, ...]]] = {
        256: (short, (SIDE,)),
        257: (short, (SIDE,)),
        258: (short, bits),
        259: (short, (1,)),
        262: (short, (photometric,)),
        273: (long, (0,) * strips),
        277: (short, (len(bits),)),
        278: (short, (SIDE,)),
        279: (long, (len(data) // strips,) * strips),
        **{int(name[1:]): (short, (value,)) for name, value in tags.items()},
    }
    start = 8 + 2 + 12 * len(entries) + 4
    pixels = start + 2 * len(bits) + 2 * 4 * strips  # room for the longest values
    entries[273] = (long, tuple(pixels + strip * len(data) // strips for strip in range(strips)))
    directory, values = struct.pack(f"{order}H", len(entries)), b""
    for tag, ((kind, code), numbers) in sorted(entries.items()):
        value = struct.pack(f"{order}{len(numbers)}{code}", *numbers)
        place = value.ljust(4, b"\0") if len(value) <= 4 else struct.pack(f"{order}I", start + len(values))
        values += value if len(value) > 4 else b""
        directory += struct.pack(f"{order}HHI", tag, kind, len(numbers)) + place
    mark = b"II*\0" if order == "<" else b"MM\0*"
    head = mark + struct.pack(f"{order}I", 8) + directory + b"\0" * 4 + values
    return head.ljust(pixels, b"\0") + data


# BMP, written here where Pillow can't


def bmp(
    pixels: bytes,
    *,
    bits: int,
    compression: int = 0,
    height: int = SIDE,
    masks: bytes = b"",
    palette: bytes = b"",
    header: int = 40,
) -> bytes:
    """A BMP with a header of 40 bytes, or of 56 that holds its masks; a negative height is top-down."""
    offset = 14 + 40 + len(masks) + len(palette)
    sizes = struct.pack(
        "<IiiHHIIiiII", header, SIDE, height, 1, bits, compression, len(pixels), 0, 0, len(palette) // 4, 0
    )
    return b"BM" + struct.pack("<IHHI", offset + len(pixels), 0, 0, offset) + sizes + masks + palette + pixels


def tga(pixels: bytes, *, depth: int, descriptor: int = 0) -> bytes:
    """True colours, from the bottom row; the descriptor says how many bits are alpha."""
    return struct.pack("<BBBHHBHHHHBB", 0, 0, 2, 0, 0, 0, 0, 0, SIDE, SIDE, depth, descriptor) + pixels


def heic() -> bytes:
    file = io.BytesIO()
    from_pillow(Image.fromarray(PICTURE)).save(file, quality=95, chroma=444)
    return file.getvalue()


def rle8() -> bytes:
    """The picture's rows from the bottom, each as two runs."""
    rows = (bytes([SIDE // 2, row[0], SIDE // 2, row[-1], 0, 0]) for row in INDICES[::-1])
    return b"".join(rows) + b"\0\1"


BMP_PALETTE = b"".join(bytes([*colour[::-1], 0]) for colour in COLOURS.reshape(4, 3).tolist())


# JPEG with four inks


def ink_image() -> Image.Image:
    """The picture as CMYK without black: 255 minus red, green and blue."""
    return Image.merge("CMYK", [*Image.fromarray(255 - PICTURE).split(), Image.new("L", (SIDE, SIDE), 0)])


def adobe_ycck() -> bytes:
    """As Photoshop writes it: inks inverted, the first three as YCbCr, transform 2 in Adobe's marker.

    Pillow writes no YCCK, so the YCbCr planes go in as CMYK, which it inverts, and the marker is changed after.
    """
    planes = [
        Image.fromarray(255 - np.asarray(plane)) for plane in Image.fromarray(255 - PICTURE).convert("YCbCr").split()
    ]
    data = encoded(Image.merge("CMYK", [*planes, Image.new("L", (SIDE, SIDE), 0)]), "JPEG", quality=95)
    marker = data.index(b"Adobe")
    return data[: marker + 11] + b"\x02" + data[marker + 12 :]


def without_adobe_marker(data: bytes) -> bytes:
    start = data.index(b"\xff\xee")
    (length,) = struct.unpack(">H", data[start + 2 : start + 4])
    return data[:start] + data[start + 2 + length :]
