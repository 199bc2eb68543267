"""Writes an archive's images below a folder: nothing outside it, no links, no devices, no bombs."""

from __future__ import annotations

import gzip
import shutil
import stat
import tarfile
import zipfile
from dataclasses import dataclass
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import IO, cast

from agedetect.errors import DataError
from agedetect_runtime.listing import is_image_name

_CHUNK = 1 << 20
_TAR_BLOCK = 512
_ZIP_ENCRYPTED = 1


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What an archive may unpack to, in bytes and entries.

    Images are compressed already: more than `ratio` times the archive's size, once past
    `ratio_floor_bytes`, is a bomb and not a data set.
    """

    total_bytes: int = 16 << 30
    file_bytes: int = 256 << 20
    entries: int = 2_000_000
    ratio: float = 50
    ratio_floor_bytes: int = 64 << 20


DEFAULT_LIMITS = Limits()


def unpack(archive: Path, folder: Path, limits: Limits = DEFAULT_LIMITS) -> int:
    """Returns the number of images written. Its first bytes say what an archive is: names are often wrong.

    Raises DataError for what must not be unpacked, and lets pass what gzip, tarfile, zipfile and zlib raise
    for a damaged file.
    """
    meter = _Meter(archive, limits)
    with archive.open("rb") as file:
        magic = file.read(2)
    if magic == b"PK":
        return _unpack_zip(archive, folder, meter)
    with archive.open("rb") as raw, gzip.open(raw) if magic == b"\x1f\x8b" else raw as stream:
        return _unpack_tar(_MeteredTar(cast("IO[bytes]", stream), meter), folder, meter)


class _Meter:
    """Counts what comes out of an archive and stops at a limit."""

    def __init__(self, archive: Path, limits: Limits) -> None:
        self.archive, self.limits = archive.absolute(), limits
        allowed = max(limits.ratio_floor_bytes, limits.ratio * archive.stat().st_size)
        self.left = min(limits.total_bytes, allowed)
        self.entries = 0

    def take(self, count: int) -> None:
        self.left -= count
        if self.left < 0:
            raise DataError(f"{self.archive}: unpacks to far more than its size: no archive of images does")

    def entry(self, name: str, size: int) -> None:
        self.entries += 1
        if self.entries > self.limits.entries:
            raise DataError(f"{self.archive}: more than {self.limits.entries:,} entries; split it")
        if size > self.limits.file_bytes:
            raise self.refusal(name, f"would be {size:,} bytes; leave it out, it is no face image")

    def refusal(self, name: str, why: str) -> DataError:
        return DataError(f"{self.archive}: {name!r} {why}")


class _MeteredTar:
    """The unpacked byte stream of a tar file, for tarfile to read; keeps its last block."""

    def __init__(self, stream: IO[bytes], meter: _Meter) -> None:
        self.stream, self.meter, self.tail = stream, meter, b""

    def read(self, size: int = _CHUNK) -> bytes:
        data = self.stream.read(size)
        self.meter.take(len(data))
        self.tail = (self.tail + data)[-_TAR_BLOCK:]
        return data

    def finish(self) -> None:
        """Read to the end, where gzip keeps its checksum and tar a block of zeros."""
        while self.read():
            pass
        if self.tail.strip(b"\0"):
            raise tarfile.ReadError("no end mark")


def _unpack_tar(stream: _MeteredTar, folder: Path, meter: _Meter) -> int:
    written: set[Path] = set()
    with tarfile.open(fileobj=cast("IO[bytes]", stream), mode="r|") as tar:
        for member in tar:
            meter.entry(member.name, member.size)
            place = _place(folder, member.name, meter)
            if not (member.isdir() or member.isreg()):
                raise meter.refusal(member.name, "is a link or a device; pack plain files only")
            source = tar.extractfile(member) if place else None
            if place and source:
                _write(place, source)
                written.add(place)
    stream.finish()
    return len(written)


def _unpack_zip(archive: Path, folder: Path, meter: _Meter) -> int:
    written: set[Path] = set()
    with zipfile.ZipFile(archive) as zipped:
        for info in zipped.infolist():
            meter.entry(info.filename, info.file_size)
            place = _place(folder, info.filename, meter)
            if stat.S_IFMT(info.external_attr >> 16) not in (0, stat.S_IFREG, stat.S_IFDIR):
                raise meter.refusal(info.filename, "is a link or a device; pack plain files only")
            if info.flag_bits & _ZIP_ENCRYPTED:
                raise meter.refusal(info.filename, "has a password; pack it again without")
            if place and not info.is_dir():
                meter.take(info.file_size)  # zipfile never gives more than the size it was told
                _write_member(zipped, info, place, meter)
                written.add(place)
    return len(written)


def _write_member(zipped: zipfile.ZipFile, info: zipfile.ZipInfo, place: Path, meter: _Meter) -> None:
    try:
        with zipped.open(info) as source:
            _write(place, source)
    except NotImplementedError as error:
        raise meter.refusal(info.filename, f"can't be read ({error}); pack it with deflate") from error


def _place(folder: Path, name: str, meter: _Meter) -> Path | None:
    """Where the entry goes; None for what isn't an image."""
    path = PurePosixPath(name.replace("\\", "/"))
    if path.is_absolute() or ".." in path.parts or "\0" in name or PureWindowsPath(name).drive:
        raise meter.refusal(name, "leads outside the archive; pack it again with relative paths")
    if not is_image_name(path.name) or any(part.startswith(".") for part in path.parts):
        return None
    return folder.joinpath(*path.parts)


def _write(place: Path, source: IO[bytes]) -> None:
    place.parent.mkdir(parents=True, exist_ok=True)
    with place.open("wb") as file:
        shutil.copyfileobj(source, file, _CHUNK)
