"""The session behind an estimator: shared by threads, closed on request, opened again in a forked child process."""

from __future__ import annotations

import os
import threading
from dataclasses import dataclass
from typing import Generic, Protocol, Self, TypeVar

from agedetect_runtime.errors import AgedetectError
from agedetect_runtime.modelsource import ModelSource

_lock = threading.Lock()  # over opening again


def _renew_lock() -> None:
    """In a forked child: the thread that may have held it is not there."""
    global _lock
    _lock = threading.Lock()


if hasattr(os, "register_at_fork"):  # not on Windows, which doesn't fork
    os.register_at_fork(after_in_child=_renew_lock)


def opening() -> threading.Lock:
    """The lock under which a model is opened late, free again in a forked child."""
    return _lock


class Reopenable(Protocol):
    """A session that knows how to open its model once more, in a forked child."""

    @property
    def source(self) -> ModelSource: ...

    def open_again(self) -> Self: ...


Session = TypeVar("Session", bound=Reopenable)


class Callers:
    """The threads inside, counted: one alone has the model's threads to itself, several share the cores themselves."""

    def __init__(self) -> None:
        self._inside, self._lock = 0, threading.Lock()

    def __enter__(self) -> None:
        with self._lock:
            self._inside += 1

    def __exit__(self, *exception: object) -> None:
        with self._lock:
            self._inside -= 1

    @property
    def one(self) -> bool:
        return self._inside == 1


@dataclass(frozen=True)
class InProcess(Generic[Session]):
    """What belongs to the process `pid` alone: a session and the lock of those who use it."""

    session: Session
    callers: Callers
    pid: int


class OpenModel(Generic[Session]):
    """A session for the process that asks, until it is closed."""

    def __init__(self, session: Session) -> None:
        self.source = session.source
        self._opened: InProcess[Session] | None = InProcess(session, Callers(), os.getpid())

    def here(self) -> InProcess[Session]:
        """In a forked child, the first call opens the model again. Raises AgedetectError once it is closed."""
        opened = self._opened
        if opened is not None and opened.pid == os.getpid():
            return opened
        with _lock:
            if self._opened is None:
                raise AgedetectError(f"{self.source.name}: this AgeEstimator is closed; create a new one")
            if self._opened.pid != os.getpid():
                self._opened = InProcess(self._opened.session.open_again(), Callers(), os.getpid())
            return self._opened

    def close(self) -> None:
        self._opened = None

    @property
    def is_closed(self) -> bool:
        return self._opened is None
