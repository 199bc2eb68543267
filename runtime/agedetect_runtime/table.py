"""The table on a terminal: aligned, each row as soon as its age is known."""

from __future__ import annotations

import shutil
import unicodedata
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from agedetect_runtime.estimate import Result

_ERROR_CELLS = 30  # left free after the ages, so that most reasons fit on the row


def write_table(
    file: TextIO, *, coverage: float | None = None, at_least: int | None = None
) -> Callable[[Result], None]:
    """Write the heading and return the function that writes a row.

    Without intervals an age is `34.2`; with them, of nominal coverage `coverage`, it is `34 (27-42)`. `at_least` adds
    the probability of that age.
    """
    columns = [("age".rjust(7), _age) if coverage is None else (_interval_heading(coverage), _age_and_interval)]
    if at_least is not None:
        columns.append((f">={at_least}".rjust(7), partial(_probability, years=at_least)))
    heading = "".join(title for title, _ in columns)
    name_cells = max(20, min(60, shutil.get_terminal_size().columns - len(heading) - _ERROR_CELLS))
    file.write(f"{'file'.ljust(name_cells)}{heading}".rstrip() + "\n")

    def write(result: Result) -> None:
        name = fit(printable(str(result.source)), name_cells)
        cells = "".join(cell(result) for _, cell in columns)
        reason = f"  {printable(result.error)}" if result.error else ""
        file.write(f"{name}{cells}{reason}".rstrip() + "\n")
        file.flush()

    return write


def printable(text: str) -> str:
    """Newlines, escapes and bytes that are not text as \\-escapes: a name can't steer the terminal."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def printable_lines(text: str) -> str:
    """The same for text of several lines: they stay lines, and tabs become spaces."""
    return "\n".join(printable(line.expandtabs()) for line in text.splitlines())


def fit(name: str, cells: int) -> str:
    """Pad or clip to so many terminal cells; a clipped name keeps its end, where files of a folder differ."""
    width = sum(map(_cells, name))
    if width <= cells:
        return name + " " * (cells - width)
    left, start = cells - 1, len(name)
    while _cells(name[start - 1]) <= left:
        start -= 1
        left -= _cells(name[start])
    return "…" + name[start:] + " " * left


def _age(result: Result) -> str:
    return ("-" if result.age is None else f"{result.age:.1f}").rjust(7)


def level_text(level: float) -> str:
    """A nominal coverage: `90%`, `99.5%`"""
    return f"{100 * level:.4g}%"


def _interval_heading(coverage: float) -> str:
    level = f"({level_text(coverage)})"
    return f"{'age':>6} {level:<9}"


def _age_and_interval(result: Result) -> str:
    """In whole years, the ages aligned on their last digit.

    Rounding to the nearest year excludes no whole age that the interval contains: the coverage of whole ages stays.
    """
    age = "-" if result.age is None else str(round(result.age))
    interval = ""
    if result.low is not None and result.high is not None:
        interval = f"({round(result.low)}-{round(result.high)})"
    return f"{age:>6} {interval:<9}"


def _probability(result: Result, years: int) -> str:
    return ("-" if result.error is not None else f"{result.at_least(years):.2f}").rjust(7)


def _cells(character: str) -> int:
    if unicodedata.combining(character):
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1
