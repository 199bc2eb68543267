"""A CSV manifest of labelled faces as spreadsheets and data sets write it: a row for each image."""

from __future__ import annotations

import codecs
import csv
import io
import os
import statistics
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from agedetect.data.labels import Label, LabelError, is_range, label_of
from agedetect.errors import DataError

SUFFIXES = (".csv", ".tsv")
_COLUMNS = ("path", "age", "gender", "race")
_SEPARATORS = ",;\t|"
_UTF16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)

Labels = list[Label | LabelError]


@dataclass(frozen=True)
class Manifest:
    """`rows` hold each path once, in the file's order; `notes` say how labels were read where that was a choice."""

    rows: list[tuple[Path, Label | LabelError]]
    notes: tuple[str, ...]


def read_manifest(manifest: Path) -> Manifest:
    """A table with the columns path, age and, where known, gender and race; paths are relative to its folder.

    Comma, semicolon, tab or bar separate, in UTF-8, or in UTF-16 with a byte-order mark; other columns are ignored. A
    range of ages stands for its middle, and a path with several ages for their mean.
    Raises DataError for a file that isn't such a table; a bad row gives its LabelError.
    """
    try:
        header, rows = _table(manifest.read_bytes())
    except OSError as error:
        reason = "is a folder" if isinstance(error, IsADirectoryError) else (error.strerror or str(error)).lower()
        raise DataError(f"{manifest.absolute()}: {reason}; give a CSV file with the columns path and age") from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{manifest.absolute()}: can't be read as CSV in UTF-8: {error}") from error
    _check_header(manifest, header)
    found: dict[Path, Labels] = defaultdict(list)
    nameless: list[tuple[Path, Label | LabelError]] = []
    ranges = 0
    for line, cells in rows:
        row = dict(zip(header, cells, strict=False))
        if name := row.get("path"):
            found[_path(manifest, name)].append(_label(line, row, surplus=any(cells[len(header) :])))
            ranges += is_range(row.get("age", ""))
        else:
            nameless.append((manifest, LabelError(f"line {line}: no path")))
    several = sum(len(_ages(labels)) > 1 for labels in found.values())
    labelled = [(path, _one(labels)) for path, labels in found.items()]
    return Manifest(labelled + nameless, _notes(header, ranges, several))


def _table(data: bytes) -> tuple[list[str], list[tuple[int, list[str]]]]:
    """The header in lower case, and the rows with their line numbers; blank rows aside, spaces around cells removed."""
    text = data.decode("utf-16" if data.startswith(_UTF16) else "utf-8-sig")
    first, _, rest = text.partition("\n")
    above = first.strip().lower().startswith("sep=")  # a line for Excel
    separator = first.strip()[4:] if above else max(_SEPARATORS, key=first.count)
    reader = csv.reader(io.StringIO(rest if above else text, newline=""), delimiter=separator or "\t", strict=True)
    header = [name.strip().lower() for name in next(reader, [])]
    return header, [(reader.line_num + above, [cell.strip() for cell in cells]) for cells in reader if any(cells)]


def _check_header(manifest: Path, header: Sequence[str]) -> None:
    has = f"; it has {', '.join(filter(None, header))}" if any(header) else ""
    if missing := [name for name in _COLUMNS[:2] if name not in header]:
        raise DataError(
            f"{manifest.absolute()}: no column {' and no column '.join(missing)}{has}: name the column of the files "
            "path, that of the ages age, and, where known, those of the groups gender and race"
        )
    if twice := [name for name in _COLUMNS if header.count(name) > 1]:
        raise DataError(f"{manifest.absolute()}: the column {twice[0]} is there twice: remove one")


def _path(manifest: Path, name: str) -> Path:
    """A name with backslashes that no file here has is taken as Windows writes it."""
    path = manifest.parent.absolute() / name
    if "\\" in name and not os.path.lexists(path):
        path = manifest.parent.absolute() / name.replace("\\", "/")
    return path


def _label(line: int, row: dict[str, str], *, surplus: bool) -> Label | LabelError:
    if surplus:
        return LabelError(f"line {line}: more cells than the header has")
    label = label_of(row.get("age", ""), row.get("gender", ""), row.get("race", ""))
    return LabelError(f"line {line}: {label.reason}") if isinstance(label, LabelError) else label


def _ages(labels: Labels) -> set[float]:
    return {label.age for label in labels if isinstance(label, Label)}


def _one(labels: Labels) -> Label | LabelError:
    """One label for one path: an error if there is one, else the mean age, and each group that all rows agree on."""
    errors = [label for label in labels if isinstance(label, LabelError)]
    good = [label for label in labels if isinstance(label, Label)]
    if errors:
        return errors[0]
    genders, races = {label.gender for label in good}, {label.race for label in good}
    return Label(
        statistics.fmean(label.age for label in good),
        genders.pop() if len(genders) == 1 else None,
        races.pop() if len(races) == 1 else None,
    )


def _notes(header: Sequence[str], ranges: int, several: int) -> tuple[str, ...]:
    ignored = [repr(name) for name in header if name and name not in _COLUMNS]
    found = {
        f"ages that are ranges: {ranges:,} (the middle of each was taken)": ranges,
        f"paths with more than one age: {several:,} (their mean was taken)": several,
        f"columns ignored: {', '.join(ignored)}": len(ignored),
    }
    return tuple(note for note, count in found.items() if count)
