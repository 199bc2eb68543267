"""Background, soft shading, light and camera: what a photograph adds to a face."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter

from agedetect.synthetic.looks import Looks

_CHIP = 200
_BLOTCH = np.array((0.55, 1.0, 1.0), dtype=np.float32)  # uneven skin is reddish more than dark
_COARSE = 40  # the soft shading is smooth: 40 x 40 samples are plenty


def paint_background(side: int, rng: np.random.Generator) -> Image.Image:
    """A gradient with a few shapes on it, RGB, `side` x `side`."""
    base = rng.uniform(80, 215) + rng.normal(0, 26, 3)
    corners = np.clip(base + rng.normal(0, 28, (3, 3, 1)) + rng.normal(0, 10, (3, 3, 3)), 0, 255)
    small = Image.fromarray(corners.astype(np.uint8))
    image = small.resize((side, side), Image.Resampling.BILINEAR)
    draw = ImageDraw.Draw(image, "RGBA")
    for _ in range(int(rng.integers(0, 6))):
        x, y = rng.uniform(-0.1, 1.1, 2) * side
        r = rng.uniform(0.05, 0.25) * side
        tint = np.clip(base + rng.normal(0, 50, 3), 0, 255).astype(int).tolist()
        colour = (*tint, int(rng.integers(40, 150)))
        if rng.random() < 0.6:
            draw.ellipse((x - r, y - r, x + r, y + r), fill=colour)
        else:
            draw.rectangle((x - r * 0.6, y - 2 * r, x + r * 0.6, y + 2 * r), fill=colour)
    return image


def photograph(
    image: Image.Image, looks: Looks, pose: NDArray[np.float64], light: float, rng: np.random.Generator
) -> Image.Image:
    """Shade, light, grain and blur a flat drawing.

    `pose` (2, 3) maps face coordinates to pixels of `image`; `light` is the light's side, -1 left to 1 right.
    """
    size = image.width
    u = (np.arange(_COARSE) + 0.5) * size / _COARSE
    pixels = np.stack(np.meshgrid(u, u), axis=-1) - pose[:, 2]
    face = pixels @ np.linalg.inv(pose[:, :2]).T
    soft = _shading(looks, face, light) * _lamp(light, rng)[:, :, None] * rng.normal(1, (0.04, 0.02, 0.045))
    gain = np.stack([_enlarge(soft[:, :, channel], size) for channel in range(3)], axis=-1)
    grain = rng.standard_normal((size, size), dtype=np.float32) * np.float32(rng.uniform(1.0, 4.5))
    blotches = rng.standard_normal((_COARSE, _COARSE)) * (0.8 + 8.0 * looks.blemish)
    texture = _enlarge(blotches, size) + grain * np.float32(0.2 + 2.0 * looks.blemish)
    texture *= _enlarge(_skin_mask(looks, face), size)
    values = np.asarray(image, dtype=np.float32) * gain + grain[:, :, None] + texture[:, :, None] * _BLOTCH
    shot = Image.fromarray(np.clip(values, 0, 255).astype(np.uint8))
    return shot.filter(ImageFilter.BoxBlur(float(rng.uniform(0.1, 0.6)) * size / _CHIP))


def _enlarge(field: NDArray[np.float64], size: int) -> NDArray[np.float32]:
    """(_COARSE, _COARSE) -> (size, size), bilinear; Pillow's way starts no threads and rounds alike everywhere."""
    small = Image.fromarray(field.astype(np.float32))
    return np.asarray(small.resize((size, size), Image.Resampling.BILINEAR), dtype=np.float32)


def _lamp(light: float, rng: np.random.Generator) -> NDArray[np.float64]:
    """Brightness over the picture: a level, and a slope towards the lamp."""
    v = np.linspace(-1, 1, _COARSE)
    slope = 0.2 * light * v[None, :] - rng.uniform(-0.1, 0.2) * v[:, None]
    bright: NDArray[np.float64] = rng.uniform(0.78, 1.16) * (1 + slope)
    return bright


def _skin_mask(looks: Looks, face: NDArray[np.float64]) -> NDArray[np.float64]:
    middle, tall = (looks.hairline_y + looks.chin_y) / 2, (looks.chin_y - looks.hairline_y) / 2
    far = np.hypot(face[..., 0] / looks.cheek_w, (face[..., 1] - middle) / tall)
    return np.clip((1.05 - far) * 5, 0, 1)


def _shading(looks: Looks, face: NDArray[np.float64], light: float) -> NDArray[np.float64]:
    """Gain a channel, (40, 40, 3), as a sum of soft blobs given as x, y, rx, ry, and strength in r, g, b."""
    eye, mouth, wear, youth = looks.eye_y, looks.mouth_y, looks.wear, looks.youth
    depth = 0.6 + abs(light)
    rosy = 0.6 + 0.6 * youth
    blobs = [
        (0, eye - 26, 34, 15, 0.07, 0.07, 0.07),
        (0, looks.nose_y - 5, 7, 9, 0.09, 0.09, 0.08),
        (0, mouth + 18, 20, 5, -0.06, -0.07, -0.07),
        (0, looks.chin_y - 10, 14, 8, 0.05, 0.05, 0.05),
        (-np.sign(light) * looks.temple_w, 0.5 * (eye + mouth), 24, 60, -0.14 * depth, -0.15 * depth, -0.14 * depth),
    ]
    for s in (-1, 1):
        blobs += [
            (s * looks.cheek_w * 0.72, 0.5 * (eye + mouth) + 2, 19, 14, 0.03 * rosy, -0.09 * rosy, -0.07 * rosy),
            (s * looks.eye_x, eye - 3, 20, 11, -0.06, -0.07, -0.06),
            (s * looks.eye_x, eye + looks.eye_ry + 6, 14, 5, -0.26 * wear, -0.3 * wear, -0.26 * wear),
            (s * looks.cheek_w * 0.74, mouth - 8, 11, 20, -0.13 * wear, -0.14 * wear, -0.13 * wear),
            (s * looks.temple_w * 0.92, eye - 12, 9, 16, -0.1 * wear, -0.1 * wear, -0.1 * wear),
            (s * looks.jaw_w * 0.9, looks.chin_y - 16, 12, 9, -0.12 * wear, -0.13 * wear, -0.13 * wear),
        ]
    b = np.array(blobs)
    dx, dy = (face[..., i, None] - b[:, i] for i in (0, 1))
    weight = np.exp(-((dx / b[:, 2]) ** 2) - (dy / b[:, 3]) ** 2)
    gain: NDArray[np.float64] = 1 + weight @ b[:, 4:]
    return gain
