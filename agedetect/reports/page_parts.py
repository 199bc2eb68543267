"""The pieces of a self-contained HTML page: its frame and style, a table, a figure, escaped text."""

from __future__ import annotations

import base64
import html
from collections.abc import Iterable, Sequence

from agedetect_runtime.table import printable

_STYLE = """
:root { color-scheme: light dark; --line: #8883; --note: #6b7682; --soft: #8881 }
body { font: 15px/1.55 system-ui, sans-serif; max-width: 66em; margin: 2em auto; padding: 0 1.2em }
h1 { font-size: 1.55em; line-height: 1.25; margin-bottom: .2em }
h2 { font-size: 1.2em; margin: 2.2em 0 .5em; border-bottom: 1px solid var(--line); padding-bottom: .2em }
h3 { font-size: 1em; margin: 1.4em 0 .3em } p { max-width: 48em }
.pair { display: flex; flex-wrap: wrap; gap: 1em; align-items: flex-end } .pair p { flex: 1 1 20em; margin: 0 }
.figures { display: flex; flex-wrap: wrap; gap: .8em; margin: 1.2em 0 }
.figures div { background: var(--soft); border-radius: 8px; padding: .6em 1em; min-width: 8em }
.figures b { display: block; font-size: 1.6em; line-height: 1.3 } .figures span, .note { color: var(--note) }
.figures span, .note, caption { font-size: .87em }
table { border-collapse: collapse; margin: .6em 0 1em; font-size: .93em }
th, td { padding: .22em 1.2em .22em 0; text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap }
th:first-child, td:first-child { text-align: left } thead th { border-bottom: 1px solid var(--line); font-weight: 600 }
tbody tr:nth-child(even) { background: var(--soft) } tbody th { font-weight: 400 }
img { max-width: 100%; height: auto } .wide { overflow-x: auto } dt { font-weight: 600 } dd { margin: 0 0 .5em }
@media print { body { font-size: 11px; max-width: none; margin: 0 } h2 { break-after: avoid }
 tr, img, .figures div { break-inside: avoid } .wide { overflow: visible } }
"""


def frame(title: str, body: Sequence[str]) -> str:
    """The page around its body, well-formed as XML too; `title` is escaped here."""
    viewport = '<meta name="viewport" content="width=device-width, initial-scale=1"/>'
    head = f'<meta charset="utf-8"/>{viewport}<title>{text(title)}</title><style>{_STYLE}</style>'
    lines = ["<!DOCTYPE html>", f'<html lang="en"><head>{head}</head><body>', *body, "</body></html>", ""]
    return "\n".join(lines)


def table(heading: Iterable[str], rows: Iterable[Sequence[str]]) -> str:
    head = "".join(f"<th>{text(cell)}</th>" for cell in heading)
    body = "\n".join("<tr>" + "".join(f"<td>{text(cell)}</td>" for cell in row) + "</tr>" for row in rows)
    return f'<div class="wide"><table><thead><tr>{head}</tr></thead>\n<tbody>{body}</tbody></table></div>'


def image(svg: str, alt: str) -> str:
    """As an image and not inline: the ids inside of two drawings can't meet."""
    data = base64.b64encode(svg.encode()).decode()
    return f'<p><img src="data:image/svg+xml;base64,{data}" alt="{alt}"/></p>'


def text(value: str) -> str:
    return html.escape(printable(value))
