"""One HTML file on a job, for people: thumbnails, ages, a histogram and the reasons of failures.

It holds all it needs, and its content security policy allows nothing else: no network, and no script but its own.
"""

from __future__ import annotations

import base64
import hashlib
import html
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from string import Template
from typing import TYPE_CHECKING

from agedetect_runtime.names import name_text
from agedetect_runtime.sampling import BIN_YEARS, Sample
from agedetect_runtime.table import level_text, printable, true_age
from agedetect_runtime.thumbnails import SIDE

if TYPE_CHECKING:
    from agedetect_runtime.rows import FaceRow


def page(
    sample: Sample,
    pictures: Sequence[bytes | None],
    facts: Mapping[str, str],
    *,
    summary: str,
    coverage: float | None = None,
    at_least: int | None = None,
    faces: bool = False,
) -> str:
    """The HTML of `sample` with a JPEG, or none, for each of its rows; `facts` are listed, text as it is."""
    folder = files("agedetect_runtime")
    script = (folder / "page.js").read_text("utf-8")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    rows = sample.rows
    columns = _Columns(
        coverage,
        at_least,
        faces=faces,
        true_ages=any(true_age(str(row.result.source)) is not None for row in rows),
        reasons=any(row.result.error is not None for row in rows),
    )
    return Template((folder / "page.html").read_text("utf-8")).substitute(
        title=f"Ages of {_count(sample.images, 'image')}",
        summary=_text(summary),
        facts="".join(f"<dt>{_text(name)}</dt><dd><code>{_text(value)}</code></dd>" for name, value in facts.items()),
        note=_note(sample),
        histogram=_histogram(sample),
        reasons=_reasons(sample),
        rows_title="Faces" if faces else "Images",
        heads=columns.heads(),
        rows="\n".join(columns.row(row, picture) for row, picture in zip(rows, pictures, strict=True)),
        script=script,
        script_hash=f"sha256-{digest}",
        side=SIDE,
    )


@dataclass(frozen=True)
class _Columns:
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
        yield _text_cell(name_text(str(result.source)))
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
            yield _text_cell(result.error or "")


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


def _text_cell(text: str) -> str:
    return f'<td class="text">{_text(text)}</td>'


def _text(text: str) -> str:
    """No name can be markup, or hide what it is by control characters."""
    return html.escape(printable(text))


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def _note(sample: Sample) -> str:
    kinds = ((sample.ages, "rows with an age"), (sample.failures, "failures"))
    drawn = [f"{len(kept.items):,} of {kept.seen:,} {noun}" for kept, noun in kinds if kept.seen > len(kept.items)]
    if not drawn:
        return ""
    return (
        f'<p class="note">The table shows {" and ".join(drawn)}, drawn at random. '
        "The counts and the histogram are of all.</p>"
    )


def _histogram(sample: Sample) -> str:
    if not sample.bins:
        return ""
    highest = max(sample.bins.values())
    bars, ticks = [], []
    for place in range(max(sample.bins) + 1):
        count, first = sample.bins[place], place * BIN_YEARS
        years = f"{first} to {first + BIN_YEARS - 1} years"
        bars.append(
            f'<button type="button" data-from="{first}" data-to="{first + BIN_YEARS}" title="{years}: {count:,}">'
            f'{count:,}<i style="--share:{count / highest:.3f}"></i></button>'
        )
        ticks.append(f"<span>{first}</span>")
    return f'<h2>Ages</h2><div class="bars">{"".join(bars)}</div><div class="ticks">{"".join(ticks)}</div>'


def _reasons(sample: Sample) -> str:
    if not sample.reasons:
        return ""
    rows = "".join(f"<tr><td>{count:,}</td>{_text_cell(reason)}</tr>" for reason, count in sample.reasons.most_common())
    return f'<h2>Failures</h2><table id="failures">{rows}</table>'
