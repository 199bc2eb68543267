"""Drawn, labelled sample faces: the data set of the demo, the notebook and the tests, made on the spot.

The contact sheet of the README comes from `python -m agedetect.synthetic.faces docs/drawn_faces.png`.
"""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Sequence
from datetime import datetime, timedelta
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from agedetect.errors import DataError
from agedetect.synthetic.portrait import draw_face
from agedetect_runtime.atomic import write_whole

__all__ = ["contact_sheet", "draw_face", "draw_faces"]

MIN_AGE, MAX_AGE = 1, 116
_SHEET_AGES = (1, 4, 8, 14, 20, 27, 35, 45, 55, 66, 78, 95)

# The shape of UTKFace's ages, by eye: many small children, most people in their twenties and thirties, a long tail.
_KNOTS = (1, 2, 5, 10, 15, 18, 24, 28, 36, 45, 60, 75, 90, 116)
_WEIGHTS = (40, 16, 11, 9, 9, 13, 29, 32, 21, 13, 11, 6, 3, 0.3)


def draw_faces(out: Path, count: int, seed: int = 0) -> list[Path]:
    """Write `count` faces into `out` as 200 px JPEG files in UTKFace's layout; the paths, in drawing order.

    The same seed gives the same bytes (with the same Pillow), and face i doesn't depend on `count`. Drawing again
    over the same faces is fine. Raises AgedetectError where `out` is a file, holds anything else or can't be written.
    """
    if count < 1:
        raise DataError(f"{count} faces can't be drawn; draw 1 or more")
    if seed < 0:
        raise DataError(f"seed {seed} is negative; take 0 or more")
    rngs = [np.random.default_rng((seed, index)) for index in range(count)]
    labels = [_label(rng) for rng in rngs]
    paths = [out / _name(label, index) for index, label in enumerate(labels)]
    _claim(out, {path.name for path in paths})
    for path, label, rng in zip(paths, labels, rngs, strict=True):
        _save(draw_face(*label, rng), path)
    return paths


def contact_sheet(ages: Sequence[int] = _SHEET_AGES, columns: int = 6, tile: int = 132, seed: int = 3) -> Image.Image:
    """One face an age, drawn at `tile` px with the age below it, in rows of `columns`; RGB."""
    caption, gap = 20, 6
    rows = -(-len(ages) // columns)
    size = (gap + columns * (tile + gap), gap + rows * (tile + caption + gap))
    sheet = Image.new("RGB", size, (250, 249, 246))
    draw = ImageDraw.Draw(sheet)
    font = ImageFont.load_default(14)
    for i, age in enumerate(ages):
        x, y = gap + i % columns * (tile + gap), gap + i // columns * (tile + caption + gap)
        face = draw_face(age, (i + i // columns) % 2, i % 5, np.random.default_rng((seed, i)))
        sheet.paste(face.resize((tile, tile), Image.Resampling.LANCZOS), (x, y))
        draw.text((x + tile / 2, y + tile + caption / 2), f"age {age}", fill=(60, 56, 52), font=font, anchor="mm")
    return sheet


def _save(face: Image.Image, path: Path) -> None:
    file = io.BytesIO()
    face.save(file, format="JPEG", quality=92)
    write_whole(path, file.getvalue())


def _label(rng: np.random.Generator) -> tuple[int, int, int]:
    """Age, gender and race, independent of each other."""
    age = int(np.searchsorted(_cumulative(), rng.random(), side="right")) + MIN_AGE
    return age, int(rng.integers(2)), int(rng.choice(5, p=(0.34, 0.2, 0.18, 0.18, 0.1)))


@cache
def _cumulative() -> NDArray[np.float64]:
    """P(age <= MIN_AGE + i); its last value is exactly 1, which `random()` never reaches."""
    total = np.cumsum(np.interp(np.arange(MIN_AGE, MAX_AGE + 1), _KNOTS, _WEIGHTS))
    share: NDArray[np.float64] = total / total[-1]
    return share


def _name(label: tuple[int, int, int], index: int) -> str:
    """`[age]_[gender]_[race]_[datetime].jpg.chip.jpg`; the time is made up, one a face, later with each."""
    age, gender, race = label
    time = datetime(2017, 1, 1) + index * timedelta(seconds=61, milliseconds=7)
    return f"{age}_{gender}_{race}_{time:%Y%m%d%H%M%S}{time.microsecond // 1000:03d}.jpg.chip.jpg"


def _claim(out: Path, names: set[str]) -> None:
    """Make the folder, or make sure that it holds nothing but these faces; hidden files may be half-written ones."""
    try:
        out.mkdir(parents=True, exist_ok=True)
        foreign = sorted({entry.name for entry in os.scandir(out) if not entry.name.startswith(".")} - names)
    except OSError as error:
        raise DataError(f"{out}: can't be used as a folder ({error.strerror}); name another") from error
    if foreign:
        raise DataError(f"{out}: already holds other files, such as {foreign[0]!r}; name a new or empty folder")


def _write_sheet(path: Path) -> None:
    """A palette keeps the picture small enough for a README."""
    sheet = contact_sheet()
    palette = sheet.quantize(256, method=Image.Quantize.MAXCOVERAGE, kmeans=3)
    sheet.quantize(palette=palette, dither=Image.Dither.FLOYDSTEINBERG).save(path, optimize=True)


if __name__ == "__main__":
    _write_sheet(Path(sys.argv[1]))
