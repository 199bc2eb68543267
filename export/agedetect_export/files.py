"""Where an export's files go: all of them, or everything stays as it was."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from agedetect_runtime import AgedetectError

GOLDEN = "golden.json"
EARLIER = "earlier"  # in an export's own folder: the files that it replaces


def report_path(output: Path) -> Path:
    """Where the report of an export to `output` is written."""
    return output.with_suffix(".parity.json")


def description_path(output: Path) -> Path:
    """Where the description of an export to `output` is written."""
    return output.with_name(f"{output.name}.json")


def check_golden(place: Path | None, *, force: bool) -> None:
    """Raises AgedetectError where golden vectors can't be written to the folder `place`; `force` replaces earlier ones.

    Nothing else is ever replaced: with `force` a folder that holds other files is refused too.
    """
    if place is None:
        return

    if not place.parent.is_dir():
        raise AgedetectError(f"{place}: there is no folder {place.parent}; create it first")
    if os.path.lexists(place) and not (force and (place / GOLDEN).is_file()):
        remedy = "holds no golden vectors; give another folder" if force else "exists; give another folder, or force"
        raise AgedetectError(f"{place} {remedy}")


def places_of(folder: Path, output: Path) -> dict[Path, Path]:
    """The files that an export to `output` makes in its own folder, and their places."""
    made = folder / output.name
    return {path(made): path(output) for path in (Path, report_path, description_path)}


@contextmanager
def exclusive(output: Path) -> Iterator[None]:
    """No other export to `output` meanwhile; what a killed one left is undone first.

    Raises AgedetectError where another one is under way, and where the folder isn't there or can't be written.
    """
    with locked(output):
        for left in left_behind(output):
            if (left / EARLIER).is_dir():
                _put_back(places_of(left, output), left / EARLIER)
            shutil.rmtree(left)
        yield


@contextmanager
def locked(place: Path) -> Iterator[None]:
    """Raises AgedetectError where another process has locked the place, or where its folder can't be written."""
    from filelock import FileLock, Timeout  # of the training extra, whose absence the command tells in one line

    if not place.parent.is_dir():
        raise AgedetectError(f"{place}: there is no folder {place.parent}; create it first")
    lock = FileLock(place.with_name(f".{place.name}.lock"))
    with disk_errors(place):
        try:
            lock.acquire(timeout=0)
        except Timeout as error:
            raise AgedetectError(f"{place}: another export is writing it; wait, or choose another place") from error
    try:
        yield
    finally:
        with suppress(OSError):  # Windows deletes no open file
            Path(lock.lock_file).unlink()
        lock.release()


def left_behind(place: Path) -> list[Path]:
    """The folders beside it that killed exports have left."""
    name = re.compile(rf"\.{re.escape(place.name)}\.[a-z0-9_]{{8}}")  # as tempfile names them
    return [path for path in place.parent.iterdir() if name.fullmatch(path.name) and path.is_dir()]


@contextmanager
def in_place(places: Mapping[Path, Path], aside: Path) -> Iterator[None]:
    """Move each made file to its place; where that or the body fails, every place is as it was.

    `aside` keeps the earlier files meanwhile, on the same file system. A killed process leaves each file old or new.
    """
    aside.mkdir()
    try:
        for made, place in places.items():
            if os.path.lexists(place):
                _keep(place, aside / place.name)
            made.replace(place)
        yield
    except BaseException:
        _put_back(places, aside)
        raise
    aside.rename(aside.with_name("replaced"))  # from here on nothing is undone


def _keep(file: Path, copy: Path) -> None:
    """A second name for it, so that its place is never empty."""
    try:
        os.link(file, copy, follow_symlinks=False)
    except (OSError, NotImplementedError):  # FAT and some network drives have no links
        shutil.copy2(file, copy, follow_symlinks=False)


def _put_back(places: Mapping[Path, Path], aside: Path) -> None:
    for made, place in places.items():
        if os.path.lexists(aside / place.name):
            (aside / place.name).replace(place)
        elif not made.exists():
            place.unlink(missing_ok=True)


@contextmanager
def disk_errors(output: Path) -> Iterator[None]:
    """A full disk or a read-only folder is the user's to mend: AgedetectError."""
    try:
        yield
    except OSError as error:
        where = f" ({error.filename})" if error.filename else ""
        reason = f"{error.strerror or error}{where}"
        raise AgedetectError(f"{output}: cannot be written: {reason}; mend that or give another --output") from error
