"""Writing a file whole: a killed process leaves the old file or the new one, never half of one."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

from agedetect_runtime.errors import AgedetectError


def write_whole(path: Path, text: str) -> None:
    """Write `text` as UTF-8 beside its place, then rename. File names that aren't UTF-8 keep their bytes.

    Missing folders are made. Raises AgedetectError where the file can't be written.
    """
    beside = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        beside.write_text(text, encoding="utf-8", errors="surrogateescape", newline="")
        beside.replace(path)
    except OSError as error:
        raise AgedetectError(f"{path.absolute()}: can't be written: {error.strerror or error}") from error
    finally:
        with suppress(OSError):
            beside.unlink()
