"""What `agedetect crop` writes: the faces' files, the tables that list them, and a contact sheet."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path

from PIL import Image

from agedetect.data.labels import Label, LabelError
from agedetect_runtime.atomic import write_whole
from agedetect_runtime.finding import NO_FACE, CutFaces
from agedetect_runtime.names import name_cell

_JPEG_QUALITY = 95
_NAME_BYTES = 100  # of a photo's name in a chip's: the longest that a file system takes is 255, all told
_SHEET_FACES, _SHEET_COLUMNS, _SHEET_PIXELS = 400, 20, 80  # at most so many faces on the contact sheet


class ChipFolder:
    """Chips are written as they are added, to `suffix` files; what lists them by `finish`."""

    def __init__(self, out: Path, suffix: str, *, labelled: bool) -> None:
        self._out, self._suffix, self._photos = out, suffix, 0
        self._heading = ["path", "age", "gender", "race"] if labelled else ["path", "photo", "face"]
        self.faces: list[list[str]] = []
        self.not_found: list[tuple[str, str]] = []  # photo and reason

    def add(self, photo: Path, label: Label | LabelError | None, cut: CutFaces | str) -> None:
        """The next photo, and its faces or the reason why there are none."""
        self._photos += 1
        path = name_cell(str(photo))
        if isinstance(cut, str) or not cut.faces:
            self.not_found.append((path, cut if isinstance(cut, str) else NO_FACE))
            return
        for index, name in enumerate(self._write(cut, f"{self._photos:06}_{_short(photo.stem)}"), 1):
            self.faces.append([name, *(_labels(label) if isinstance(label, Label) else (path, str(index)))])

    def finish(self) -> None:
        """Without a face nothing is written, so that the folder can be used again."""
        if self.faces:
            _write_table(self._out / "faces.csv", self._heading, self.faces)
            _write_table(self._out / "not_found.csv", ["path", "reason"], self.not_found)
            _write_contact_sheet(self._out, [self._out / row[0] for row in self.faces])

    def _write(self, cut: CutFaces, stem: str) -> Iterator[str]:
        """The paths of the files below the folder, the largest face's first."""
        for index, chip in enumerate(cut.chips, 1):
            name = f"chips/{stem}.{self._suffix}" if index == 1 else f"chips/{stem}_{index}.{self._suffix}"
            file = io.BytesIO()
            save = partial(Image.fromarray(chip).save, file)
            save("PNG") if self._suffix == "png" else save("JPEG", quality=_JPEG_QUALITY, subsampling=0)
            write_whole(self._out / name, file.getvalue())
            yield name


def _short(stem: str) -> str:
    """The beginning of a name; an underscore for what can't be printed, as a byte that isn't UTF-8 can't."""
    shown = "".join(sign if sign.isprintable() else "_" for sign in stem)
    return shown.encode()[:_NAME_BYTES].decode(errors="ignore")


def _labels(label: Label) -> tuple[str, str, str]:
    return f"{label.age:g}", label.gender or "", label.race or ""


def _write_table(path: Path, heading: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([heading, *rows])
    write_whole(path, text.getvalue())


def _write_contact_sheet(out: Path, faces: Sequence[Path]) -> None:
    """All faces, or so many of them, evenly spaced."""
    step = max(1, -(-len(faces) // _SHEET_FACES))
    shown = faces[::step]
    rows = -(-len(shown) // _SHEET_COLUMNS)
    sheet = Image.new("RGB", (_SHEET_COLUMNS * _SHEET_PIXELS, rows * _SHEET_PIXELS))
    for index, path in enumerate(shown):
        with Image.open(path) as face:
            small = face.resize((_SHEET_PIXELS - 2,) * 2, Image.Resampling.BICUBIC)
        sheet.paste(small, (index % _SHEET_COLUMNS * _SHEET_PIXELS, index // _SHEET_COLUMNS * _SHEET_PIXELS))
    file = io.BytesIO()
    sheet.save(file, "JPEG", quality=90)
    write_whole(out / "contact_sheet.jpg", file.getvalue())
