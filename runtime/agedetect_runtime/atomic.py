"""Writing a file whole: a killed process or a full disk leaves the old file or the new one, never half of one."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from agedetect_runtime.errors import AgedetectError


def write_whole(path: Path, data: str | bytes) -> None:
    """Write `data` beside its place, then rename it. Missing folders are created, and a symbolic link stays one.

    Text is written as UTF-8, line endings as they are; file names in it that aren't UTF-8 keep their bytes
    (`surrogateescape`). Raises AgedetectError where the file can't be written, and leaves no temporary file.
    """
    content = data.encode(errors="surrogateescape") if isinstance(data, str) else data
    with _beside(path) as (beside, place):
        beside.write_bytes(content)
        beside.replace(place)


def check_place(path: Path) -> None:
    """Raise AgedetectError where `write_whole` can't write. Missing folders are created, and no file is left."""
    with _beside(path) as (beside, _):
        beside.touch()


@contextmanager
def _beside(path: Path) -> Iterator[tuple[Path, Path]]:
    """A temporary file and the place to rename it to."""
    place = Path(os.path.realpath(path))  # Path.resolve raises RuntimeError for a loop of links
    beside = place.with_name(f".{place.name}.{secrets.token_hex(4)}.part")
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        yield beside, place
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise AgedetectError(
            f"{path.absolute()}: cannot be written: {reason}; free some space or choose another path"
        ) from error
    finally:
        with suppress(OSError):
            beside.unlink()
