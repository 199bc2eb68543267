"""Rows beside their final place until all are written: NAME.part, which survives an interruption and can be resumed.

NAME.part.json holds the job metadata, so that no table mixes the rows of two models. An image's rows are one write to
the file: a killed process leaves whole rows, and at most one partial row after them, which is removed when the job
resumes.
"""

from __future__ import annotations

import json
import os
import secrets
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import NamedTuple

import click

from agedetect_runtime.errors import AgedetectError

if sys.platform != "win32":
    import fcntl

# Above the longest row: a path of 4,096 bytes, each written with six characters at most, and a reason.
_MAX_ROW_BYTES = 2**16


class Place(NamedTuple):
    """Between two rows: how many are before it, and how many bytes."""

    rows: int
    bytes: int


def paths_of(output: Path) -> tuple[Path, Path, Path]:
    """The final place, NAME.part and NAME.part.json."""
    place = Path(os.path.realpath(output))  # a link stays a link; Path's own raises where it leads in circles
    return place, place.with_name(f"{place.name}.part"), place.with_name(f"{place.name}.part.json")


class PartFile:
    """The growing file of one job. A context manager: whatever stops the job, the rows written so far stay."""

    def __init__(self, output: Path, heading: str, is_whole: Callable[[bytes], bool]) -> None:
        """`is_whole` tells whether lines of bytes are a whole row or only the beginning of one.

        Raises AgedetectError where the file can't be written, or where another process is writing it.
        """
        self._output = output
        self._place, self._path, self._metadata_path = paths_of(output)
        self._heading = heading.encode()
        self._is_whole = is_whole
        self._done_before = 0
        # Where the last whole row ends, and how many were written: one value, so that Ctrl-C can't split them.
        self._reached = (0, 0)
        with in_one_line(str(output)):
            self._file = os.fdopen(os.open(self._path, os.O_RDWR | os.O_CREAT, 0o666), "r+b", buffering=0)
        try:
            self._lock()
        except AgedetectError:
            self._file.close()
            raise
        self._is_empty = os.fstat(self._file.fileno()).st_size == 0

    def __enter__(self) -> PartFile:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._file.closed:
            return
        if self._written:
            rows = self._done_before + self._written
            saved = "1 row is" if rows == 1 else f"{rows} rows are"
            click.echo(f"Note: {saved} saved in {self._path.name}; use --resume to continue", err=True)
        elif self._is_empty:
            for path in (self._path, self._metadata_path):
                path.unlink(missing_ok=True)
        self._file.close()

    def begin_or_resume(self, metadata: Mapping[str, object], *, resume: bool) -> bool:
        """Whether there are rows of an earlier job to resume; if not, a new job begins.

        Raises AgedetectError for rows without `resume`, for rows of a job with other metadata, and for `resume`
        where the output is complete.
        """
        with in_one_line(str(self._output)):
            has_rows = next(self.rows(), None) is not None
            if has_rows and not resume:
                raise self.refusal("holds the rows of an interrupted job; use --resume to continue it")
            if has_rows:
                self._check_metadata(metadata)
                return True
            self._is_empty = True
            if resume and self._place.exists():
                raise AgedetectError(f"{self._output}: is already complete; use --force instead to start over")
            self._file.truncate(0)
            self._reached = (0, 0)
            self._metadata_path.write_text(json.dumps(metadata, indent=1) + "\n", encoding="utf-8")
            self._append(self._heading)
        return False

    def rows(self) -> Iterator[str]:
        """The whole rows below the heading. Raises AgedetectError for one that is too long."""
        self._done_before, self._reached = 0, (len(self._heading), 0)
        with self._path.open("rb") as file:
            heading = file.read(len(self._heading))
            if heading != self._heading:
                if self._heading.startswith(heading):
                    return  # nothing but the beginning of the heading
                raise self.refusal("has different columns")
            row = b""
            while line := file.readline(_MAX_ROW_BYTES):
                row += line
                if len(row) >= _MAX_ROW_BYTES:
                    raise self.refusal(f"its row {self._done_before + 1} is damaged")
                if line.endswith(b"\n") and self._is_whole(row):
                    self._done_before += 1
                    self._reached = (self._end + len(row), 0)
                    yield row.decode(errors="replace")
                    row = b""

    @property
    def start(self) -> Place:
        """Before the first row."""
        return Place(0, len(self._heading))

    @property
    def place(self) -> Place:
        """Behind the row that `rows` gave last."""
        return Place(self._done_before, self._end)

    def cut(self, place: Place) -> None:
        """Continue there; whatever follows is removed."""
        with in_one_line(str(self._output)):
            self._done_before, self._reached = place.rows, (place.bytes, 0)
            self._file.truncate(self._end)
            self._file.seek(self._end)

    def write(self, rows: Sequence[str]) -> None:
        """Add rows. Raises AgedetectError where the disk is full, and then removes what was written of them."""
        with in_one_line(str(self._output)):
            self._append("".join(rows).encode(), rows=len(rows))

    def finish(self, convert: Callable[[Iterable[str], Path], None] | None = None) -> None:
        """Move the file to its final place, or what `convert` writes of its lines to the path that it is given."""
        with in_one_line(str(self._output)):
            os.fsync(self._file.fileno())
            if convert is not None:
                self._converted(convert)
                return
            if sys.platform == "win32":  # which renames no open file
                self._file.close()
            self._path.replace(self._place)
            self._file.close()  # this releases the lock: whoever waited for it finds the file renamed
            self._metadata_path.unlink(missing_ok=True)

    def _converted(self, convert: Callable[[Iterable[str], Path], None]) -> None:
        beside = self._place.with_name(f".{self._place.name}.{secrets.token_hex(4)}.part")
        try:
            with self._path.open(encoding="utf-8", newline="\n") as lines:
                convert(lines, beside)
            beside.replace(self._place)
        finally:
            beside.unlink(missing_ok=True)
        if sys.platform == "win32":  # which deletes no open file
            self._file.close()
        self._path.unlink()
        self._file.close()
        self._metadata_path.unlink(missing_ok=True)

    def refusal(self, what: str) -> AgedetectError:
        return AgedetectError(f"{self._path.name}: {what}; to start over, delete it, or rename it to keep its rows")

    @property
    def _end(self) -> int:
        return self._reached[0]

    @property
    def _written(self) -> int:
        return self._reached[1]

    def _append(self, data: bytes, *, rows: int = 0) -> None:
        rest = memoryview(data)
        try:
            while rest:
                rest = rest[self._file.write(rest) or 0 :]
            self._reached = (self._end + len(data), self._written + rows)
        except BaseException:  # Ctrl-C among them
            with suppress(OSError):
                self._file.truncate(self._end)
            raise

    def _check_metadata(self, metadata: Mapping[str, object]) -> None:
        try:
            begun = json.loads(self._metadata_path.read_bytes())
        except (OSError, ValueError, RecursionError):
            begun = None
        if not isinstance(begun, dict):
            raise self.refusal(f"its job metadata, {self._metadata_path.name}, can't be read")
        if differing := sorted(name for name in {**begun, **metadata} if begun.get(name) != metadata.get(name)):
            raise self.refusal(f"was started with a different {' and a different '.join(differing)}")

    def _lock(self) -> None:
        """Keep other processes out until this one ends. Windows, and file systems without locks, have no such guard."""
        if sys.platform == "win32":
            return
        in_use = AgedetectError(f"{self._path.name}: another process is writing it; wait, or choose another --output")
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise in_use from error
        except OSError:
            return
        if not self._path.exists() or not os.path.samestat(self._path.stat(), os.fstat(self._file.fileno())):
            raise in_use  # it has just finished, and renamed what we opened


@contextmanager
def in_one_line(name: str) -> Iterator[None]:
    """An OSError of writing becomes an AgedetectError that names the file; a closed pipe stays one."""
    try:
        yield
    except BrokenPipeError:
        raise
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise AgedetectError(f"{name}: cannot be written: {reason}") from error
