"""Which files are images, for training and inference alike, and which of them a command line names."""

from __future__ import annotations

import codecs
import os
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from itertools import chain
from typing import BinaryIO

from agedetect_runtime.errors import AgedetectError
from agedetect_runtime.lines_ahead import lines_ahead

_PHOTOS = {".avif", ".gif", ".heic", ".heif", ".hif", ".jfif", ".jpe", ".jpeg", ".jpg", ".mpo", ".png", ".webp"}
_OTHERS = {".bmp", ".ico", ".j2k", ".jp2", ".pbm", ".pgm", ".pnm", ".ppm", ".tga", ".tif", ".tiff"}
SUFFIXES = frozenset(_PHOTOS | _OTHERS)

_LONGEST_LINE = 8192  # bytes: twice the longest path that Linux opens
_AT_ONCE = 1 << 16  # names sorted at once, 5 MB of them: a folder of a million is read sixteen times
_NAMED = 3  # omitted files that are told by name
_NO_LIST = "-: standard input is not a list of paths, one per line"
_UTF_16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


@dataclass
class Omitted:
    """Files that the job passed over: how many, and the first of them. By default those that `list_images` finds.

    `own` are the real paths of the job's own files, which don't count.
    """

    why: str = "omitted by suffix"
    count: int = 0
    paths: list[str] = field(default_factory=list)
    own: Collection[str] = ()

    def add(self, path: str) -> None:
        if path.endswith(tuple(map(os.path.basename, self.own))) and os.path.realpath(path) in self.own:
            return
        self.count += 1
        if len(self.paths) < _NAMED:
            self.paths.append(path)

    def __str__(self) -> str:
        """For a closing line; empty if there are none."""
        from agedetect_runtime.names import name_text
        from agedetect_runtime.table import printable

        if not self.count:
            return ""
        files = "1 file" if self.count == 1 else f"{self.count} files"
        more = ", ..." if self.count > len(self.paths) else ""
        return f"{files} {self.why} ({', '.join(printable(name_text(path)) for path in self.paths)}{more})"


def list_images(
    arguments: Sequence[str], stdin: BinaryIO | None, omitted: Omitted | None = None
) -> tuple[Iterable[str], int | None]:
    """The paths that the arguments name, in order, and how many: None if `stdin` is a pipe.

    A folder stands for the images in it and below, by suffix, sorted by path, hidden ones omitted; "-" for
    the paths on standard input, one per line; anything else for itself. Folders are read here to count, and once more,
    as lines are, while their paths are used: none of it is kept. `omitted` is told the files of the folders that have
    another suffix. Raises AgedetectError for a folder that can't be
    read or holds no image, and for a standard input that is closed (None) or not a list.
    """
    parts: list[Iterable[str]] = []
    total: int | None = 0
    for argument in arguments:
        if argument == "-":
            if stdin is None:
                raise AgedetectError("-: standard input is closed")
            parts.append(_lines(stdin))
            lines = lines_ahead(stdin)
            total = None if total is None or lines is None else total + lines
        elif is_folder(argument):
            parts.append(walk_images(argument))
            count = sum(1 for _ in _walk(argument, partial(_images_first, omitted=omitted)))
            if count == 0:
                raise AgedetectError(f"{argument}: no images in this folder or below")
            total = None if total is None else total + count
        else:
            parts.append([argument])
            total = None if total is None else total + 1
    return chain.from_iterable(parts), total


def is_folder(path: str | os.PathLike[str]) -> bool:
    """Links followed; False where a folder above it is closed to us."""
    return os.path.isdir(path)  # noqa: PTH112 (Path's raises there)


def is_image_name(name: str) -> bool:
    """By its suffix; hidden files don't count."""
    return not name.startswith(".") and os.path.splitext(name)[1].lower() in SUFFIXES  # noqa: PTH122


def walk_images(folder: str | os.PathLike[str]) -> Iterator[str]:
    """The paths of the images in a folder and below, sorted; links are followed, hidden files and folders omitted.

    Memory grows with the folders, not with the files: a folder's names are sorted 65,536 at a time. Raises
    AgedetectError for a folder that can't be read.
    """
    return _walk(os.fspath(folder), _sorted_names)


