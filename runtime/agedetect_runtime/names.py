r"""File names as text that is safe for every reader: valid UTF-8, never a formula, and exact when read back.

Each \xNN in such a text stands for the byte NN: one that is not UTF-8, a NUL, or the backslash of a name that
itself holds a \xNN. Every other name is written as it is.
"""

from __future__ import annotations

import os
import re

from agedetect_runtime.listing import SUFFIXES

_LOOKS_ESCAPED = re.compile(rb"\\(?=x[0-9a-f]{2})")
_ESCAPED = re.compile(rb"\\x([0-9a-f]{2})")


def name_text(name: str) -> str:
    """A path as text that UTF-8 and JSON can hold."""
    data = _LOOKS_ESCAPED.sub(rb"\\x5c", os.fsencode(name))
    return data.replace(b"\0", rb"\x00").decode("utf-8", "backslashreplace")


def name_cell(name: str) -> str:
    """`name_text` as a CSV cell that spreadsheets and table readers can only take for text.

    A relative path gets ./ in front, which leaves it the same path, unless it begins like a name and ends like
    an image: `=1+1.jpg` could be run as a formula, `NA` read as missing and `007` as seven. CWE-1236 lists the
    signs that begin a formula; here only those that begin none are let through.
    """
    begins_plainly = name[:1].isalnum() or name[:1] in ("_", ".")
    ends_plainly = os.path.splitext(name)[1].lower() in SUFFIXES  # noqa: PTH122 (a Path for each row costs more)
    if (begins_plainly and ends_plainly) or name.startswith(("./", "../")) or os.path.isabs(name):  # noqa: PTH117
        return name_text(name)
    return f"./{name_text(name)}"


def name_from(text: str) -> str:
    """The path, as Python opens it, of a text that `name_text` or `name_cell` wrote."""
    return os.fsdecode(_ESCAPED.sub(lambda escape: bytes.fromhex(escape[1].decode()), text.encode()))
