"""A job in which no image could be used: why, and what to type instead, by what was given."""

from __future__ import annotations

import os
from pathlib import PurePath

from agedetect_runtime.names import name_text
from agedetect_runtime.table import printable

_TABLES = {".csv", ".json", ".jsonl", ".parquet", ".tsv", ".xls", ".xlsx"}
_LISTS = {"", ".list", ".lst", ".txt"}
_ARCHIVES = {".7z", ".bz2", ".gz", ".rar", ".tar", ".tgz", ".xz", ".zip", ".zst"}


def nothing_worked(path: str, reason: str, images: int, *, listed: bool) -> str:
    """One line on `images` images that all failed; `path` and `reason` are the first's, `listed` on standard input."""
    shown = printable(name_text(path))
    subject = f"{shown}: {reason}" if images == 1 else f"none of {images} images could be used; {shown}: {reason}"
    remedy = _remedy(path, reason, listed)
    return f"{subject}; {remedy}" if remedy else subject


def _remedy(path: str, reason: str, listed: bool) -> str:
    if reason == "no face found":
        return "if each image is one face that fills it, omit --find-faces"
    if "://" in path:
        return "this is an address, not a file: download it first"
    if not os.path.lexists(path):
        return _of_a_missing_file(path, listed)
    suffix = PurePath(path).suffix.lower()
    if os.path.isdir(path):  # noqa: PTH112 (Path's raises for a folder above that is closed)
        return "give the folder as an argument, not in a list"
    if suffix in _ARCHIVES:
        return "unpack the archive and give the folder"
    if suffix in _TABLES:
        return "give the paths of a table as a list: tail -n +2 faces.csv | cut -d, -f1 | agedetect-infer -"
    if suffix in _LISTS and reason == "not an image":
        return f"give a list of paths on standard input: agedetect-infer - < {printable(name_text(path))}"
    return ""


def _of_a_missing_file(path: str, listed: bool) -> str:
    if any(sign in path for sign in "*?["):
        return "a pattern in quotes, or one that matches nothing, stays as it is: omit the quotes, or give the folder"
    where = printable(name_text(os.getcwd()))  # noqa: PTH109
    if listed and any(sign in path for sign in ",;\t"):
        return "each line must be a path and nothing else: cut -d, -f1 keeps a table's first column"
    if listed:
        return f"relative paths of the list begin at {where}"
    return "check the path" if os.path.isabs(path) else f"check the path, which begins at {where}"  # noqa: PTH117
