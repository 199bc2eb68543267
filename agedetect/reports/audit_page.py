"""The audit as one HTML page that needs no other file: styles, histogram and thumbnails are inside."""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

from PIL import Image

from agedetect.reports.audit_text import ages_of, printable, years
from agedetect_runtime.errors import ImageError
from agedetect_runtime.images import open_rgb

if TYPE_CHECKING:
    from agedetect.data.audit import Audit

_SHOWN = 60  # groups, or files, of a kind: 5 kB a thumbnail keeps the page near 1 MB
_SHOWN_IN_GROUP = 6
_LISTED = 500
_THUMBNAIL_PIXELS = 96
_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; max-width: 72em; margin: 2em auto; padding: 0 1em }
h1 { font-size: 1.5em } h2 { font-size: 1.15em; margin: 2em 0 .5em; border-bottom: 1px solid #d5d9de }
table { border-collapse: collapse } td, th { padding: .1em 1.2em .1em 0; text-align: left }
td.n { text-align: right; font-variant-numeric: tabular-nums } .bar { background: #4a7fb5; height: .8em }
figure { display: inline-block; margin: .3em; vertical-align: top; font-size: 12px; width: 96px }
figure img { display: block; max-width: 96px } figcaption { overflow-wrap: anywhere }
.group { display: inline-block; border: 1px solid #d5d9de; border-radius: 6px; margin: .3em; padding: .3em }
.note { color: #57606a } svg { width: 100%; height: auto } rect { fill: #4a7fb5 } text { font-size: 11px }
"""


def pictured(result: Audit) -> set[str]:
    """The files, as the audit names them, whose thumbnails the page shows."""
    duplicates = chain.from_iterable(group.paths[:_SHOWN_IN_GROUP] for group in result.duplicates[:_SHOWN])
    odd = (item.path for item in result.odd_sizes[:_SHOWN])
    return {*duplicates, *odd, *result.no_group[:_SHOWN]}


def audit_page(result: Audit, files: Mapping[str, Path]) -> str:
    """The page, well-formed as XML too. `files` finds the images that `pictured` names."""
    images = {name: _thumbnail(path) for name, path in files.items()}
    body = [_summary(result), _ages(result), _groups(result), _copies(result, images)]
    odd = [(item.path, f"{item.width}x{item.height}, {item.why}") for item in result.odd_sizes]
    body += [_gallery("Images of odd size", odd, images)]
    body += [_gallery("Faces without gender or race", [(name, "") for name in result.no_group], images)]
    body += [_listing("Names or rows without a label", result.malformed)]
    body += [_listing("Unreadable files", result.unreadable)]
    head = f'<meta charset="utf-8"/><title>Audit of {_text(result.source)}</title><style>{_STYLE}</style>'
    lines = ["<!DOCTYPE html>", f'<html lang="en"><head>{head}</head><body>', *body, "</body></html>", ""]
    return "\n".join(lines)


def _summary(result: Audit) -> str:
    skipped = len(result.malformed) + len(result.unreadable)
    return (
        f"<h1>Faces in {_text(result.source)}</h1>\n"
        f"<p>{result.faces:,} faces in {result.files:,} files, {skipped:,} skipped. Ages "
        f"{years(result.youngest)} to {years(result.oldest)} years, mean {years(result.mean_age)}, "
        f"median {years(result.median_age)}.</p>"
    )


def _ages(result: Audit) -> str:
    first, last = min(result.ages), max(result.ages)
    most, width = max(result.ages.values()), 960 / (last - first + 1)
    bars = "".join(
        f'<rect x="{(age - first) * width:.1f}" y="{200 - 200 * count / most:.1f}" '
        f'width="{width * 0.85:.1f}" height="{200 * count / most:.1f}">'
        f"<title>{age} years: {count:,}</title></rect>"
        for age, count in result.ages.items()
    )
    ticks = "".join(
        f'<text x="{(age - first + 0.4) * width:.1f}" y="215" text-anchor="middle">{age}</text>'
        for age in range(-(-first // 10) * 10, last + 1, 10)
    )
    chart = f'<svg viewBox="0 0 960 220" role="img" aria-label="Faces by year of age">{bars}{ticks}</svg>'
    return f"<h2>Ages</h2>\n{chart}\n{_table(result.decades)}"


def _groups(result: Audit) -> str:
    parts = {"Gender": result.genders, "Race": result.races, "Gender and race": result.intersections}
    return "\n".join(f"<h2>{name}</h2>\n{_table(counts)}" for name, counts in parts.items())


def _table(counts: Mapping[str, int]) -> str:
    total, most = sum(counts.values()), max(counts.values())
    rows = "".join(
        f'<tr><th>{_text(name)}</th><td class="n">{count:,}</td><td class="n">{count / total:.1%}</td>'
        f'<td style="width:22em"><div class="bar" style="width:{100 * count / most:.1f}%"></div></td></tr>\n'
        for name, count in counts.items()
    )
    return f"<table>{rows}</table>"


def _copies(result: Audit, images: Mapping[str, str]) -> str:
    files = sum(len(group.paths) for group in result.duplicates)
    shown = []
    for group in result.duplicates[:_SHOWN]:
        pairs = zip(group.paths[:_SHOWN_IN_GROUP], group.ages, strict=False)
        figures = "".join(_figure(name, f"{years(age)} years", images) for name, age in pairs)
        shown.append(f'<div class="group" title="ages {ages_of(group)}">{figures}</div>')
    return (
        f"<h2>Pixel-identical images</h2>\n<p>{len(result.duplicates):,} groups, {files:,} files; in "
        f"{len(result.conflicts):,} groups the duplicates carry different ages (those come first).</p>\n"
        f"{''.join(shown)}{_more(len(result.duplicates), _SHOWN, 'groups')}"
    )


def _gallery(title: str, items: Sequence[tuple[str, str]], images: Mapping[str, str]) -> str:
    figures = "".join(_figure(name, note, images) for name, note in items[:_SHOWN])
    return f"<h2>{title}: {len(items):,}</h2>\n{figures}{_more(len(items), _SHOWN, 'files')}"


def _listing(title: str, items: Sequence[tuple[str, str]]) -> str:
    rows = "".join(f"<tr><td>{_text(name)}</td><td>{_text(why)}</td></tr>\n" for name, why in items[:_LISTED])
    table = f"<table>{rows}</table>" if rows else ""
    return f"<h2>{title}: {len(items):,}</h2>\n{table}{_more(len(items), _LISTED, 'files')}"


def _more(count: int, shown: int, what: str) -> str:
    return f'<p class="note">and {count - shown:,} more {what}, in audit.json</p>' if count > shown else ""


def _figure(name: str, note: str, images: Mapping[str, str]) -> str:
    caption = f"<figcaption>{_text(note)}<br/>{_text(name)}</figcaption>"
    return f'<figure><img src="{images[name]}" alt=""/>{caption}</figure>'


def _thumbnail(path: Path) -> str:
    try:
        image = open_rgb(path)
    except ImageError:  # it was readable a moment ago; the caption still names it
        image = Image.new("RGB", (_THUMBNAIL_PIXELS, _THUMBNAIL_PIXELS), "grey")
    image.thumbnail((_THUMBNAIL_PIXELS, _THUMBNAIL_PIXELS))
    file = io.BytesIO()
    image.save(file, "JPEG", quality=80)
    return "data:image/jpeg;base64," + base64.b64encode(file.getvalue()).decode()


def _text(value: str) -> str:
    return html.escape(printable(value))
