"""Which TIFF files are read: the layouts that tests/test_tiff_matrix.py found right. The others say what they are."""

from __future__ import annotations

from dataclasses import dataclass
from typing import BinaryIO

from PIL.TiffImagePlugin import ImageFileDirectory_v2

from agedetect_runtime.errors import ImageError

SIGNATURES = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")

_STRIPS, _TILES = 273, 324
_BITS, _COMPRESSION, _PHOTOMETRIC, _FILL_ORDER, _SAMPLES, _PLANES = 258, 259, 262, 266, 277, 284
_PREDICTOR, _COLOUR_MAP, _INK_SET, _EXTRA_SAMPLES, _SAMPLE_FORMAT = 317, 320, 332, 338, 339
_JPEG = 7
_FAX = {2, 3, 4}
_PREDICTED = {5, 8, 32946, 34925, 50000}  # LZW, deflate, old deflate, LZMA, Zstandard
_LOSSLESS = {1, 32773, *_PREDICTED}  # none and PackBits, too
_FORMATS = {1: "", 2: " signed", 3: " float"}
_EXTRAS = {1: " with premultiplied alpha", 2: " with alpha"}


@dataclass(frozen=True)
class _Colours:
    name: str
    channels: int
    depths: frozenset[int]  # bits a sample, whole numbers that are 0 or more


_COLOURS = {
    0: _Colours("grey (0 is white)", 1, frozenset({1, 2, 4, 8})),
    1: _Colours("grey", 1, frozenset({1, 2, 4, 8, 16})),
    2: _Colours("RGB", 3, frozenset({8, 16})),
    3: _Colours("palette", 1, frozenset({8})),
    5: _Colours("CMYK", 4, frozenset({8, 16})),
    6: _Colours("YCbCr", 3, frozenset({8})),
}


@dataclass(frozen=True)
class _Layout:
    colours: _Colours
    depth: int
    sample_format: int
    extra: tuple[int, ...]
    planes: bool
    big_endian: bool
    compression: int

    def __str__(self) -> str:
        kind = _FORMATS.get(self.sample_format, " undefined")
        extra = _EXTRAS.get(self.extra[0], " with an extra channel") if self.extra else ""
        planes = " in separate planes" if self.planes else ""
        packed = ", compressed" if self.compression != 1 else ""
        order = ", big-endian" if self.big_endian else ""
        return f"TIFF of {self.depth}-bit{kind} {self.colours.name}{extra}{planes}{packed}{order}"

    def is_read(self) -> bool:
        name, depth, extra = self.colours.name, self.depth, self.extra
        if self.sample_format == 3:  # libtiff's bytes are in this machine's order, and Pillow turns them again
            turned = self.big_endian and self.compression != 1
            return name == "grey" and depth == 32 and not extra and not turned
        if self.sample_format != 1 or depth not in self.colours.depths:
            return False
        if self.planes and (depth != 8 or extra or name not in ("RGB", "CMYK")):
            return False
        if self.compression in _FAX | {_JPEG}:
            jpeg = depth == 8 and not self.planes and name in ("grey", "RGB", "YCbCr")
            return not extra and (depth == 1 if self.compression in _FAX else jpeg)
        if name == "YCbCr":  # its colours are subsampled, by default
            return False
        if not extra:
            return True
        return not any(extra[1:]) and {
            "grey": len(extra) == 1 and depth == 8,
            "RGB": len(extra) == 1 or (len(extra) <= 3 and depth == 8),
            "CMYK": len(extra) <= 2 and depth == 8 and extra[0] == 0,
        }.get(name, False)


def check_tiff(file: BinaryIO) -> None:
    """Raise ImageError for a TIFF file whose pixels we can't vouch for, with its layout as the reason.

    A directory that can't be read is left to the decoder, which says how it is damaged.
    """
    header = file.read(8)
    try:
        header += file.read(8) if b"+" in header[2:4] else b""
        directory = ImageFileDirectory_v2(header)
        file.seek(directory.next)
        directory.load(file)
    except Exception:  # Pillow's parser raises almost anything
        return
    check_directory(directory)


def check_directory(directory: ImageFileDirectory_v2) -> None:
    """The same for a directory that was read."""
    if _STRIPS not in directory and _TILES not in directory:
        return  # Pillow only warns of a directory that is cut
    if why := _unsupported(_Tags(directory)):
        raise ImageError(f"unsupported: {why}")


class _Tags:
    def __init__(self, directory: ImageFileDirectory_v2) -> None:
        self._directory = directory
        self.big_endian = directory.prefix == b"MM"

    def numbers(self, tag: int, *default: int) -> tuple[int, ...]:
        try:
            value = self._directory.get(tag, default)
        except Exception as error:  # a tag is parsed when it is asked for
            raise ImageError(f"damaged: tag {tag} of its directory cannot be read") from error
        values = value if isinstance(value, tuple) else (value,)
        if not all(isinstance(number, int) for number in values):
            raise ImageError(f"damaged: tag {tag} of its directory holds no whole numbers")
        return values

    def number(self, tag: int, default: int) -> int:
        values = self.numbers(tag, default)
        return values[0] if values else default


def _unsupported(tags: _Tags) -> str | None:
    photometric, compression = tags.number(_PHOTOMETRIC, -1), tags.number(_COMPRESSION, 1)
    colours = _COLOURS.get(photometric)
    if colours is None:
        return "TIFF without a photometric tag" if photometric < 0 else f"TIFF with photometric tag {photometric}"
    if compression not in _LOSSLESS | _FAX | {_JPEG}:
        return f"TIFF with compression {compression}"
    samples, depths = tags.number(_SAMPLES, 1), tags.numbers(_BITS, 1)
    extra, kinds = tags.numbers(_EXTRA_SAMPLES), tags.numbers(_SAMPLE_FORMAT, 1)
    if samples != colours.channels + len(extra):
        return f"TIFF of {colours.name} with {samples} samples a pixel, {len(extra)} of them declared as extra"
    if len(set(depths)) != 1 or len(depths) not in (1, samples) or len(set(kinds)) != 1:
        return f"TIFF of {colours.name} whose channels differ in bits or type"
    planes = tags.number(_PLANES, 1) == 2 and samples > 1
    layout = _Layout(colours, depths[0], kinds[0], extra, planes, tags.big_endian, compression)
    if not layout.is_read():
        return str(layout)
    return _odd(tags, layout)


def _odd(tags: _Tags, layout: _Layout) -> str | None:
    """What else could change how the pixels of a layout that is read are to be seen."""
    name = layout.colours.name
    if tags.number(_PREDICTOR, 1) != 1 and layout.compression not in _PREDICTED:
        return f"{layout}, with a predictor"
    if tags.number(_FILL_ORDER, 1) != 1:
        return f"{layout}, its lowest bit first"
    if name == "palette":
        levels = tags.numbers(_COLOUR_MAP)
        if len(levels) != 3 * 2**layout.depth or max(levels) < 256:
            return "TIFF with a palette that is not of 16-bit levels, or incomplete"
    if name == "CMYK" and tags.number(_INK_SET, 1) != 1:
        return "TIFF of inks other than CMYK"
    return None
