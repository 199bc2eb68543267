"""Near-duplicates: one photograph saved twice, recompressed, rescaled, recoloured or stamped with a watermark."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image

CELLS = 16
# UTKFace's aligned faces: all 422 pairs above are one photograph, and the first two that aren't correlate by 0.906
# (docs/evaluation.md).
THRESHOLD = 0.93
_AT_ONCE = 512

Thumbnails = NDArray[np.uint8]


def thumbnail(image: Image.Image) -> bytes:
    """CELLS x CELLS mean grey levels, row by row, whatever the image's size."""
    return image.convert("L").resize((CELLS, CELLS), Image.Resampling.BOX).tobytes()


def group_near_duplicates(thumbnails: Thumbnails, threshold: float = THRESHOLD) -> NDArray[np.intp]:
    """(N, CELLS * CELLS) -> (N,): the index of the first image of each one's group, its own where it has no copy.

    Two images are near-duplicates where the differences between neighbouring cells correlate by more than `threshold`
    (a dHash that keeps its magnitudes); a copy of a copy belongs to the group. Plain areas have no differences:
    neither a blank image nor a white background is like another. Time grows with N squared (3 seconds of a core for
    19,000), memory with N.
    """
    pairs = near_duplicate_pairs(thumbnails, threshold)
    first = np.arange(len(thumbnails))
    while True:
        before = first.copy()
        for one, other in (pairs, pairs[::-1]):
            np.minimum.at(first, one, before[other])
        if (first == before).all():
            return first


def near_duplicate_pairs(thumbnails: Thumbnails, threshold: float = THRESHOLD) -> NDArray[np.intp]:
    """(2, P): the indices of two images that correlate by more than `threshold`, the smaller one second."""
    rows = _differences(thumbnails)
    found = [np.empty((2, 0), np.intp)]
    for start in range(0, len(rows), _AT_ONCE):
        end = min(start + _AT_ONCE, len(rows))
        later, earlier = np.nonzero(rows[start:end] @ rows[:end].T > threshold)
        later += start
        found.append(np.stack([later, earlier])[:, later > earlier])
    return np.concatenate(found, axis=1)


def _differences(thumbnails: Thumbnails) -> NDArray[np.float32]:
    """(N, 2 * CELLS * (CELLS - 1)), rows of length 1, or 0 for a blank image."""
    cells = thumbnails.reshape(-1, CELLS, CELLS).astype(np.float32)
    steps = [np.diff(cells, axis=axis).reshape(len(cells), -1) for axis in (1, 2)]
    found = np.concatenate(steps, axis=1)
    found /= np.maximum(np.linalg.norm(found, axis=1, keepdims=True), 1)
    return found