def _walk(top: str, names_in: Callable[[str], Iterator[str]]) -> Iterator[str]:
    seen: set[tuple[int, int]] = set()
    entered: list[tuple[str, Iterator[str]]] = []  # the folders above the current path, and the rest of their names

    def enter(folder: str) -> None:
        with _refusing():
            status = os.stat(folder)  # noqa: PTH116 (a Path for each costs more than the walk)
        identity = status.st_dev, status.st_ino
        if identity not in seen:  # else a link to a folder above, or to one already read
            seen.add(identity)
            entered.append((folder, names_in(folder)))

    enter(top)
    while entered:
        folder, names = entered[-1]
        name = next(names, None)
        if name is None:
            entered.pop()
        elif name.endswith("/"):
            enter(os.path.join(folder, name[:-1]))  # noqa: PTH118
        else:
            yield os.path.join(folder, name)  # noqa: PTH118


def _sorted_names(folder: str) -> Iterator[str]:
    last = ""
    while names := _next_names(folder, last):
        yield from names
        last = names[-1]
        if len(names) < _AT_ONCE:
            return


def _next_names(folder: str, last: str) -> list[str]:
    """The first _AT_ONCE of the names behind `last`, sorted."""
    first: list[str] = []
    for name in _names(folder, behind=last):
        first.append(name)
        if len(first) == 2 * _AT_ONCE:
            first.sort()
            del first[_AT_ONCE:]
    return sorted(first)[:_AT_ONCE]


def _names(folder: str, behind: str = "", omitted: Omitted | None = None) -> Iterator[str]:
    """A folder's images and, with a slash, its folders: sorted like that, their contents are in the order of paths."""
    with _refusing(), os.scandir(folder) as entries:
        for entry in entries:
            is_folder = _is_folder(entry)
            name = f"{entry.name}/" if is_folder else entry.name
            if name <= behind or name.startswith("."):
                continue
            if is_folder or is_image_name(name):
                yield name
            elif omitted is not None:
                omitted.add(entry.path)


def _images_first(folder: str, omitted: Omitted | None) -> Iterator[str]:
    """A folder's images, then its folders: it is closed before they are opened, however deep they lie."""
    folders = []
    for name in _names(folder, omitted=omitted):
        if name.endswith("/"):
            folders.append(name)
        else:
            yield name
    yield from folders


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link that leads in circles: its row will say so
        return False


@contextmanager
def _refusing() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise AgedetectError(f"{error.filename}: cannot be read: {(error.strerror or '').lower()}") from error


def _lines(stdin: BinaryIO) -> Iterator[str]:
    """The paths of a list in any encoding that begins with its byte-order mark, else as the file system has them."""
    line = _next_line(stdin)
    if line.startswith(_UTF_16):
        yield from _utf_16_lines(stdin, line)
        return
    line = line.removeprefix(codecs.BOM_UTF8)
    while line:
        if len(line) > _LONGEST_LINE or b"\0" in line:
            raise AgedetectError(_NO_LIST)
        if path := line.rstrip(b"\r\n"):
            yield os.fsdecode(path)
        line = _next_line(stdin)


def _utf_16_lines(stdin: BinaryIO, piece: bytes) -> Iterator[str]:
    """`piece` and what follows it; each ends at a byte of the value of a newline, perhaps within a character."""
    decoder, rest, more = codecs.getincrementaldecoder("utf-16")(), "", True
    while more:
        try:
            rest += decoder.decode(piece, final=not piece)
        except UnicodeDecodeError as error:
            raise AgedetectError(_NO_LIST) from error
        *lines, rest = rest.split("\n")
        if len(rest) > _LONGEST_LINE or "\0" in rest:
            raise AgedetectError(_NO_LIST)
        more = bool(piece)
        yield from filter(None, (line.rstrip("\r") for line in (lines if more else [*lines, rest])))
        piece = _next_line(stdin)


def _next_line(stdin: BinaryIO) -> bytes:
    try:
        return stdin.readline(_LONGEST_LINE + 1)
    except OSError as error:
        raise AgedetectError(f"-: standard input cannot be read: {(error.strerror or '').lower()}") from error
