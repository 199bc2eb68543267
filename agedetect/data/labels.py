"""Where ages come from: UTKFace's file names, or the rows of a CSV manifest."""

from __future__ import annotations

import csv
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from agedetect.errors import DataError

GENDERS = ("male", "female")
RACES = ("White", "Black", "Asian", "Indian", "Other")
MAX_AGE = 120
_COLUMNS = ("path", "age", "gender", "race")

# [age]_[gender]_[race]_[datetime], then anything; three real names have one field between age and datetime.
_FULL_NAME = re.compile(r"(\d+)_(\d+)_(\d+)_\d+(?=\D|$)", re.ASCII)
_SHORT_NAME = re.compile(r"(\d+)_\d_\d{8,}(?=\D|$)", re.ASCII)


@dataclass(frozen=True)
class Label:
    """`age` in years; `gender` is one of GENDERS and `race` one of RACES, or None where unknown."""

    age: float
    gender: str | None
    race: str | None


@dataclass(frozen=True)
class LabelError:
    """Why a name or a row gives no label."""

    reason: str


def label_of_name(name: str) -> Label | LabelError:
    """The label in a UTKFace file name; a name without its race field gives an age and no group."""
    if match := _FULL_NAME.match(name):
        return _label(*match.groups())
    if match := _SHORT_NAME.match(name):
        return _label(match[1], "", "")
    return LabelError("its name is not [age]_[gender]_[race]_[datetime]")


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
        wrong.append("a column stands there twice")
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
    label = _label(row.get("age") or "", row.get("gender") or "", row.get("race") or "")
    return path, LabelError(f"line {line}: {label.reason}") if isinstance(label, LabelError) else label


def _label(age: str, gender: str, race: str) -> Label | LabelError:
    years = _number(age)
    if years is None or not 0 <= years <= MAX_AGE:
        return LabelError(f"age {age!r} is not from 0 to {MAX_AGE} years")
    try:
        return Label(years, _choice("gender", gender, GENDERS), _choice("race", race, RACES))
    except ValueError as error:
        return LabelError(str(error))


def _number(text: str) -> float | None:
    found = re.fullmatch(r"\s*(\d+(\.\d+)?)\s*", text, re.ASCII)  # float() would take 2_5 for 25
    return float(found[1]) if found else None


def _choice(field: str, text: str, names: tuple[str, ...]) -> str | None:
    """Raises ValueError where the text is neither a UTKFace code nor a name; an empty one is unknown."""
    text = text.strip().lower()
    if not text:
        return None
    for code, name in enumerate(names):
        if text in (str(code), name.lower()):
            return name
    codes = ", ".join(f"{code} {name}" for code, name in enumerate(names))
    raise ValueError(f"{field} {text!r} is none of {codes}")
