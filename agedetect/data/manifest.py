"""A CSV manifest of labelled faces: one row for each image."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path

from agedetect.data.labels import Label, LabelError, label_of
from agedetect.errors import DataError

_COLUMNS = ("path", "age", "gender", "race")


def read_manifest(manifest: Path) -> list[tuple[Path, Label | LabelError]]:
    """The rows of a CSV file with the header `path,age[,gender,race]`, paths relative to its folder.

    Raises DataError for a file that isn't such a table; a bad row gives its LabelError.
    """
    try:
        with manifest.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file, strict=True)
            _check_header(manifest, reader.fieldnames or [])
            rows = [(reader.line_num, row) for row in reader]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{manifest.absolute()}: can't be read as CSV in UTF-8: {error}") from error
    seen: set[Path] = set()
    return [_labelled_row(manifest, line, row, seen) for line, row in rows]


def _check_header(manifest: Path, header: Sequence[str]) -> None:
    unknown = [name for name in header if name not in _COLUMNS]
    missing = [name for name in _COLUMNS[:2] if name not in header]
    wrong = [f"column {name!r} is unknown" for name in unknown]
    wrong += [f"column {name!r} is missing" for name in missing]
    if not unknown and len(set(header)) < len(header):
        wrong.append("a column is listed twice")
    if wrong:
        raise DataError(f"{manifest.absolute()}: {', '.join(wrong)}; the header is path,age[,gender,race]")


def _labelled_row(
    manifest: Path, line: int, row: Mapping[str | None, str | None], seen: set[Path]
) -> tuple[Path, Label | LabelError]:
    name = row.get("path") or ""
    path = manifest.parent.absolute() / name
    if not name:
        return manifest, LabelError(f"line {line}: no path")
    if None in row:
        return path, LabelError(f"line {line}: more cells than the header has")
    if path in seen:
        return path, LabelError(f"line {line}: listed a second time")
    seen.add(path)
    label = label_of(row.get("age") or "", row.get("gender") or "", row.get("race") or "")
    return path, LabelError(f"line {line}: {label.reason}") if isinstance(label, LabelError) else label
