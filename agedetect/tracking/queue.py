"""What is to be sent to the tracking server, kept on the disk in its order until it has been sent."""

from __future__ import annotations

import json
import shutil
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from agedetect_runtime.atomic import write_whole


@dataclass(frozen=True)
class Entry:
    """`kind` says what is done with `body` (plain values) and with the files below `files`, which may be missing."""

    path: Path
    kind: str
    body: dict[str, Any]

    @property
    def files(self) -> Path:
        return self.path.with_suffix("")

    def update(self, **values: Any) -> None:
        """Keep what a first attempt found out, such as an id, for the next one."""
        self.body.update(values)
        write_whole(self.path, json.dumps({"kind": self.kind, "body": self.body}))


class Queue:
    """Entries as numbered files of one folder; an entry is there whole or not at all.

    Several threads may add, one sends. One process at a time: see RunFolder.locked.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._lock = threading.Lock()
        self._sending: Path | None = None
        folder.mkdir(parents=True, exist_ok=True)

    def clean(self) -> None:
        """Remove the files of an entry that a killed process was adding: for who holds the lock of the run's folder."""
        for left in self._folder.iterdir():
            if left.is_dir() and not left.with_suffix(".json").exists():
                shutil.rmtree(left)

    def add(
        self, kind: str, body: dict[str, Any], files: Callable[[Path], object] | None = None, replaces: str = ""
    ) -> None:
        """`files` writes into the folder that it is given. Of those with one `replaces` only the last is sent.

        Raises AgedetectError or OSError where the disk is full.
        """
        with self._lock:
            numbers = [int(path.stem) for path in self._folder.glob("*.json")]
            path = self._folder / f"{max(numbers, default=0) + 1:08}.json"
            if files is not None:
                path.with_suffix("").mkdir()
                try:
                    files(path.with_suffix(""))
                except BaseException:
                    shutil.rmtree(path.with_suffix(""))
                    raise
            write_whole(path, json.dumps({"kind": kind, "body": {**body, "replaces": replaces}}))
            if replaces:
                for earlier in self._entries():
                    if earlier.body["replaces"] == replaces and earlier.path not in (path, self._sending):
                        _remove(earlier)

    def first(self) -> Entry | None:
        """The next to be sent, which nothing replaces from now on."""
        with self._lock:
            entry = next(self._entries(), None)
            self._sending = entry.path if entry else None
            return entry

    def remove(self, entry: Entry) -> None:
        with self._lock:
            _remove(entry)

    @property
    def is_empty(self) -> bool:
        return not any(self._folder.glob("*.json"))

    def discard(self, kind: str = "") -> None:
        """Those of one kind, or all."""
        with self._lock:
            for entry in self._entries():
                if kind in ("", entry.kind):
                    _remove(entry)

    def holds(self, kind: str) -> bool:
        with self._lock:
            return any(entry.kind == kind for entry in self._entries())

    def _entries(self) -> Iterator[Entry]:
        for path in sorted(self._folder.glob("*.json")):
            try:
                values = json.loads(path.read_text(encoding="utf-8"))
            except FileNotFoundError:  # sent meanwhile, by the thread of another Queue of this folder
                continue
            yield Entry(path, values["kind"], values["body"])


def _remove(entry: Entry) -> None:
    entry.path.unlink()
    shutil.rmtree(entry.files, ignore_errors=True)
