"""Data augmentation: random changes to a training face that leave its age as it is.

All randomness comes from the given generator, which the dataset seeds with (seed, epoch, image).
"""

from __future__ import annotations

from collections.abc import Collection

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from PIL import Image, ImageEnhance

from agedetect.data.geometry import Filling, Movement, move

Pixels = NDArray[np.uint8]

MIN_AREA = 0.8  # of the picture, kept by "crop": Paplham & Franc (CVPR 2024) take the same
# "affine": the crops that other people make of their pictures
SCALE, AFFINE_DEGREES, SHIFT = (0.6, 1.25), 15.0, 0.07  # of the face's size; of the picture's side
FILLINGS: tuple[Filling, ...] = ("reflect", "edge", "constant")
COLOUR = 0.25  # brightness, contrast and saturation are multiplied by 1 - COLOUR to 1 + COLOUR
ERASE_SHARE, ERASE_AREA, ERASE_RATIO = 0.3, (0.02, 0.15), (0.5, 2.0)  # Zhong et al., AAAI 2020

GEOMETRY = ("crop", "affine")


def geometric(image: Image.Image, chosen: Collection[str], random: Generator) -> Image.Image:
    """Before the resize. A square stays square."""
    if "crop" in chosen:
        share = random.uniform(MIN_AREA, 1) ** 0.5
        width, height = round(share * image.width), round(share * image.height)
        left, top = (int(random.integers(0, room + 1)) for room in (image.width - width, image.height - height))
        image = image.crop((left, top, left + width, top + height))
    if "affine" in chosen:
        image = _affine(image, random)
    return image


def _affine(image: Image.Image, random: Generator) -> Image.Image:
    """Scale, rotate and shift the face; what lies outside the picture is its reflection, its edge or black."""
    scale, degrees = np.exp(random.uniform(*np.log(SCALE))), random.uniform(-AFFINE_DEGREES, AFFINE_DEGREES)
    right, down = random.uniform(-SHIFT, SHIFT, 2)
    filling = FILLINGS[int(random.integers(len(FILLINGS)))]
    return move(image, Movement(scale, degrees, right, down), filling)


def colour_jitter(pixels: Pixels, random: Generator) -> Pixels:
    """At the size that the network sees. (S, S, 3) -> (S, S, 3)."""
    image = Image.fromarray(pixels)
    for enhance in (ImageEnhance.Brightness, ImageEnhance.Contrast, ImageEnhance.Color):
        image = enhance(image).enhance(random.uniform(1 - COLOUR, 1 + COLOUR))
    return np.array(image)


def random_erasing(pixels: Pixels, random: Generator) -> Pixels:
    """A rectangle of noise over some of the faces, in place: hands, hair and microphones hide parts of real ones."""
    if random.random() >= ERASE_SHARE:
        return pixels
    side = len(pixels)
    area, ratio = random.uniform(*ERASE_AREA) * side**2, np.exp(random.uniform(*np.log(ERASE_RATIO)))
    height, width = (
        min(side, max(1, round(float(length)))) for length in ((area * ratio) ** 0.5, (area / ratio) ** 0.5)
    )
    top, left = int(random.integers(0, side - height + 1)), int(random.integers(0, side - width + 1))
    pixels[top : top + height, left : left + width] = random.integers(0, 256, (height, width, 3), np.uint8)
    return pixels
