"""Fetching a file whose content is known beforehand: it comes whole and right, or not at all."""

from __future__ import annotations

import hashlib
import http.client
import sys
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import click

from agedetect_runtime.atomic import check_place, write_whole
from agedetect_runtime.errors import AgedetectError
from agedetect_runtime.terminal import is_terminal

_TIMEOUT_SECONDS = 30.0  # without a byte
_CHUNK_BYTES = 2**16


class KnownFile(NamedTuple):
    """Where a file is, and what its content must be: `sha256` in hex, and its size in bytes."""

    url: str
    sha256: str
    bytes: int


def fetch(file: KnownFile, place: Path, *, quiet: bool = False) -> None:
    """Download to `place`, showing the progress on a terminal unless `quiet`.

    The content is checked in memory and then written whole: an interrupted download leaves nothing. Raises
    AgedetectError, naming the address and the place, where it can't be had or isn't the file, and, before anything is
    asked for, where the place can't be written.
    """
    check_place(place)
    with _explained(file, place):
        data = _content(file, place.name, quiet=quiet)
    digest = hashlib.sha256(data).hexdigest()
    if digest != file.sha256:
        problem = f"is not the file that is known: {len(data):,} bytes with SHA-256 {digest}"
        raise AgedetectError(f"{file.url}: {problem}; {_by_hand(file, place)}")
    write_whole(place, data)


def is_whole(file: KnownFile, place: Path) -> bool:
    """Whether the file is there, and is the one that is known."""
    return sha256_of(place) == file.sha256


def sha256_of(place: Path) -> str | None:
    """In hex; None where there is no file, or none that can be read."""
    try:
        with place.open("rb") as opened:
            return hashlib.file_digest(opened, "sha256").hexdigest()
    except OSError:
        return None


def _content(file: KnownFile, name: str, *, quiet: bool) -> bytes:
    """At most one byte more than the file has; an answer that ends early raises http.client.IncompleteRead."""
    data = bytearray()
    with (
        urllib.request.urlopen(file.url, timeout=_TIMEOUT_SECONDS) as answer,
        _progress(file, name, quiet=quiet) as show,
    ):
        while chunk := answer.read(min(_CHUNK_BYTES, file.bytes + 1 - len(data))):
            data += chunk
            show(len(chunk))
        if len(data) <= file.bytes and answer.length:  # what it promised and didn't give: read(n) doesn't say so
            raise http.client.IncompleteRead(bytes(data), answer.length)
    return bytes(data)


@contextmanager
def _progress(file: KnownFile, name: str, *, quiet: bool) -> Iterator[Callable[[int], object]]:
    if quiet or not is_terminal(sys.stderr):
        yield lambda count: None
        return
    with click.progressbar(length=file.bytes, label=f"Downloading {name}", file=sys.stderr) as bar:
        yield bar.update


@contextmanager
def _explained(file: KnownFile, place: Path) -> Iterator[None]:
    try:
        yield
    except urllib.error.HTTPError as error:
        raise AgedetectError(f"{file.url}: the server says {error.code}; {_by_hand(file, place)}") from error
    except http.client.IncompleteRead as error:
        raise AgedetectError(f"{file.url}: the download was cut off; {_by_hand(file, place)}") from error
    except (OSError, http.client.HTTPException) as error:  # URLError, timeouts and resets are OSErrors
        cause = getattr(error, "reason", None) or error
        reason = getattr(cause, "strerror", None) or str(cause) or type(cause).__name__
        raise AgedetectError(f"{file.url}: no answer ({reason.lower()}); {_by_hand(file, place)}") from error


def _by_hand(file: KnownFile, place: Path) -> str:
    return f"try again, or download it elsewhere and put it at {place}"
