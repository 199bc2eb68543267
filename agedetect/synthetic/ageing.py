"""Wrinkles, spots and fine lines: what the years write on skin."""

from __future__ import annotations

import numpy as np

from agedetect.synthetic.looks import Looks
from agedetect.synthetic.pen import Pen, arcs


def draw_wrinkles(pen: Pen, looks: Looks, rng: np.random.Generator) -> None:
    """Forehead, frown, crow's feet, eye bags, nasolabial folds, mouth corners: each sets in at its own time."""
    wear, ink = looks.wear, looks.skin * (0.56, 0.48, 0.46)
    groups = (
        (_forehead(looks), 0.05, 0.85),
        (_crows_feet(looks), 0.08, 0.95),
        (_nasolabial(looks), 0.0, 0.95),
        (_bags(looks), 0.02, 0.75),
        (_frown(looks), 0.25, 0.7),
        (_marionette(looks), 0.35, 0.7),
        (_cheeks(looks, rng), 0.5, 0.45),
    )
    for rows, onset, strength in groups:
        amount = (wear - onset) * strength
        moved = np.array(rows) + rng.normal(0, 0.8, (len(rows), 5))
        visible = amount * rng.uniform(0.7, 1.25, len(rows))
        if amount > 0:
            pen.strokes(arcs(moved), 1.8 + 2.0 * visible, ink, np.clip(visible * 1.5, 0, 0.8))


Rows = list[tuple[float, float, float, float, float]]


def _forehead(looks: Looks) -> Rows:
    y, w = looks.eye_y - 26, looks.temple_w * 0.5
    return [(-w * (1 - 0.1 * i), y - 8 * i, w * (1 - 0.1 * i), y - 8 * i, -2.5) for i in range(4)]


def _crows_feet(looks: Looks) -> Rows:
    x, y = looks.eye_x + looks.eye_rx + 3, looks.eye_y + 1
    fan = ((11.0, -8.0), (13.0, -1.0), (11.0, 7.0))
    return [(s * x, y + 0.3 * dy, s * (x + dx), y + dy, 1.0) for s in (-1, 1) for dx, dy in fan]


def _nasolabial(looks: Looks) -> Rows:
    top, low = looks.nose_y - 4, looks.mouth_y + 1
    return [(s * (looks.nose_w + 2), top, s * (looks.mouth_w + 8), low, -3.0) for s in (-1, 1)]


def _bags(looks: Looks) -> Rows:
    y, w = looks.eye_y + looks.eye_ry + 3, looks.eye_rx
    return [(s * (looks.eye_x - w), y + d, s * (looks.eye_x + w * 0.8), y + d, 4.0) for s in (-1, 1) for d in (0, 5)]


def _frown(looks: Looks) -> Rows:
    return [(s * 5.0, looks.eye_y - 20, s * 6.0, looks.eye_y - 7, 0.0) for s in (-1, 1)]


def _marionette(looks: Looks) -> Rows:
    x, y = looks.mouth_w + 3, looks.mouth_y + 5
    return [(s * x, y, s * (x + 4), y + 18, 0.0) for s in (-1, 1)]


def _cheeks(looks: Looks, rng: np.random.Generator) -> Rows:
    """Fine lines, five a side, roughly along the folds of the cheek."""
    side = np.repeat((-1.0, 1.0), 5)
    x = side * rng.uniform(0.55, 0.85, 10) * looks.cheek_w
    y = rng.uniform(looks.eye_y + 24, looks.mouth_y + 14, 10)
    lines = np.stack([x, y, x + side * rng.uniform(2, 6, 10), y + rng.uniform(8, 16, 10), np.zeros(10)], axis=1)
    return [tuple(row) for row in lines.tolist()]


def draw_spots(pen: Pen, looks: Looks, rng: np.random.Generator) -> None:
    """Age spots, and freckles at any age so that a dot alone proves nothing."""
    count = rng.poisson(13 * looks.blemish)
    x = rng.uniform(-0.82, 0.82, count) * looks.cheek_w
    y = rng.uniform(looks.hairline_y - 8, looks.mouth_y, count)
    for i in range(count):
        r = rng.uniform(1.2, 4.2)
        pen.oval(x[i], y[i], r, r * 0.8, looks.skin * (0.76, 0.66, 0.58), rng.uniform(0.2, 0.55))
    if rng.random() < 0.15:
        for fx, fy in rng.normal((0, looks.eye_y + 26), (24, 7), (16, 2)):
            pen.oval(fx, fy, 1.1, 1.0, looks.skin * (0.8, 0.68, 0.58), 0.5)
