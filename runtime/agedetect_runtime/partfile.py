"""Rows beside their place until all are there: NAME.part, which survives a stop and is gone on with.

NAME.part.json says what makes the rows, so that no table comes from two models. A row is one write to the file:
a killed process leaves whole rows, and at most one torn one behind them that is cut off when the job goes on.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType

import click

from agedetect_runtime.errors import AgedetectError

if sys.platform != "win32":
    import fcntl

# Above the longest row: a path of 4,096 bytes, each written with six characters at most, and a reason.
_MAX_ROW_BYTES = 2**16


class PartFile:
    """The growing file of one job. A context: whatever stops the job, rows that are there stay there."""

    def __init__(self, output: Path, heading: str, is_whole: Callable[[bytes], bool]) -> None:
        """`is_whole` says of lines of bytes whether they are a row, or its beginning.

        Raises AgedetectError where it can't be written, or another process does so.
        """
        self._output = output
        self._place = Path(os.path.realpath(output))  # a link stays a link; Path's own raises where it leads in circles
        self._path = self._place.with_name(f"{self._place.name}.part")
        self._maker_path = self._place.with_name(f"{self._place.name}.part.json")
        self._heading = heading.encode()
        self._is_whole = is_whole
        self._kept = 0
        # Where the last whole row ends, and how many were written: one value, so that Ctrl-C can't come in between.
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
            rows = self._kept + self._written
            kept = "1 row is" if rows == 1 else f"{rows} rows are"
            click.echo(f"Note: {kept} kept in {self._path.name}; --resume goes on with them", err=True)
        elif self._is_empty:
            for path in (self._path, self._maker_path):
                path.unlink(missing_ok=True)
        self._file.close()

    def begin_or_resume(self, maker: Mapping[str, object], *, resume: bool) -> bool:
        """Whether rows are there to go on with; if not, it begins, and `maker` is what makes its rows.

        Raises AgedetectError for rows without `resume`, rows that something else has made, and for `resume`
        where the output is finished.
        """
        with in_one_line(str(self._output)):
            has_rows = next(self.rows(), None) is not None
            if has_rows and not resume:
                raise self.refusal("holds the rows of a job that was stopped; --resume goes on with them")
            if has_rows:
                self._check_maker(maker)
                return True
            self._is_empty = True
            if resume and self._place.exists():
                raise AgedetectError(f"{self._output}: is finished; leave out --resume to make it anew")
            self._file.truncate(0)
            self._reached = (0, 0)
            self._maker_path.write_text(json.dumps(maker, indent=1) + "\n", encoding="utf-8")
            self._append(self._heading)
        return False

    def rows(self) -> Iterator[str]:
        """The whole rows, below the heading. Raises AgedetectError for one that is too long or no text."""
        self._kept, self._reached = 0, (len(self._heading), 0)
        with self._path.open("rb") as file:
            heading = file.read(len(self._heading))
            if heading != self._heading:
                if self._heading.startswith(heading):
                    return  # nothing but the beginning of the heading
                raise self.refusal("has another heading")
            row = b""
            while line := file.readline(_MAX_ROW_BYTES):
                row += line
                if len(row) >= _MAX_ROW_BYTES:
                    raise self.refusal(f"its row {self._kept + 1} is damaged")
                if line.endswith(b"\n") and self._is_whole(row):
                    self._kept += 1
                    self._reached = (self._end + len(row), 0)
                    yield row.decode(errors="replace")
                    row = b""

    def cut(self) -> None:
        """Go on behind the rows that were read; what follows them goes."""
        with in_one_line(str(self._output)):
            self._file.truncate(self._end)
            self._file.seek(self._end)

    def write(self, row: str) -> None:
        """Add one row, whole. Raises AgedetectError where there is no room, and takes back what a full disk cut."""
        with in_one_line(str(self._output)):
            self._append(row.encode(), rows=1)

    def finish(self) -> None:
        """Put it in its place."""
        with in_one_line(str(self._output)):
            os.fsync(self._file.fileno())
            if sys.platform == "win32":  # which renames no open file
                self._file.close()
            self._path.replace(self._place)
            self._file.close()  # with it goes the lock: who waited for it finds the part renamed
            self._maker_path.unlink(missing_ok=True)

    def refusal(self, what: str) -> AgedetectError:
        return AgedetectError(f"{self._path.name}: {what}; to begin anew, delete it, or rename it to keep its rows")

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

    def _check_maker(self, maker: Mapping[str, object]) -> None:
        try:
            begun = json.loads(self._maker_path.read_bytes())
        except (OSError, ValueError, RecursionError):
            begun = None
        if not isinstance(begun, dict):
            raise self.refusal(f"nothing says what made its rows: {self._maker_path.name} can't be read")
        if differing := sorted(name for name in {**begun, **maker} if begun.get(name) != maker.get(name)):
            raise self.refusal(f"begun with another {' and another '.join(differing)}")

    def _lock(self) -> None:
        """Keep other processes out until this one ends. Windows and file systems without locks go without."""
        if sys.platform == "win32":
            return
        in_use = AgedetectError(f"{self._path.name}: another process writes it; wait, or give another --output")
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
