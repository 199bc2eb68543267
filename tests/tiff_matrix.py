"""Intact TIFF files in every layout that tifffile writes, each with the pixels that a reader must see.

How many are read right, refused and read wrong, by compression; those after the first two need imagecodecs:

    python tests/tiff_matrix.py none zlib lzma lzw packbits zstd
"""

from __future__ import annotations

import io
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product, starmap
from typing import Any, Literal

import numpy as np
import tifffile
from numpy.typing import NDArray

from agedetect_runtime.errors import ImageError
from agedetect_runtime.images import open_rgb

HEIGHT, WIDTH = 40, 24  # no multiple of a tile's 16 x 16
EXTRAS: dict[str | None, int] = {None: 0, "unspecified": 0, "unassalpha": 2, "assocalpha": 1}
PALETTE = np.random.default_rng(0).integers(0, 65536, (3, 256), dtype=np.uint16)
Seen = NDArray[np.float64] | None
_TOP = {"u1": 255, "u2": 65535, "u4": 2**32 - 1, "f2": 1.0, "f4": 1.0, "f8": 1.0}
_PACKED = {"bits1": 1, "bits2": 2, "bits4": 4, "bits12": 12}

# A level for rounding, and one more for each product that is rounded: by alpha or by black ink, and back.
TOLERANCE, PRODUCT_TOLERANCE = 1.01, 3


@dataclass(frozen=True)
class Layout:
    """How a picture is laid down in a TIFF file; `sample` is a NumPy type, or the bits of a packed one."""

    photometric: str
    sample: str
    order: Literal["<", ">"] = "<"
    planar: str = "contig"
    compression: str | None = None
    tiled: bool = False
    predictor: bool = False
    extra: str | None = None


def layouts(compressions: Sequence[str | None] = (None, "zlib")) -> Iterator[Layout]:
    """Every combination that is valid TIFF and that tifffile writes; the codecs of imagecodecs may be added."""
    samples = (*_PACKED, *_TOP, "i1", "i2", "i4")
    photometrics = ("miniswhite", "minisblack", "rgb", "palette", "separated", "cielab")
    planes, either = ("contig", "separate"), (False, True)
    combinations = product(photometrics, samples, "<>", planes, compressions, either, either, EXTRAS)
    return filter(_is_written, starmap(Layout, combinations))


def _is_written(layout: Layout) -> bool:
    packed = layout.sample in _PACKED
    colours = layout.photometric in ("rgb", "separated", "cielab")
    if packed and (colours or (layout.compression is not None and layout.sample != "bits1") or layout.predictor):
        return False
    if layout.sample == "bits12" and layout.order == "<":
        return False
    if layout.photometric == "palette" and layout.sample != "u1":
        return False
    if layout.predictor and layout.compression is None:
        return False
    if layout.extra is not None and (layout.sample not in ("u1", "u2") or layout.photometric in ("palette", "cielab")):
        return False
    return layout.planar == "contig" or colours or layout.extra is not None


def picture(channels: int) -> NDArray[np.float64]:
    """(H, W, channels) in 0..1: smooth, other in each channel, from one end of the scale to the other."""
    y, x = np.mgrid[0 : 1 : HEIGHT * 1j, 0 : 1 : WIDTH * 1j]
    waves = [x, y, 1 - x * y, (x + y) / 2, 0.25 + y / 2][:channels]
    return np.stack(waves, axis=-1)


def write(layout: Layout) -> tuple[bytes, Seen]:
    """The file, and what it shows: (H, W, 3) levels from 0 to 255, or None where TIFF doesn't say."""
    channels = {"rgb": 3, "separated": 4, "cielab": 3}.get(layout.photometric, 1)
    values = picture(channels + (layout.extra is not None))
    if layout.photometric == "palette":
        return _write(layout, *_indices())
    if layout.sample in _PACKED:
        top = 2 ** _PACKED[layout.sample] - 1
        stored = np.rint(values * top).astype("u2" if top > 255 else "u1")
    elif layout.sample[0] == "i":
        top = np.iinfo(layout.sample).max
        stored = np.rint((values * 2 - 1) * top).astype(layout.sample)
    else:
        top = _TOP[layout.sample]
        stored = (values if layout.sample[0] == "f" else np.rint(values * top)).astype(layout.sample)
    if layout.extra == "assocalpha":  # colours are stored multiplied by it
        stored[..., :channels] = np.rint(values[..., :channels] * values[..., channels:] * top)
    seen = None if layout.sample[0] == "i" else _seen(layout, stored.astype(float) / top, channels)
    return _write(layout, stored, seen)


def _seen(layout: Layout, values: NDArray[np.float64], channels: int) -> Seen:
    colours, alpha = values[..., :channels], values[..., channels:]
    if layout.photometric == "cielab":
        return None
    if layout.photometric == "separated":
        colours = (1 - colours[..., :3]) * (1 - colours[..., 3:])
    elif layout.photometric == "miniswhite":
        colours = 1 - colours
    if layout.extra == "unassalpha":
        colours = colours * alpha + (1 - alpha)
    elif layout.extra == "assocalpha":
        colours = colours + (1 - alpha)
    return np.broadcast_to(colours * 255, (HEIGHT, WIDTH, 3))


def _indices() -> tuple[NDArray[Any], NDArray[np.float64]]:
    indices = np.rint(picture(1)[..., 0] * 255).astype("u1")
    return indices[..., None], PALETTE.T[indices] // 256.0


def _write(
    layout: Layout, stored: NDArray[Any], seen: NDArray[np.float64] | None
) -> tuple[bytes, NDArray[np.float64] | None]:
    bits = _PACKED.get(layout.sample)
    options: dict[str, Any] = {"tile": (16, 16)} if layout.tiled else {"rowsperstrip": 7}
    if bits == 1:
        stored = stored.astype(bool)
    elif bits:
        options["bitspersample"] = bits
    if layout.photometric == "palette":
        options["colormap"] = PALETTE
    if layout.extra is not None:
        options["extrasamples"] = [layout.extra]
    planes = layout.planar == "separate"
    data = np.moveaxis(stored, -1, 0) if planes else stored if stored.shape[-1] > 1 else stored[..., 0]
    file = io.BytesIO()
    tifffile.imwrite(
        file,
        np.ascontiguousarray(data),
        byteorder=layout.order,
        photometric=layout.photometric,
        planarconfig=layout.planar if stored.shape[-1] > 1 else None,
        compression=layout.compression,
        predictor=layout.predictor or None,
        metadata=None,
        **options,
    )
    return file.getvalue(), seen


def outcome(layout: Layout) -> str:
    """What opening its file gives: "right", "wrong", or the reason why it is refused."""
    data, seen = write(layout)
    try:
        read = np.asarray(open_rgb(data)).astype(float)
    except ImageError as error:
        return str(error)
    if seen is None or read.shape != seen.shape:
        return "wrong"
    product = layout.photometric == "separated" or layout.extra in ("assocalpha", "unassalpha")
    return "right" if np.abs(read - seen).max() <= (PRODUCT_TOLERANCE if product else TOLERANCE) else "wrong"


def counts(compressions: Sequence[str | None] = (None, "zlib")) -> Counter[str]:
    """How many files are read right, refused, and read wrong."""
    found = Counter(right=0, refused=0, wrong=0)
    for layout in layouts(compressions):
        result = outcome(layout)
        found[result if result in found else "refused"] += 1
    return found


if __name__ == "__main__":
    for name in sys.argv[1:] or ["none", "zlib"]:
        print(name, dict(counts([None if name == "none" else name])))
