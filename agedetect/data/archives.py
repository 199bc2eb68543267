"""A .tar.gz or .zip of images -> a folder in the cache, extracted once."""

from __future__ import annotations

import hashlib
import lzma
import os
import shutil
import tarfile
import tempfile
import zipfile
import zlib
from pathlib import Path

from agedetect.data.unpack import DEFAULT_LIMITS, Limits, unpack
from agedetect.errors import DataError
from agedetect_runtime.listing import walk_images

ARCHIVE_SUFFIXES = (".tar.gz", ".tgz", ".tar", ".zip")
_COUNT = ".agedetect-extracted"
_DAMAGE = (tarfile.TarError, zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError)


def is_archive(path: Path) -> bool:
    return path.name.lower().endswith(ARCHIVE_SUFFIXES)


def default_cache() -> Path:
    """`AGEDETECT_CACHE`, or `~/.cache/agedetect`."""
    chosen = os.environ.get("AGEDETECT_CACHE")
    return Path(chosen) if chosen else Path.home() / ".cache" / "agedetect"


def extract(archive: Path, cache_dir: Path | None = None, *, limits: Limits = DEFAULT_LIMITS) -> Path:
    """The folder that holds the archive's images, under `cache_dir` (default_cache() by default).

    The folder is named by the archive's content: the second call finds it and extracts nothing. It
    appears whole, by a rename. Files that aren't images, and hidden ones, are omitted. Raises DataError
    for an archive that is damaged, cut short or over the limits, or that holds a path leading outside, a
    link or a device.
    """
    cache = (cache_dir or default_cache()).absolute()
    try:
        target = cache / f"faces-{_digest(archive)}"
        if _is_whole(target):
            return target
        cache.mkdir(parents=True, exist_ok=True)
        scratch = Path(tempfile.mkdtemp(prefix=".extracting-", dir=cache))
    except OSError as error:
        raise DataError(f"{archive.absolute()}: can't be unpacked into {cache}: {error}") from error
    try:
        return _fill(archive, scratch / "images", target, limits)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _fill(archive: Path, folder: Path, target: Path, limits: Limits) -> Path:
    try:
        folder.mkdir()
        count = unpack(archive, folder, limits)
        (folder / _COUNT).write_text(f"{count}\n")
        if target.exists() and not _is_whole(target):
            target.rename(folder.with_name("broken"))  # into the scratch folder, which goes
        folder.rename(target)  # fails where another process was faster
    except _DAMAGE as error:
        raise _damaged(archive, error) from error
    except OSError as error:
        if _is_whole(target):  # another process was faster
            return target
        if error.errno is None:  # gzip and bz2 raise it for bad data; the system's own errors have a number
            raise _damaged(archive, error) from error
        raise DataError(f"{archive.absolute()}: can't be unpacked into {target.parent}: {error}") from error
    return target


def _damaged(archive: Path, error: Exception) -> DataError:
    return DataError(f"{archive.absolute()}: damaged or cut short ({error}); download it again")


def _digest(archive: Path) -> str:
    with archive.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:16]


def _is_whole(folder: Path) -> bool:
    """Whether as many images are there as were extracted: a cleaned-up cache must not shrink a data set."""
    try:
        expected = int((folder / _COUNT).read_text())
    except (OSError, ValueError):
        return False
    return sum(1 for _ in walk_images(str(folder))) == expected
