"""A picture to look for faces in: addressed upright and in full size, however its pixels are stored."""

from __future__ import annotations

import math
from dataclasses import dataclass

from PIL import Image

from agedetect_runtime.images import MAX_PIXELS, Opened, open_stored
from agedetect_runtime.sources import Source, read_encoded

Box = tuple[float, float, float, float]  # left, top, right, bottom

# For each turn that rights a picture: whether x and y are exchanged, then which of the stored ones count backwards.
_WAY_BACK = {
    None: (False, False, False),
    Image.Transpose.FLIP_LEFT_RIGHT: (False, True, False),
    Image.Transpose.ROTATE_180: (False, True, True),
    Image.Transpose.FLIP_TOP_BOTTOM: (False, False, True),
    Image.Transpose.TRANSPOSE: (True, False, False),
    Image.Transpose.ROTATE_90: (True, True, False),
    Image.Transpose.ROTATE_270: (True, False, True),
    Image.Transpose.TRANSVERSE: (True, True, True),
}
_REDUCING_GAP = 2.0  # moves an age by a quarter of what rounding the levels does


@dataclass(frozen=True)
class Photo:
    """`source` can be opened again; what it was opened for needs fewer pixels than the file may have."""

    source: Source
    opened: Opened

    @classmethod
    def open(cls, source: Source, enough: int = MAX_PIXELS) -> Photo:
        """With at least `enough` pixels on the shorter side, where the file has as many; by default, with all.

        Raises ImageError as `images.open_rgb` does.
        """
        source = read_encoded(source) or source  # an open file can be read only once
        return cls(source, open_stored(source, enough=enough))

    @property
    def size(self) -> tuple[int, int]:
        """Upright, in full size."""
        width, height = self.opened.full_size
        return (height, width) if self._way_back[0] else (width, height)

    @property
    def shrunk(self) -> int:
        """How many pixels of the full size a pixel that we have stands for, on a side."""
        return self.opened.shrunk

    def with_pixels_of(self, shrunk: float) -> Photo:
        """The same picture, decoded at most `shrunk` times smaller than it is."""
        if self.shrunk <= shrunk:
            return self
        return Photo.open(self.source, math.floor(min(self.size) / shrunk))

    def region(self, box: Box, size: tuple[int, int], *, gap: float = _REDUCING_GAP) -> Image.Image:
        """What lies in `box`, in pixels of the full size, upright, resized (antialiased) to `size`.

        `gap` is Pillow's `reducing_gap`: a large reduction is done in two steps, the first by whole pixels.
        """
        width, height = self.opened.full_size
        swapped, from_right, from_bottom = self._way_back
        left, top, right, bottom = (box[1], box[0], box[3], box[2]) if swapped else box
        if from_right:
            left, right = width - right, width - left
        if from_bottom:
            top, bottom = height - bottom, height - top
        stored_box = left / self.shrunk, top / self.shrunk, right / self.shrunk, bottom / self.shrunk
        stored_size = size[::-1] if swapped else size
        pixels = self.opened.rgb.resize(stored_size, Image.Resampling.BILINEAR, box=stored_box, reducing_gap=gap)
        return self.opened.turned(self.opened.in_srgb(pixels))

    @property
    def _way_back(self) -> tuple[bool, bool, bool]:
        return _WAY_BACK[self.opened.turn]
