"""Eyes, brows, nose, mouth and what the years draw around them."""

from __future__ import annotations

import numpy as np

from agedetect.synthetic.looks import Looks
from agedetect.synthetic.pen import Pen, Points, arcs, both_sides, rounded

_INK = np.array((38.0, 26.0, 24.0))
_DISC = np.stack([np.cos(a := np.linspace(0, 2 * np.pi, 20, endpoint=False)), np.sin(a)], axis=1)


def head_outline(looks: Looks) -> Points:
    """The head without ears and hair, closed, (K, 2)."""
    eye, mouth = looks.eye_y, looks.mouth_y
    half = [
        (0.0, looks.top_y),
        (0.66 * looks.temple_w, looks.top_y + 0.17 * (eye - looks.top_y)),
        (looks.temple_w, eye - 22),
        (looks.temple_w, eye + 8),
        (looks.cheek_w, 0.45 * eye + 0.55 * mouth),
        (looks.jaw_w, mouth + 0.38 * (looks.chin_y - mouth)),
        (looks.chin_w, looks.chin_y - 3),
        (0.0, looks.chin_y),
    ]
    return rounded(both_sides(half))


def draw_eyes(pen: Pen, looks: Looks, gaze: float) -> None:
    """Both eyes; `gaze` is the irises' way to the right, in px."""
    rx, ry, droop = looks.eye_rx, looks.eye_ry, 3.2 * looks.wear
    x = np.linspace(-rx, rx, 13)
    bulge = np.clip(1 - (x / rx) ** 2, 0, 1)
    white = np.array((250.0, 249.0, 246.0)) - looks.wear * np.array((14.0, 18.0, 30.0))
    for side in (-1.0, 1.0):
        sag = droop * np.clip(side * x / rx, 0, 1) ** 2
        upper, lower = -ry * bulge**0.65 + sag, 0.72 * ry * bulge**0.8 + sag * 0.6
        at = np.array((side * looks.eye_x, looks.eye_y))
        lids = np.concatenate([np.stack([x, upper], 1), np.stack([x, lower], 1)[::-1]])
        pen.fill(lids + at, white)
        for radius, colour in ((1.0, looks.iris * 0.72), (0.84, looks.iris * 1.15), (0.48, _INK * 0.5)):
            disc = _DISC * radius * looks.iris_r + (gaze, -0.06 * ry)
            disc[:, 1] = np.clip(disc[:, 1], np.interp(disc[:, 0], x, upper), np.interp(disc[:, 0], x, lower))
            pen.fill(disc + at, colour)
        glint = 0.26 * looks.iris_r
        pen.oval(at[0] + gaze - 0.3 * looks.iris_r, at[1] - 0.36 * ry, glint, glint, (255, 255, 255), 0.95)
        _draw_lids(pen, looks, at, np.stack([x, upper], 1), np.stack([x, lower], 1), side)


def _draw_lids(pen: Pen, looks: Looks, at: Points, upper: Points, lower: Points, side: float) -> None:
    shade = looks.skin * 0.62
    pen.strokes((upper + at)[None], 2.6 + 0.9 * looks.gender, _INK, 0.88)
    pen.strokes((lower + at)[None], 1.3, shade, 0.7)
    fold = upper * (1.08, 0.8) + at - (0, 5.0 - 1.2 * looks.wear)
    pen.strokes(fold[None], 1.6 + 1.2 * looks.wear, shade, 0.5 + 0.25 * looks.wear)
    if looks.gender == 1:
        tips = upper[[0, 1, 2]] if side < 0 else upper[[12, 11, 10]]
        out = np.array([(side * 5.0, -3.5), (side * 3.6, -5.0), (side * 2.0, -5.5)]) * (0.8 + 0.2 * looks.youth)
        lashes = np.concatenate([tips + at, tips + at + out, np.full((3, 1), 1.0)], axis=1)
        pen.strokes(arcs(lashes, 5), 1.7, _INK, 0.85)


