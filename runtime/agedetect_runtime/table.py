"""The table that a person reads on a terminal: aligned, a row as soon as its age is known."""

from __future__ import annotations

import shutil
import unicodedata
from collections.abc import Callable
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from agedetect_runtime.estimator import Estimate

_AGE_CELLS = 7
_ERROR_CELLS = 30  # kept free behind the ages, so that most reasons fit on the row


def write_table(file: TextIO, intervals: bool) -> Callable[[Estimate], None]:
    """Write the heading and give the function that writes a row; `intervals` adds low and high."""
    ages = ("age", "low", "high") if intervals else ("age",)
    columns = shutil.get_terminal_size().columns
    name_cells = max(20, min(60, columns - len(ages) * _AGE_CELLS - _ERROR_CELLS))
    file.write("file".ljust(name_cells) + "".join(name.rjust(_AGE_CELLS) for name in ages) + "\n")

    def write(estimate: Estimate) -> None:
        name = fit(printable(str(estimate.source)), name_cells)
        years = (estimate.age, estimate.low, estimate.high)[: len(ages)]
        cells = "".join(("-" if year is None else f"{year:.1f}").rjust(_AGE_CELLS) for year in years)
        reason = f"  {printable(estimate.error)}" if estimate.error else ""
        file.write(f"{name}{cells}{reason}\n")
        file.flush()

    return write


def printable(text: str) -> str:
    """Newlines, escapes and bytes that are not text as \\-escapes: a name can't steer the terminal."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def fit(name: str, cells: int) -> str:
    """Pad or clip to so many terminal cells; a clipped name keeps its end, where files of a folder differ."""
    width = sum(map(_cells, name))
    if width <= cells:
        return name + " " * (cells - width)
    kept = name
    while sum(map(_cells, kept)) > cells - 1:
        kept = kept[1:]
    return "…" + kept + " " * (cells - 1 - sum(map(_cells, kept)))


def _cells(character: str) -> int:
    if unicodedata.combining(character):
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1
