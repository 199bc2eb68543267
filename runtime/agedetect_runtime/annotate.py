"""`--annotate`: a copy of each picture with the ages written on it, and the boxes of the faces that were found."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from PIL import Image, ImageDraw, ImageFont

from agedetect_runtime.errors import AgedetectError, ImageError
from agedetect_runtime.images import open_rgb
from agedetect_runtime.listing import Omitted, is_folder
from agedetect_runtime.memory import decoding
from agedetect_runtime.partfile import in_one_line
from agedetect_runtime.rows import FaceRow, rows_of

if TYPE_CHECKING:
    from agedetect_runtime.estimate import Result
    from agedetect_runtime.finding import Finding

_KEPT = {".jpg": "JPEG", ".jpeg": "JPEG", ".jpe": "JPEG", ".jfif": "JPEG", ".png": "PNG", ".webp": "WEBP"}
_PATIENCE_SECONDS = 30.0  # an image that never ends is given up by the thread that writes the copies
_COLOUR, _BACK = (255, 255, 255), (180, 60, 0)
_LARGEST_TEXT, _SMALLEST_TEXT = 1 / 12, 8  # of the shorter side; pixels


class Annotator:
    """Copies into `folder`, which is new or empty: the name of a picture below an argument's folder, or its own."""

    def __init__(self, folder: Path, arguments: Sequence[str]) -> None:
        """Raises AgedetectError for a folder that holds something, or that lies among the pictures."""
        self._folder = folder
        self.missing = Omitted("without a copy")
        self._tops = [_normal(argument) for argument in arguments if is_folder(argument)]
        for top in self._tops:
            if folder.resolve().is_relative_to(top.resolve()):
                raise AgedetectError(f"{folder}: is in {top}, whose images are read; choose a folder outside")
        with in_one_line(str(folder)):
            folder.mkdir(parents=True, exist_ok=True)
            if next(folder.iterdir(), None) is not None:
                raise AgedetectError(f"{folder}: is not empty; choose a new folder")

    def add(self, answer: Result | Finding) -> None:
        """A copy, in the original size and upright, of a picture that has an age; in `missing`, where there is none."""
        rows = [row for row in rows_of(answer) if row.result.error is None]
        if not rows:
            return
        try:
            with decoding(patience=_PATIENCE_SECONDS):
                picture = open_rgb(answer.source)
        except ImageError as error:  # deleted since, or larger than what is read for its age alone
            self.missing.add(f"{answer.source!s}: {error}")
            return
        for row in rows:
            _draw(picture, row)
        try:
            path = self._place(str(answer.source))
            path.parent.mkdir(parents=True, exist_ok=True)
            kind = _KEPT.get(path.suffix.lower(), "PNG")
            options = (
                {"quality": 95, "subsampling": 0} if kind == "JPEG" else {"lossless": True} if kind == "WEBP" else {}
            )
            picture.save(path, kind, **options)
        except OSError as error:
            self.missing.add(f"{answer.source!s}: its copy cannot be written: {(error.strerror or str(error)).lower()}")

    def _place(self, source: str) -> Path:
        """The picture's name, with .png behind it where its format isn't kept, and -2, -3 ... where it is taken."""
        picture = _normal(source)
        below = [picture.relative_to(top) for top in self._tops if picture.is_relative_to(top)]
        path = self._folder / min(below, key=lambda rest: len(rest.parts), default=Path(picture.name))
        if path.suffix.lower() not in _KEPT:
            path = path.with_name(f"{path.name}.png")
        number, taken = 1, path
        while path.exists():
            number += 1
            path = taken.with_stem(f"{taken.stem}-{number}")
        return path


def _normal(path: str) -> Path:
    """Absolute, without `..` and doubled slashes; links stay."""
    return Path(os.path.normpath(Path(path).absolute()))


def age_text(row: FaceRow) -> str:
    """`34`, or `34 (27-42)` with an interval, as in the table."""
    result = row.result
    age = f"{result.age:.0f}"
    return age if result.low is None or result.high is None else f"{age} ({result.low:.0f}-{result.high:.0f})"


def _draw(picture: Image.Image, row: FaceRow) -> None:
    """The age above its face's box, or at the lower edge of a picture that is one face."""
    pen = ImageDraw.Draw(picture)
    width, height = picture.size
    left, top, room = 0.0, float(height), float(width)
    if row.face is not None:
        x, y, face_width, face_height = row.face.box
        line = max(1, min(width, height) // 250)
        pen.rectangle((x, y, x + face_width, y + face_height), outline=_BACK, width=line)
        left, top, room = max(0.0, x), y, max(face_width, 60.0)
    text = age_text(row)
    font = _font(text, room, min(width, height))
    box = pen.textbbox((0, 0), text, font=font)
    margin = max(1.0, (box[3] - box[1]) / 5)
    text_height, text_width = box[3] - box[1] + 2 * margin, box[2] - box[0] + 2 * margin
    left = max(0.0, min(left, width - text_width))
    top = max(0.0, min(top - text_height, height - text_height))
    pen.rectangle((left, top, left + text_width, top + text_height), fill=_BACK)
    pen.text((left + margin - box[0], top + margin - box[1]), text, fill=_COLOUR, font=font)


def _font(text: str, room: float, side: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    """As large as fits into `room` pixels of width, a twelfth of the picture's shorter side at most."""
    size = max(_SMALLEST_TEXT, side * _LARGEST_TEXT)
    font = ImageFont.load_default(size)
    length = font.getbbox(text)[2]
    return font if length <= 0.95 * room else ImageFont.load_default(max(_SMALLEST_TEXT, size * 0.95 * room / length))
