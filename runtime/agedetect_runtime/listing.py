"""Which images a command line means: folders, files, and a list on standard input."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from typing import BinaryIO

from agedetect_runtime.errors import AgedetectError

_PHOTOS = {".avif", ".gif", ".jfif", ".jpe", ".jpeg", ".jpg", ".mpo", ".png", ".webp"}
_OTHERS = {".bmp", ".ico", ".j2k", ".jp2", ".pbm", ".pgm", ".pnm", ".ppm", ".tga", ".tif", ".tiff"}
SUFFIXES = frozenset(_PHOTOS | _OTHERS)


def list_images(arguments: Sequence[str], stdin: BinaryIO) -> tuple[Iterable[str], int | None]:
    """The paths that the arguments mean, in their order, and how many: None if `stdin` is still to be read.

    A folder stands for the images in it and below, by suffix, sorted by path, hidden ones left out; "-" for
    the paths on standard input, one a line, read as they are used; anything else for itself. Raises
    AgedetectError for a folder that can't be read or holds no image.
    """
    parts: list[Iterable[str]] = []
    total: int | None = 0
    for argument in arguments:
        if argument == "-":
            parts.append(_lines(stdin))
            total = None
            continue
        is_folder = os.path.isdir(argument)  # noqa: PTH112 (Path's raises where a parent is closed to us)
        paths = _images_below(argument) if is_folder else [argument]
        parts.append(paths)
        total = None if total is None else total + len(paths)
    return chain.from_iterable(parts), total


def _images_below(folder: str) -> list[str]:
    found: list[str] = []
    for parent, folders, names in os.walk(folder, onerror=_refuse):
        folders[:] = [name for name in folders if not name.startswith(".")]
        for name in names:
            if not name.startswith(".") and os.path.splitext(name)[1].lower() in SUFFIXES:  # noqa: PTH122
                found.append(os.path.join(parent, name))  # noqa: PTH118 (a Path for each costs more than the walk)
    if not found:
        raise AgedetectError(f"{folder}: no images in this folder or below")
    return sorted(found)


def _refuse(error: OSError) -> None:
    """os.walk leaves out in silence what it can't read."""
    raise AgedetectError(f"{error.filename}: cannot be read: {(error.strerror or '').lower()}") from error


def _lines(stdin: BinaryIO) -> Iterator[str]:
    for line in stdin:
        if path := line.rstrip(b"\r\n"):
            yield os.fsdecode(path)
