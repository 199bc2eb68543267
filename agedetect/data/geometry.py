"""A picture with its face of another size, turned or shifted: for training, and to measure what the crop matters."""

from __future__ import annotations

from typing import Literal, NamedTuple

import numpy as np
from PIL import Image

_MARGIN = 0.75  # of the side, filled around the picture: enough for 0.6 of the size at any turn

Filling = Literal["reflect", "edge", "constant"]


class Movement(NamedTuple):
    """What is done to a face: first it is shifted, then turned and scaled about the middle of the picture.

    `scale` is how many times as large it gets, `degrees` turn it clockwise, `right` and `down` are shares of the
    picture's shorter side.
    """

    scale: float = 1.0
    degrees: float = 0.0
    right: float = 0.0
    down: float = 0.0


def move(image: Image.Image, movement: Movement, filling: Filling = "reflect") -> Image.Image:
    """The centre square, 1 / scale times as many pixels wide: none is averaged away before the resize to come.

    What lies outside the picture is its reflection, its edge repeated, or black ("constant"). Without a movement, a
    square picture keeps its pixels.
    """
    side = min(image.size)
    margin = int(_MARGIN * side)
    padded = np.pad(np.asarray(image), ((margin, margin), (margin, margin), (0, 0)), filling)
    window = round(side / movement.scale)
    cos, sin = np.cos(np.radians(movement.degrees)), np.sin(np.radians(movement.degrees))
    centre_x = padded.shape[1] / 2 - movement.right * side
    centre_y = padded.shape[0] / 2 - movement.down * side
    half = window / 2
    turn = (cos, sin, centre_x - half * (cos + sin), -sin, cos, centre_y - half * (cos - sin))
    filters = Image.Resampling.BILINEAR
    return Image.fromarray(padded).transform((window, window), Image.Transform.AFFINE, turn, filters)
