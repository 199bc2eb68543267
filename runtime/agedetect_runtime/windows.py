"""Which BMP and TGA files are read: those whose header says unambiguously what each bit of a pixel is."""

from __future__ import annotations

from agedetect_runtime.errors import ImageError

_BITFIELDS = b"\3\0\0\0"
_TGA_ALPHA = 0x0F  # of the descriptor: how many bits of a pixel are alpha
_TGA_INTERLEAVED = 0xC0


def check_bmp(start: bytes) -> None:
    """Raise ImageError for a BMP, by its first 70 bytes, with a mask that Pillow guesses or overlooks."""
    header_size, bits = int.from_bytes(start[14:18], "little"), int.from_bytes(start[28:30], "little")
    if start[30:34] != _BITFIELDS or header_size < 56:
        return
    masks = [int.from_bytes(start[place : place + 4], "little") for place in (54, 58, 62, 66)]
    if not all(masks[:3]) or (bits == 16 and masks[3]):
        raise ImageError(f"unsupported: BMP of {bits} bits with the masks {' '.join(f'{mask:x}' for mask in masks)}")


def check_tga(start: bytes) -> None:
    """Raise ImageError for a TGA file, by its first 18 bytes, whose pixels can't be told from its header."""
    has_map, kind, map_depth, depth, descriptor = start[1], start[2], start[7], start[16], start[17]
    layout = kind & 7, depth
    known = layout in ((2, 24), (2, 32), (3, 8), (3, 16)) or (layout == (1, 8) and has_map and map_depth == 24)
    if not known or descriptor & _TGA_INTERLEAVED:
        raise ImageError(f"unsupported: TGA of type {kind} with {depth} bits a pixel, {map_depth} in its palette")
    if layout in ((2, 32), (3, 16)) and descriptor & _TGA_ALPHA != 8:
        raise ImageError(f"unsupported: TGA of {depth} bits a pixel that does not say what its last 8 bits are")