def draw_brows(pen: Pen, looks: Looks, lift: float) -> None:
    y = looks.eye_y - looks.eye_ry - 10 - 2 * looks.youth
    inner, outer = looks.eye_x - looks.eye_rx * 0.95, looks.eye_x + looks.eye_rx * 1.2
    rows = [(s * inner, y + 2, s * outer, y + 3 + 2 * looks.wear, -4.5 - lift) for s in (-1, 1)]
    pen.strokes(arcs(rows), looks.brow_h, looks.hair * 0.78, 0.9 - 0.5 * looks.youth - 0.2 * looks.wear)


def draw_nose(pen: Pen, looks: Looks, light: float) -> None:
    """`light` < 0: it comes from the left, so the nose's shadow falls to the right."""
    y, w = looks.nose_y, looks.nose_w
    shade = looks.skin * (0.7, 0.62, 0.6)
    side = 1.0 if light < 0 else -1.0
    bridge = (side * 0.42 * w, looks.eye_y + 4, side * 0.62 * w, y - 5, 0.0)
    pen.strokes(arcs([bridge]), 4.5, shade, 0.34 * (1 - 0.75 * looks.youth))
    pen.strokes(arcs([(-0.66 * w, y + 1.5, 0.66 * w, y + 1.5, 3.2)]), 2.6, shade, 0.75)
    wings = [(s * 0.8 * w, y - 7, s * 0.86 * w, y + 1, 0.5) for s in (-1, 1)]
    pen.strokes(arcs(wings) + np.array([[[-1.5, 0]], [[1.5, 0]]]), 2.2, shade, 0.6 * (1 - 0.6 * looks.youth))
    for s in (-1, 1):
        pen.oval(s * 0.42 * w, y + 0.6, 0.2 * w, 0.12 * w, looks.skin * 0.34, 0.75)


def draw_mouth(pen: Pen, looks: Looks, is_open: bool) -> None:
    y, w, h = looks.mouth_y, looks.mouth_w, max(looks.lip_h, 1.6)
    corner = y - 9.0 * looks.smile * (1 - 0.3 * looks.youth)
    low = y + (7 + 6 * looks.youth if is_open else 1)
    middle = arcs([(-w, corner, w, corner, y + 1 - corner)])[0]
    bottom = arcs([(-w, corner, w, corner, low + 1 - corner)])[0]
    bow = arcs([(-w, corner, 0, y - 0.8 * h + 1, -0.16 * h), (0, y - 0.8 * h + 1, w, corner, -0.16 * h)]).reshape(-1, 2)
    pen.fill(np.concatenate([bow, middle[::-1]]), looks.lips * 0.93)
    pen.fill(arcs([(-0.9 * w, corner + 1, 0.9 * w, corner + 1, low + 1.15 * h - corner)])[0], looks.lips)
    if is_open:
        pen.fill(np.concatenate([middle, bottom[::-1]]), (96, 36, 40))
        _draw_teeth(pen, looks, middle, bottom)
    pen.strokes(middle[None], 2.0, looks.lips * 0.45, 0.85)
    pen.strokes(arcs([(-0.5 * w, low + 1.5 * h, 0.5 * w, low + 1.5 * h, 1.5)]), 2.0, looks.skin * 0.72, 0.35)
    dimples = [(s * (w + 1), corner - 3, s * (w + 2), corner + 4, 0.0) for s in (-1, 1)]
    pen.strokes(arcs(dimples), 2.0, looks.skin * 0.62, 0.55)


def _draw_teeth(pen: Pen, looks: Looks, top: Points, bottom: Points) -> None:
    """The upper row between the lips' inner edges, (9, 2) each; babies have two teeth."""
    ivory = np.array((251.0, 249.0, 243.0)) - looks.wear * np.array((14.0, 22.0, 44.0))
    if looks.has_milk_teeth:
        for x in (-2.2, 2.2):
            pen.oval(x, looks.mouth_y + 2.4, 2.0, 2.2, ivory)
    else:
        edge = (top + bottom) / 2
        pen.fill(np.concatenate([top[1:8], edge[1:8][::-1]]), ivory)
