"""The table of a page: which columns it has, and the cells of a row."""

from __future__ import annotations

import base64
import html
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from agedetect_runtime.names import name_text
from agedetect_runtime.table import level_text, printable, true_age

if TYPE_CHECKING:
    from agedetect_runtime.rows import FaceRow


@dataclass(frozen=True)
class Columns:
    """Those that have something to show."""

    coverage: float | None
    at_least: int | None
    faces: bool
    true_ages: bool
    reasons: bool

    def heads(self) -> str:
        names = ["file", *(["face"] if self.faces else []), *(["true"] if self.true_ages else []), "age"]
        names += [] if self.coverage is None else [f"interval ({level_text(self.coverage)})"]
        names += [] if self.at_least is None else [f"at least {self.at_least}"]
        return "<th></th>" + "".join(map(_head, [*names, *(["reason"] if self.reasons else [])]))

    def row(self, row: FaceRow, picture: bytes | None) -> str:
        age = "" if row.result.age is None else f' data-age="{row.result.age:.3f}"'
        return f"<tr{age}>{_picture(picture)}{''.join(self._cells(row))}</tr>"

    def _cells(self, row: FaceRow) -> Iterator[str]:
        result = row.result
        yield text_cell(name_text(str(result.source)))
        if self.faces:
            yield _cell("" if row.number is None else str(row.number))
        if self.true_ages:
            known = true_age(str(result.source))
            yield _cell("" if known is None else str(known))
        yield _cell("" if result.age is None else f"{result.age:.1f}")
        if self.coverage is not None:
            yield _interval(result.low, result.high)
        if self.at_least is not None:
            yield _cell("" if result.error is not None else f"{result.at_least(self.at_least):.3f}")
        if self.reasons:
            yield text_cell(result.error or "")


def _head(name: str) -> str:
    is_text = name in ("file", "reason")
    kind = ' class="text" data-kind="text"' if is_text else ""
    return f'<th{kind}><button type="button">{name}</button></th>'


def _picture(picture: bytes | None) -> str:
    if picture is None:
        return '<td class="picture"></td>'
    return f'<td class="picture"><img alt="" src="data:image/jpeg;base64,{base64.b64encode(picture).decode()}"></td>'


def _interval(low: float | None, high: float | None) -> str:
    """Sorted by its width."""
    if low is None or high is None:
        return _cell("")
    return f'<td data-value="{high - low:.3f}">{low:.0f}-{high:.0f}</td>'


def _cell(text: str) -> str:
    return f"<td>{text}</td>"


def text_cell(text: str) -> str:
    return f'<td class="text">{escaped(text)}</td>'


def escaped(text: str) -> str:
    """No name can be markup, or hide what it is by control characters."""
    return html.escape(printable(text))
