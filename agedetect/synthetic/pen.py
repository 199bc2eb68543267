"""Shapes in face coordinates: x from the face's midline, y as in a UTKFace chip of 200 px, both before the pose."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from PIL import ImageDraw

Points = NDArray[np.float64]
Colour = NDArray[np.float64]

_CIRCLE = np.stack([np.cos(a := np.linspace(0, 2 * np.pi, 28, endpoint=False)), np.sin(a)], axis=1)


def arcs(specs: ArrayLike, steps: int = 9) -> Points:
    """Curves from (N, 5) rows `x0, y0, x1, y1, sag` -> (N, steps, 2); `sag` is the middle's way down, in px."""
    rows = np.asarray(specs, dtype=np.float64)
    t = np.linspace(0.0, 1.0, steps)[None, :, None]
    lines = rows[:, None, 0:2] * (1 - t) + rows[:, None, 2:4] * t
    lines[..., 1] += rows[:, None, 4] * 4 * (t * (1 - t))[..., 0]
    return lines


def rounded(points: ArrayLike, steps: int = 6) -> Points:
    """Closed Catmull-Rom curve through (K, 2) points -> (K * steps, 2)."""
    p1 = np.asarray(points, dtype=np.float64)
    p0, p2, p3 = np.roll(p1, 1, axis=0), np.roll(p1, -1, axis=0), np.roll(p1, -2, axis=0)
    t = np.linspace(0.0, 1.0, steps, endpoint=False)[None, :, None]
    a, b, c, d = (p[:, None, :] for p in (2 * p1, p2 - p0, 2 * p0 - 5 * p1 + 4 * p2 - p3, 3 * p1 - p0 - 3 * p2 + p3))
    curve: Points = 0.5 * (a + t * (b + t * (c + t * d)))
    return curve.reshape(-1, 2)


def both_sides(half: Sequence[tuple[float, float]]) -> Points:
    """Right half of an outline, listed top to bottom -> the closed outline, mirrored at x = 0."""
    right = np.asarray(half, dtype=np.float64)
    left = right[::-1] * (-1.0, 1.0)
    return np.concatenate([right, left[np.abs(left[:, 0]) > 1e-9]])


@dataclass(frozen=True)
class Pen:
    """Draws polygons through the affine `pose`, (2, 3): face coordinates -> pixels of the canvas."""

    draw: ImageDraw.ImageDraw
    pose: NDArray[np.float64]

    def shifted(self, dx: float, dy: float) -> Pen:
        """The same pen for parts that stand out from the head, and so move more when it turns."""
        pose = self.pose.copy()
        pose[:, 2] += pose[:, :2] @ (dx, dy)
        return Pen(self.draw, pose)

    def fill(self, points: ArrayLike, colour: ArrayLike, alpha: float = 1.0) -> None:
        placed = np.asarray(points) @ self.pose[:, :2].T + self.pose[:, 2]
        self.draw.polygon(placed.ravel().tolist(), fill=_rgba(colour, alpha))

    def oval(self, x: float, y: float, rx: float, ry: float, colour: ArrayLike, alpha: float = 1.0) -> None:
        self.fill(_CIRCLE * (rx, ry) + (x, y), colour, alpha)

    def strokes(self, lines: Points, width: ArrayLike, colour: ArrayLike, alpha: ArrayLike = 1.0) -> None:
        """Brush strokes along (N, K, 2) curves, thick in the middle; `width` and `alpha` are one or N values."""
        count, steps = lines.shape[:2]
        along = np.empty_like(lines)
        along[:, 1:-1] = lines[:, 2:] - lines[:, :-2]
        along[:, 0], along[:, -1] = lines[:, 1] - lines[:, 0], lines[:, -1] - lines[:, -2]
        across = np.stack([-along[..., 1], along[..., 0]], axis=-1)
        across /= np.hypot(across[..., :1], across[..., 1:]) + 1e-9
        swell = np.sin(np.linspace(0.12, np.pi - 0.12, steps))[:, None]
        half = across * swell * 0.5 * np.broadcast_to(width, count)[:, None, None]
        placed = np.concatenate([lines + half, (lines - half)[:, ::-1]], axis=1) @ self.pose[:, :2].T + self.pose[:, 2]
        for outline, opacity in zip(placed.reshape(count, -1).tolist(), np.broadcast_to(alpha, count), strict=True):
            if opacity > 0.01:
                self.draw.polygon(outline, fill=_rgba(colour, float(opacity)))


def _rgba(colour: ArrayLike, alpha: float) -> tuple[int, int, int, int]:
    r, g, b = (min(max(int(value), 0), 255) for value in np.asarray(colour).tolist())
    return r, g, b, round(255 * min(max(alpha, 0.0), 1.0))
