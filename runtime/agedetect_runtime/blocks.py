"""Freed images go back to the system: set before Pillow is imported, so this imports nothing of it."""

from __future__ import annotations

import os


def return_freed_images() -> None:
    """For a process of our own; a program that imports us keeps Pillow's setting, or its own.

    Pillow allocates images in blocks of 16 MB, and glibc keeps freed blocks below 32 MB for the thread that had them:
    four threads on large images held 1.8 GB of which 1.2 were in use.
    """
    os.environ.setdefault("PILLOW_BLOCK_SIZE", "64m")
