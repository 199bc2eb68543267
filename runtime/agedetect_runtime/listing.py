"""Which files are images, for training and inference alike; and which of them a command line means."""

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


def is_image_name(name: str) -> bool:
    """By its suffix; hidden files are none."""
    return not name.startswith(".") and os.path.splitext(name)[1].lower() in SUFFIXES  # noqa: PTH122


def walk_images(folder: str) -> Iterator[str]:
    """The images in a folder and below, links followed, each folder once, hidden ones left out.

    Raises AgedetectError for a folder that can't be read: os.walk would leave it out in silence.
    """
    seen = set()
    for parent, folders, names in os.walk(folder, onerror=_refuse, followlinks=True):
        status = os.stat(parent)  # noqa: PTH116 (a Path for each costs more than the walk)
        if (status.st_dev, status.st_ino) in seen:  # a link to a folder above, or to one already read
            folders.clear()
            continue
        seen.add((status.st_dev, status.st_ino))
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        yield from (os.path.join(parent, name) for name in names if is_image_name(name))  # noqa: PTH118


def _images_below(folder: str) -> list[str]:
    found = sorted(walk_images(folder))
    if not found:
        raise AgedetectError(f"{folder}: no images in this folder or below")
    return found


def _refuse(error: OSError) -> None:
    raise AgedetectError(f"{error.filename}: cannot be read: {(error.strerror or '').lower()}") from error


def _lines(stdin: BinaryIO) -> Iterator[str]:
    for line in stdin:
        if path := line.rstrip(b"\r\n"):
            yield os.fsdecode(path)
