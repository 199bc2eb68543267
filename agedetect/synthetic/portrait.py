"""The order in which a face is drawn, back to front."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from agedetect.synthetic.ageing import draw_spots, draw_wrinkles
from agedetect.synthetic.features import draw_brows, draw_eyes, draw_mouth, draw_nose, head_outline
from agedetect.synthetic.hair import draw_back_hair, draw_beard, draw_glasses, draw_hair, sample_hairstyle
from agedetect.synthetic.looks import Looks, sample_looks
from agedetect.synthetic.pen import Pen, rounded
from agedetect.synthetic.scene import paint_background, photograph

_SUPERSAMPLING = 2
_CHIP = 200  # px: the measures in `looks` are those of a UTKFace chip


def draw_face(age: int, gender: int, race: int, rng: np.random.Generator, size: int = _CHIP) -> Image.Image:
    """A face of that age in years, RGB, `size` x `size` px, laid out as UTKFace's aligned chips are.

    `gender` (0, 1) and `race` (0 to 4) are UTKFace's codes: they vary hair and colours and say nothing about the
    age. Everything else, pose, light and background included, comes from `rng`.
    """
    looks = sample_looks(age, gender, race, rng)
    style = sample_hairstyle(gender, race, rng)
    pose = _sample_pose(size, rng)
    light = float(rng.choice((-1, 1)) * rng.uniform(0.2, 1))
    turn, nod = rng.normal(0, 2.2), rng.normal(0, 1.2)
    image = paint_background(_SUPERSAMPLING * size, rng)
    pen = Pen(ImageDraw.Draw(image, "RGBA"), pose * _SUPERSAMPLING)
    front = pen.shifted(turn, nod)
    outline = head_outline(looks)
    draw_back_hair(pen, looks, style)
    _draw_body(pen, looks, rng)
    pen.fill(outline, looks.skin)
    draw_spots(front, looks, rng)
    draw_beard(pen, looks, style, outline)
    draw_nose(pen.shifted(1.7 * turn, 1.5 * nod), looks, light)
    draw_mouth(front, looks, is_open=looks.smile > 0.45 and bool(rng.random() < 0.6))
    draw_eyes(front, looks, gaze=float(np.clip(rng.normal(0, 1.3), -3, 3)))
    draw_wrinkles(front, looks, rng)
    draw_brows(front, looks, lift=float(rng.normal(0, 1)))
    draw_hair(pen, looks, style, rng)
    if rng.random() < 0.13:
        draw_glasses(front, looks, rng.uniform(20, 140, 3), squareness=float(rng.random()))
    return photograph(image.reduce(_SUPERSAMPLING), looks, pose, light, rng)


def _sample_pose(size: int, rng: np.random.Generator) -> NDArray[np.float64]:
    """Face coordinates -> pixels, (2, 3): turned by some degrees, scaled and shifted a little, around the face."""
    angle, zoom = np.radians(rng.normal(0, 4)), 0.87 * rng.lognormal(0, 0.045)
    turned = zoom * np.array(((np.cos(angle), -np.sin(angle)), (np.sin(angle), np.cos(angle))))
    centre = np.array((99.0, 100.0)) + rng.normal(0, 3.0, 2)
    pose = np.column_stack([turned, centre - turned @ (0.0, 98.0)])
    return pose * size / _CHIP


def _draw_body(pen: Pen, looks: Looks, rng: np.random.Generator) -> None:
    """Clothes, neck and ears."""
    cloth = rng.uniform(30, 230, 3)
    neck, chin = 0.74 * looks.jaw_w - 8 * looks.youth, looks.chin_y
    wide = rng.uniform(82, 112)
    pen.fill([(-neck, chin - 40), (neck, chin - 40), (neck + 4, 235), (-neck - 4, 235)], looks.skin * 0.86)
    pen.oval(0, chin - 2, neck, 13, looks.skin * 0.66, 0.7)
    shoulder = [(neck + 2, chin + 8), (wide, chin + 26), (wide + 12, 245), (0, 245)]
    pen.fill(rounded([(0, chin + 26), *shoulder, *((-x, y) for x, y in shoulder[-2::-1])]), cloth)
    pen.strokes(
        rounded([(-neck - 3, chin + 8), (0, chin + 24), (neck + 3, chin + 8), (0, chin + 24)])[None], 4.0, cloth * 0.7
    )
    ear = 1 + 0.18 * looks.wear - 0.1 * looks.youth
    for side in (-1, 1):
        x, y = side * (looks.temple_w + 2), looks.eye_y + 17
        pen.oval(x, y, 10 * ear, 19 * ear, looks.skin * 0.95)
        pen.oval(x + side, y + 1, 5 * ear, 11 * ear, looks.skin * 0.76, 0.7)
