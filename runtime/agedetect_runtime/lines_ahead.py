"""How many paths a list on standard input has, where that can be known before it is read."""

from __future__ import annotations

import codecs
import os
import stat
from typing import BinaryIO

_PIECE = 1 << 16  # bytes; a longer line is no path
_UTF_16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


def lines_ahead(stdin: BinaryIO) -> int | None:
    """The lines that are not empty, if `stdin` is a file, as in `agedetect-infer - < list.txt`; it stays where it is.

    None for a pipe, a terminal, and UTF-16.
    """
    try:
        if not stat.S_ISREG(os.fstat(stdin.fileno()).st_mode):
            return None
        start = stdin.tell()
        is_utf_16 = stdin.read(2) in _UTF_16
        stdin.seek(start)
        count = sum(1 for line in iter(lambda: stdin.readline(_PIECE), b"") if line.rstrip(b"\r\n"))
        stdin.seek(start)
    except OSError:  # one that can't be sought in, or read: whoever reads it says so
        return None
    return None if is_utf_16 else count
