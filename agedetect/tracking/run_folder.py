"""The folder of a run on this machine's disk: what it goes on from, and what its tracking server still lacks."""

from __future__ import annotations

import errno
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from agedetect.errors import RunError
from agedetect_runtime.atomic import write_whole

LAST = "last"
QUEUE = "queue"
_FACTS, _LOCK = "run.json", "lock"


def runs_folder() -> Path:
    """`AGEDETECT_RUNS`, or `~/.local/state/agedetect/runs`. Raises RunError for a user without a home folder."""
    if chosen := os.environ.get("AGEDETECT_RUNS"):
        return Path(chosen).absolute()
    try:
        return Path.home() / ".local" / "state" / "agedetect" / "runs"
    except RuntimeError as error:
        raise RunError("no home folder to keep the states of a run in; set AGEDETECT_RUNS to a folder") from error


def ready_runs_folder() -> None:
    """Make it. Raises RunError where it can't be written: before a run is started, that is."""
    place = runs_folder()
    try:
        place.mkdir(parents=True, exist_ok=True)
        if not os.access(place, os.W_OK):
            raise PermissionError(errno.EACCES, "no right to write it")
    except OSError as error:
        raise RunError(
            f"{place}: a run's states can't be kept there: {error.strerror}; set AGEDETECT_RUNS to a folder"
        ) from error


class InUseError(RunError):
    """Another process has the run's folder."""


@dataclass(frozen=True)
class RunFolder:
    """One run's. It is there from the run's start until the tracking server has everything."""

    path: Path

    @classmethod
    def of(cls, run_id: str) -> RunFolder:
        return cls(runs_folder() / run_id)

    @property
    def run_id(self) -> str:
        return self.path.name

    @property
    def exists(self) -> bool:
        return (self.path / _FACTS).is_file()

    def facts(self) -> dict[str, Any]:
        """What is known of the run: `store`, `config`, `epoch`, ...; empty where there is no folder."""
        try:
            facts: dict[str, Any] = json.loads((self.path / _FACTS).read_text(encoding="utf-8"))
        except FileNotFoundError:
            return {}
        except (OSError, ValueError) as error:
            raise RunError(
                f"{self.path / _FACTS}: can't be read: {error}; delete the folder if it isn't needed"
            ) from error
        return facts

    def note(self, **facts: Any) -> None:
        write_whole(self.path / _FACTS, json.dumps({**self.facts(), **facts}, indent=1))

    @property
    def last_used(self) -> float:
        """Seconds since the epoch."""
        return (self.path / _FACTS).stat().st_mtime

    def make(self) -> RunFolder:
        self.path.mkdir(parents=True, exist_ok=True)
        return self

    @property
    def is_in_use(self) -> bool:
        try:
            with self.locked():
                return False
        except InUseError:
            return True

    @contextmanager
    def locked(self) -> Iterator[None]:
        """For one process at a time. Raises InUseError where another has it, RunError where there is no folder."""
        lock = FileLock(self.path / _LOCK)
        try:
            lock.acquire(timeout=0)
        except Timeout as error:
            raise InUseError(
                f"run {self.run_id}: another process is training or sending it; wait or stop that one"
            ) from error
        except OSError as error:
            raise RunError(
                f"{self.path}: it can't be locked: {error.strerror}; mend its rights, or set AGEDETECT_RUNS to a folder"
            ) from error
        try:
            yield
        finally:
            lock.release()

    def size(self) -> int:
        """Bytes."""
        return sum(file.stat().st_size for file in self.path.rglob("*") if file.is_file())

    def remove(self) -> None:
        shutil.rmtree(self.path, ignore_errors=True)


def kept_runs() -> list[RunFolder]:
    """The one that was used last comes first."""
    place = runs_folder()
    folders = [RunFolder(path) for path in place.iterdir()] if place.is_dir() else []
    return sorted((folder for folder in folders if folder.exists), key=lambda folder: folder.last_used, reverse=True)


def find_kept(name: str) -> RunFolder:
    """Of a run's id, or of the run that was used last and isn't in use. Raises RunError where `last` has none.

    The last one isn't a fold whose protocol is kept, too: that goes on with its folds.
    """
    if name != LAST:
        return RunFolder.of(name)
    for folder in kept_runs():
        parent = folder.facts().get("parent")
        if not folder.is_in_use and not (parent and RunFolder.of(parent).exists):
            return folder
    raise RunError(f"no run in {runs_folder()} can be gone on with")
