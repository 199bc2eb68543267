"""What must not happen as the process ends: a thread that comes back from ONNX Runtime to an interpreter that is gone.

Python ends such a thread, a daemon, where it asks for the interpreter. In the midst of C++ that aborts the process:
"terminate called without an active exception", exit code 134.
"""

from __future__ import annotations

import atexit
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager

_changed = threading.Condition()
_inside: set[int] = set()  # threads
_ended_by: int | None = None  # the thread that ends the process


@contextmanager
def inside_onnx_runtime() -> Iterator[None]:
    """Around a run of a model, on any thread: the process waits for its end.

    Raises SystemExit where the process is ending already, which ends a thread without a word, as Python would.
    """
    thread = threading.get_ident()
    with _changed:
        if _ended_by not in (None, thread):
            raise SystemExit
        _inside.add(thread)
    try:
        yield
    finally:
        with _changed:
            _inside.discard(thread)
            _changed.notify_all()


@atexit.register
def _wait_for_runs() -> None:
    """A run takes a fraction of a second and always ends, unlike a read from a network drive that went away."""
    global _ended_by
    with _changed:
        _ended_by = threading.get_ident()
        _changed.wait_for(lambda: _inside <= {_ended_by})


def _forget_other_threads() -> None:
    """In a forked child: they are not there, and may have held the lock."""
    global _changed
    _changed = threading.Condition()
    _inside.clear()


if hasattr(os, "register_at_fork"):  # not on Windows, which doesn't fork
    os.register_at_fork(after_in_child=_forget_other_threads)
