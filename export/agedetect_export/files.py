"""Where an export's files go: all of them, or everything stays as it was."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from agedetect_runtime import AgedetectError

GOLDEN = "golden.json"


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


@contextmanager
def in_place(places: Mapping[Path, Path], aside: Path) -> Iterator[None]:
    """Move each made file to its place; where that or the body fails, every place is as it was.

    `aside` keeps the earlier files meanwhile, on the same file system.
    """
    aside.mkdir()
    try:
        for made, place in places.items():
            if os.path.lexists(place):
                place.replace(aside / place.name)
            made.replace(place)
        yield
    except BaseException:
        for made, place in places.items():
            if os.path.lexists(aside / place.name):
                (aside / place.name).replace(place)
            elif not made.exists():
                place.unlink(missing_ok=True)
        raise


@contextmanager
def disk_errors(output: Path) -> Iterator[None]:
    """A full disk or a read-only folder is the user's to mend: AgedetectError."""
    try:
        yield
    except OSError as error:
        where = f" ({error.filename})" if error.filename else ""
        reason = f"{error.strerror or error}{where}"
        raise AgedetectError(f"{output}: cannot be written: {reason}; mend that or give another --output") from error
