"""Where an interrupted job goes on: the rows that it left are compared with the images that are to have some."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from itertools import chain
from typing import NamedTuple

from agedetect_runtime.formats import Format, RowKey
from agedetect_runtime.partfile import PartFile, Place
from agedetect_runtime.table import printable


class Skipped(NamedTuple):
    """`done` images have rows, `failed` of them one with an error, with `faces` faces; `missing` are the others."""

    missing: Iterator[str]
    done: int
    failed: int
    faces: int


class _Image(NamedTuple):
    """The rows of one image: its name, whether one has an error, how many are faces, and where the first begins."""

    name: str
    failed: bool
    faces: int
    start: Place


def skip(part: PartFile, paths: Iterator[str], form: Format, *, faces: bool) -> Skipped:
    """Take from `paths` those that have rows.

    Rows and paths are compared one by one: nothing has to be remembered, and ten million rows take a minute. Nothing
    says whether the last photo has all of its faces in the file, so with `faces` its rows are removed, to be written
    again. Raises AgedetectError where rows and paths don't fit.
    """
    done = failed = found = 0
    image: _Image | None = None
    path: str | None = None
    for image in _images(part, form):
        path = next(paths, None)
        if path is None or form.name(path) != image.name:
            now = "there is none" if path is None else f"it is {printable(path)}"
            raise part.refusal(
                f"its image {done + 1} is {printable(image.name)}, now {now}: new images may only be added at the end"
            )
        done += 1
        failed += image.failed
        found += image.faces
    if not faces or image is None or path is None:
        part.cut(part.place)
        return Skipped(paths, done, failed, found)
    part.cut(image.start)
    return Skipped(chain([path], paths), done - 1, failed - image.failed, found - image.faces)


def _images(part: PartFile, form: Format) -> Iterator[_Image]:
    """A row with the face 1, or without a face, is an image's first."""
    image: _Image | None = None
    face, start = 0, part.start
    for number, row in enumerate(part.rows(), 1):
        key = _key(row, form)
        if key is not None and (key.face is None or key.face == 1):
            if image is not None:
                yield image
            image = _Image(key.name, bool(key.error), key.face or 0, start)
        elif key is not None and image is not None and key[:2] == (image.name, face + 1):
            image = image._replace(failed=image.failed or bool(key.error), faces=face + 1)
        else:
            raise part.refusal(f"its row {number} is damaged")
        face, start = key.face or 0, part.place
    if image is not None:
        yield image


def _key(row: str, form: Format) -> RowKey | None:
    """None for a row that can't be read."""
    try:
        return form.read(row)
    except (ValueError, LookupError, TypeError, csv.Error):
        return None
