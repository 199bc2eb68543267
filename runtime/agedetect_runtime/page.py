"""One HTML file on a job, for people: thumbnails, ages, a histogram and the reasons of failures.

It holds all it needs, and its content security policy allows nothing else: no network, and no script but its own.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping, Sequence
from importlib.resources import files
from string import Template

from agedetect_runtime.page_table import Columns, escaped, text_cell
from agedetect_runtime.sampling import BIN_YEARS, Sample
from agedetect_runtime.table import true_age
from agedetect_runtime.thumbnails import SIDE


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
    columns = Columns(
        coverage,
        at_least,
        faces=faces,
        true_ages=any(true_age(str(row.result.source)) is not None for row in rows),
        reasons=any(row.result.error is not None for row in rows),
    )
    return Template((folder / "page.html").read_text("utf-8")).substitute(
        title=f"Ages of {_count(sample.images, 'image')}",
        summary=escaped(summary),
        facts="".join(
            f"<dt>{escaped(name)}</dt><dd><code>{escaped(value)}</code></dd>" for name, value in facts.items()
        ),
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
    rows = "".join(f"<tr><td>{count:,}</td>{text_cell(reason)}</tr>" for reason, count in sample.reasons.most_common())
    return f'<h2>Failures</h2><table id="failures">{rows}</table>'
