"""Truncated files are errors, whatever the program has told Pillow: half a face must get no age."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from PIL import ImageFile

_lock = threading.Lock()
_users = 0
_before = False


def _forget_other_threads() -> None:
    """In a forked child: the threads that decoded in the parent, and may hold the lock, are not there."""
    global _lock, _users
    if _users:
        ImageFile.LOAD_TRUNCATED_IMAGES = _before
    _lock, _users = threading.Lock(), 0


if hasattr(os, "register_at_fork"):  # not on Windows, which doesn't fork
    os.register_at_fork(after_in_child=_forget_other_threads)


@contextmanager
def truncation_is_an_error() -> Iterator[None]:
    """Keep Pillow's LOAD_TRUNCATED_IMAGES off while any thread decodes here, then restore what was set."""
    global _users, _before
    with _lock:
        if _users == 0:
            _before = ImageFile.LOAD_TRUNCATED_IMAGES
            ImageFile.LOAD_TRUNCATED_IMAGES = False
        _users += 1
    try:
        yield
    finally:
        with _lock:
            _users -= 1
            if _users == 0:
                ImageFile.LOAD_TRUNCATED_IMAGES = _before
