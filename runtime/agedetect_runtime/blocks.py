"""Freed images go back to the system: set before Pillow is imported, so this imports nothing of it."""

from __future__ import annotations

import os


def return_freed_images() -> None:
    """For a process of our own; a program that imports us keeps Pillow's setting, or its own.

    Pillow allocates images in blocks of 16 MB, and glibc keeps freed blocks below 32 MB for the thread that had them:
    four threads on large images took between 1.2 and 1.8 GB (tests/test_memory.py), and 1.2 with blocks of 64 MB.
    """
    os.environ.setdefault("PILLOW_BLOCK_SIZE", "64m")
